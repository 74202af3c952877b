//! Each planted bug must be found: else the explorer would not find the same bug by accident either.

#![forbid(unsafe_code)]

use holstein_guard::planted::Bug;
use holstein_tests::{Config, Depth, Explorer, Feature, Program, Start};

/// Explores programs of two with a bug planted, until a promise is seen broken.
fn expect_found(bug: Bug) {
    let config = Config::SMALL;
    let starts = Start::OWN.into_iter().filter(|start| start.fits(config));
    expect_found_in(bug, starts.flat_map(|start| Program::all(config, start, 2)));
}

/// The same in these programs.
fn expect_found_in(bug: Bug, programs: impl IntoIterator<Item = Program>) {
    let depth = Depth { opinion_every: 0, ..Depth::default() };
    let mut explorer = Explorer::new(depth).with_bug(Some(bug));
    for program in programs {
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
fn crash_finds_a_shrink_that_clears_first() {
    expect_found(Bug::SizeAfterEntries);
}

#[test]
fn crash_finds_zero_clusters_left_in_version_2() {
    expect_found(Bug::ZerosNotExpanded);
}

#[test]
fn crash_finds_an_overlay_emptied_before_its_base_is_durable() {
    expect_found_in(Bug::BaseNotFlushed, Program::all(Config::SMALL, Start::Overlay, 2));
}

#[test]
fn crash_finds_a_name_before_the_copies() {
    expect_found_in(Bug::NameBeforeCopies, Program::all(Config::SMALL, Start::Overlay, 2));
}

#[test]
fn crash_finds_counts_behind_without_a_mark() {
    expect_found_in(Bug::CountsBehindUnmarked, Program::all(Config::LAZY, Start::Filled, 2));
}

#[test]
fn crash_finds_a_mark_cleared_before_the_counts() {
    expect_found_in(Bug::CleanBeforeCounts, Program::all(Config::LAZY, Start::Filled, 2));
}

#[test]
fn crash_finds_surroundings_of_a_subcluster_that_are_left() {
    expect_found_in(Bug::SurroundingsLeft, Program::all(Config::EXTENDED, Start::Filled, 2));
}

#[test]
fn crash_finds_a_stream_that_is_not_counted() {
    expect_found_in(Bug::StreamNotCounted, Program::all(Config::ZSTD, Start::Empty, 2));
}

#[test]
fn crash_finds_a_data_file_that_is_not_flushed() {
    for config in [Config::DATA, Config::RAW_DATA] {
        expect_found_in(Bug::DataFileNotFlushed, Program::all(config, Start::Filled, 2));
    }
}

#[test]
fn crash_finds_bitmaps_that_claim_to_hold() {
    for bug in [Bug::BitmapNotInUse, Bug::BitmapMarkNotFlushed, Bug::BitmapNotRecorded] {
        expect_found_in(bug, Program::all(Config::BITMAPS, Start::Filled, 2));
    }
}

#[test]
fn crash_finds_key_slots_that_change_out_of_order() {
    let one = "v3:4096:16:luks/empty/p+1,p-0".parse().expect("a program");
    expect_found_in(Bug::KeysNotFlushed, [one]);
}

#[test]
fn crash_finds_holes_in_encrypted_payload_before_the_tables_say_so() {
    let [beside, within] = [Config::DATA.with(Feature::Aes), Config::AES.with(Feature::NoUnref)];
    for config in [beside, within, Config::RAW_DATA.with(Feature::Aes)] {
        expect_found_in(Bug::HolesUnderCipher, Program::all(config, Start::Reuse, 2));
    }
}

#[test]
fn crash_tests_plant_every_bug() {
    // A bug that is added needs a test above, or in the file of `crash_*.rs` that knows the operation.
    assert_eq!(Bug::ALL.len(), 29);
}
