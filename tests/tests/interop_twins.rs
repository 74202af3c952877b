//! Random sequences on twin images, short form: fixed seeds, the library alone. The long form is the
//! program `twin`, which drives our program too.

#![forbid(unsafe_code)]

use holstein_testkit::{Oracle, Version};
use holstein_tests::twin::{LongTwin, Row, run};

#[test]
fn interop_twins_stay_alike_in_every_configuration() {
    let oldest = Version { major: 10, minor: 0, patch: 0 };
    let Some(oracle) = Oracle::find_or_skip("twins", oldest) else { return };
    let rows = Row::all().len() as u64;
    let long = LongTwin { sequences: 4 * rows, seed: 20_260_101, ..LongTwin::default() };
    let outcome = run(&oracle, &long);
    eprintln!("{outcome}");
    assert_eq!(outcome.failures, [] as [String; 0]);
    assert_eq!((outcome.tally.sequences, outcome.unfinished), (4 * rows, 0));
    assert!(outcome.rows >= 71, "configurations");
}
