//! Crash exploration, short form: fixed seeds, no clock. The long form is the program `crash`.

#![forbid(unsafe_code)]

use holstein_testkit::SampleOptions;
use holstein_tests::{Config, Depth, Explorer, Program, Start};

fn explore(depth: Depth, programs: impl IntoIterator<Item = Program>) {
    let mut explorer = Explorer::new(depth);
    for program in programs {
        explorer.explore(&program).expect("the start can be made");
    }
    for violation in &explorer.violations {
        eprintln!("{violation}");
    }
    eprintln!("{}", explorer.tally);
    assert_eq!(explorer.tally.violations, 0);
    assert!(explorer.tally.judged > explorer.tally.programs, "states were judged");
}

fn short() -> Depth {
    let states = SampleOptions { samples: 2, ..SampleOptions::default() };
    Depth { states, opinion_every: 8192, ..Depth::default() }
}

#[test]
fn crash_all_programs_of_two_on_small_clusters() {
    let starts = Start::OWN.into_iter().filter(|start| start.fits(Config::SMALL));
    explore(short(), starts.flat_map(|start| Program::all(Config::SMALL, start, 2)));
}
