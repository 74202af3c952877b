//! Random sequences on twin images, short form: fixed seeds, the library alone. The long form is the
//! program `twin`, which drives our program too.

#![forbid(unsafe_code)]

use holstein_testkit::{Oracle, Version};
use holstein_tests::twin::{Encryption, LongTwin, Row, run};

/// Of the images under LUKS these: making one takes the reference a second or two.
const LUKS: [&str; 4] =
    ["v2-4k-luks", "v3-512-luks-essiv", "v3-32k-luks-extended-raw", "v3-4k-bitmaps-luks"];

#[test]
fn interop_twins_stay_alike_in_every_configuration() {
    let oldest = Version { major: 10, minor: 0, patch: 0 };
    let Some(oracle) = Oracle::find_or_skip("twins", oldest) else { return };
    let luks = |row: &Row| matches!(row.encryption, Some(Encryption::Luks(_)));
    let rows: Vec<_> =
        Row::all().into_iter().filter(|row| !luks(row) || LUKS.contains(&row.name)).collect();
    let count = 2 * rows.len() as u64;
    let long = LongTwin { sequences: count, rows, seed: 20_260_101, ..LongTwin::default() };
    let outcome = run(&oracle, &long);
    eprintln!("{outcome}");
    assert_eq!(outcome.failures, [] as [String; 0]);
    assert_eq!((outcome.tally.sequences, outcome.unfinished), (count, 0));
    assert!(outcome.rows >= 68, "configurations");
}
