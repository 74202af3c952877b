//! Crash exploration, short form: fixed seeds, no clock. The long form is the program `crash`.

#![forbid(unsafe_code)]

use holstein_testkit::{Rng, SampleOptions, Tearing};
use holstein_tests::{Config, Depth, Explorer, FaultPlan, Program, Start};

fn depth(config: Config) -> Depth {
    let mut states = SampleOptions { samples: 2, ..SampleOptions::default() };
    if config.cluster > 512 {
        // Large clusters make large states.
        states.tearing = Tearing::Last;
    }
    Depth { states, reopen_every: 32, opinion_every: 4096, ..Depth::default() }
}

fn starts(config: Config) -> impl Iterator<Item = Start> {
    Start::OWN.into_iter().filter(move |start| start.fits(config))
}

fn expect_none(explorer: &Explorer, what: &str) {
    for violation in &explorer.violations {
        eprintln!("{violation}");
    }
    eprintln!("{what}: {}", explorer.tally);
    assert_eq!(explorer.tally.violations, 0);
    assert!(explorer.tally.judged >= explorer.tally.programs, "states were judged");
}

fn explore(config: Config, what: &str, programs: impl IntoIterator<Item = Program>) {
    let mut explorer = Explorer::new(depth(config));
    for program in programs {
        explorer.explore(&program).expect("the start can be made");
    }
    expect_none(&explorer, what);
}

#[test]
fn crash_all_programs_of_two_on_small_clusters() {
    let config = Config::SMALL;
    explore(config, "all of 2", starts(config).flat_map(|s| Program::all(config, s, 2)));
}

#[test]
fn crash_all_programs_of_two_beside_a_snapshot() {
    explore(Config::SMALL, "snapshot", Program::all(Config::SMALL, Start::Snapshot, 2));
}

#[test]
fn crash_all_programs_of_two_over_compressed_clusters() {
    explore(Config::SMALL, "compressed", Program::all(Config::SMALL, Start::Compressed, 2));
}

#[test]
fn crash_all_programs_of_two_with_lazy_refcounts() {
    let config = Config::LAZY;
    explore(config, "lazy", starts(config).flat_map(|s| Program::all(config, s, 2)).step_by(2));
}

#[test]
fn crash_some_programs_of_three_on_small_clusters() {
    let config = Config::SMALL;
    let all = starts(config).flat_map(|s| Program::all(config, s, 3));
    explore(config, "some of 3", all.step_by(13));
}

#[test]
fn crash_random_programs_on_small_clusters() {
    let config = Config::SMALL;
    let mut rng = Rng::new(1);
    let random = |s| (0..80).map(|_| Program::random(config, s, &mut rng)).collect::<Vec<_>>();
    let programs: Vec<_> = starts(config).map(random).collect();
    explore(config, "random", programs.into_iter().flatten());
}

#[test]
fn crash_some_programs_of_two_in_every_configuration() {
    for config in Config::all() {
        let every = match config.cluster {
            512 => 7,
            65536 => 17,
            _ => 61,
        };
        let programs = starts(config).flat_map(|s| Program::all(config, s, 2));
        explore(config, &config.to_string(), programs.step_by(every));
    }
}

#[test]
fn crash_some_programs_of_two_with_each_feature() {
    for config in Config::featured() {
        let programs = starts(config).flat_map(|s| Program::all(config, s, 2));
        explore(config, &config.to_string(), programs.step_by(53));
    }
}

#[test]
fn crash_after_a_fault() {
    let config = Config::SMALL;
    let mut explorer = Explorer::new(depth(config));
    for program in starts(config).flat_map(|s| Program::all(config, s, 2)).step_by(23) {
        explorer.explore_every_fault(&program).expect("the start can be made");
    }
    expect_none(&explorer, "after faults");
}

/// What fails behind the switch to a new header does not undo the switch: an image that has become
/// another takes no more writes, and does not say that it is what it was.
#[test]
fn crash_after_a_change_of_format_that_failed_late() {
    let mut explorer = Explorer::new(depth(Config::SMALL));
    for program in [
        "v3:512:16/zeroed/a:compat2,a:compat3",
        "v3:512:16/filled/a:compat2,a:compat3",
        "v3:512:16/block-edge/a:width64,w@30976+512",
        "v3:512:16/overlay/a:width64,b:alias",
    ] {
        let program = program.parse().expect("a program");
        for plan in ["once-all-enospc-nothing", "once-all-eio-half", "once-all-enospc-everything"] {
            let plan: FaultPlan = plan.parse().expect("a plan");
            for call in 0..30 {
                explorer.explore_with_fault(&program, Some((plan, call))).expect("it can be made");
            }
        }
    }
    expect_none(&explorer, "format changes that failed late");
}
