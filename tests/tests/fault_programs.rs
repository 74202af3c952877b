//! Every call to the file fails in turn, once and from there on, with EIO and ENOSPC.

#![forbid(unsafe_code)]

use holstein_tests::{
    Config, FaultPlan, FaultTally, Program, Start, explore_faults, explore_one_fault,
};

fn explore(config: Config, starts: &[Start], every: usize) {
    let mut tally = FaultTally::default();
    for start in starts.iter().filter(|start| start.fits(config)) {
        let programs: Vec<_> = Program::all(config, *start, 2).into_iter().step_by(every).collect();
        explore_faults(&programs, &FaultPlan::all(), &mut tally).expect("the start can be made");
    }
    for shown in &tally.shown {
        eprintln!("{shown}");
    }
    eprintln!("{config}: {tally}");
    assert_eq!(tally.total(), 0);
    assert!(tally.points > tally.programs, "faults came to pass");
}

/// Lets each of the first `calls` calls of a program fail in turn.
fn explore_calls(program: &str, plan: &str, calls: u64) {
    let program: Program = program.parse().expect("a program");
    let plan = plan.parse().expect("a plan");
    let mut tally = FaultTally::default();
    for call in 0..calls {
        explore_one_fault(&program, plan, call, &mut tally).expect("the start can be made");
    }
    assert_eq!(tally.total(), 0, "{:?}", tally.shown);
    assert!(tally.points > 10, "{tally}");
}

#[test]
fn fault_at_every_call_of_programs_of_two() {
    explore(Config::SMALL, &Start::OWN, 13);
}

#[test]
fn fault_beside_a_snapshot_and_over_compressed_clusters() {
    explore(Config::SMALL, &Start::FOREIGN, 13);
}

#[test]
fn fault_with_lazy_refcounts() {
    explore(Config::LAZY, &Start::OWN[..5], 19);
}

#[test]
fn fault_in_every_configuration() {
    for config in Config::all() {
        // Clusters of 2 MiB take long, and say little that those of 64 KiB do not.
        let starts = if config.cluster > 1 << 20 { &Start::OWN[1..2] } else { &Start::OWN[..] };
        explore(config, starts, if config.cluster > 1 << 20 { 131 } else { 89 });
    }
}

#[test]
fn fault_with_each_feature() {
    for config in Config::featured() {
        explore(config, &Start::OWN[..5], 83);
    }
}

/// The header's switch to a larger L1 table is written and reported as failed: what was written
/// later went to the old table, which the file did not name any more.
#[test]
fn fault_header_write_that_arrives_is_taken_back() {
    explore_calls("v3:512:16/empty/g+32768,w@31360+256,f", "once-all-enospc-everything", 20);
}

/// A raw data file that could not be cut showed what lay past the end of the smaller disk, once that
/// grew.
#[test]
fn fault_in_a_shrink_over_a_raw_data_file_shows_nothing_again() {
    explore_calls("v3:512:16:raw-data/filled/g-102400,g+32768", "once-all-eio-nothing", 30);
}

/// A change of format that failed behind its switch left a disk that could store its bitmaps no more, and
/// closing it did not say that they are lost.
#[test]
fn fault_in_a_change_of_format_says_that_bitmaps_are_lost() {
    explore_calls("v3:512:16:bitmaps/filled/w@31360+256,a:width64", "once-all-eio-nothing", 40);
}

/// A file that cannot grow for the clusters that a downgrade gives to zeros: entries that named them
/// went to the file all the same.
#[test]
fn fault_while_the_file_grows_leaves_no_entry_past_its_end() {
    explore_calls("v3:512:16/overlay/z@31488+768,a:compat2", "once-all-eio-nothing", 30);
}
