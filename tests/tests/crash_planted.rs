//! Each planted bug must be found: else the explorer would not find the same bug by accident either.

#![forbid(unsafe_code)]

use holstein_guard::planted::Bug;
use holstein_tests::{Config, Depth, Explorer, Program, Start};

/// Explores programs of two with a bug planted, until a promise is seen broken.
fn expect_found(bug: Bug) {
    let depth = Depth { opinion_every: 0, ..Depth::default() };
    let mut explorer = Explorer::new(depth).with_bug(Some(bug));
    let starts = Start::OWN.into_iter().filter(|start| start.fits(Config::SMALL));
    for program in starts.flat_map(|start| Program::all(Config::SMALL, start, 2)) {
        explorer.explore(&program).expect("the start can be made");
        if let Some(violation) = explorer.violations.first() {
            eprintln!("{bug:?} found after {}:\n{violation}", explorer.tally);
            return;
        }
    }
    panic!("{bug:?} was not found: {}", explorer.tally);
}

#[test]
fn crash_finds_a_missing_first_barrier() {
    expect_found(Bug::FirstBarrierMissing);
}

#[test]
fn crash_finds_a_missing_last_barrier() {
    expect_found(Bug::LastBarrierMissing);
}

#[test]
fn crash_finds_a_skipped_quarantine() {
    expect_found(Bug::QuarantineSkipped);
}

#[test]
fn crash_finds_l2_before_refcount() {
    expect_found(Bug::L2BeforeRefcount);
}

#[test]
fn crash_finds_l1_before_l2() {
    expect_found(Bug::L1BeforeL2);
}

#[test]
fn crash_finds_a_head_that_is_not_copied() {
    expect_found(Bug::HeadNotCopied);
}

#[test]
fn crash_finds_a_size_before_its_table() {
    expect_found(Bug::SizeBeforeTable);
}

#[test]
fn crash_finds_a_block_named_before_it_is_written() {
    expect_found(Bug::BlockEntryBeforeBlock);
}

#[test]
fn crash_tests_plant_every_bug() {
    // A bug that is added needs a test above, or in the file of `crash_*.rs` that knows the operation.
    assert_eq!(Bug::ALL.len(), 16);
}
