//! Random sequences on twin images, short form: fixed seeds, the library alone. The long form is the
//! program `twin`, which drives our program too.

#![forbid(unsafe_code)]

use holstein_testkit::{Oracle, Version};
use holstein_tests::twin::{Encryption, LongTwin, Row, parse_steps, run};

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

/// Runs steps of which the last is made by ours alone, since the other side refuses it or does it wrong.
fn alone(what: &str, row: &str, steps: &str) {
    let oldest = Version { major: 10, minor: 0, patch: 0 };
    let Some(oracle) = Oracle::find_or_skip(what, oldest) else { return };
    let row = Row::by_name(row).expect("a row");
    let steps = Some(parse_steps(steps).expect("steps"));
    let outcome = run(&oracle, &LongTwin { rows: vec![row], steps, ..LongTwin::default() });
    assert_eq!(outcome.failures, [] as [String; 0]);
    assert_eq!((outcome.tally.sequences, outcome.tally.alone), (1, 1), "{outcome}");
}

#[test]
fn interop_counts_become_narrow_after_a_commit_between_snapshots() {
    alone("narrow counts", "v3-512-aes-qcow2-longer", "s+3,m,s+1,a=1");
}

#[test]
fn interop_zeros_are_rebased_with_compression_beside_a_data_file() {
    alone("zeros beside a data file", "v3-2m-data-1", "b=raw,m,bc=qcow2");
}

#[test]
fn interop_a_snapshot_that_is_refused_leaves_the_size_of_the_disk() {
    let steps = "w@1024+512,s+2,s+3,g+512,w@8192+512,a=2,s=3";
    alone("a refused snapshot", "v3-512-16", steps);
}
