//! Replays the corpora of the fuzz targets, and every input that once found something, as plain tests.
//!
//! The bodies are those of the fuzz targets themselves. A finding that was mended is kept in
//! `fuzz/artifacts_kept/<target>/` under a name that says what it was.

#[path = "../../fuzz/bodies/bitmap_directory.rs"]
mod bitmap_directory;
#[path = "../../fuzz/bodies/canary.rs"]
mod canary;
#[path = "../../fuzz/bodies/header.rs"]
mod header;
#[path = "../../fuzz/bodies/l2_entry.rs"]
mod l2_entry;
#[path = "../../fuzz/bodies/luks_header.rs"]
mod luks_header;
#[path = "../../fuzz/bodies/nbd_session.rs"]
mod nbd_session;
#[path = "../../fuzz/bodies/open_and_read.rs"]
mod open_and_read;
#[path = "../../fuzz/bodies/snapshot_table.rs"]
mod snapshot_table;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

type Body = fn(&[u8]);

const BODIES: [(&str, Body); 7] = [
    ("bitmap_directory", bitmap_directory::run),
    ("header", header::run),
    ("l2_entry", l2_entry::run),
    ("luks_header", luks_header::run),
    ("nbd_session", nbd_session::run),
    ("open_and_read", open_and_read::run),
    ("snapshot_table", snapshot_table::run),
];

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The files in `fuzz/<kind>/<target>`, in the order of their names.
fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(fuzz_folder().join(kind).join(target)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Runs `body` on each input; all that fail are named.
fn replay(target: &str, kind: &str, body: Body) -> usize {
    let paths = inputs(kind, target);
    let failed: Vec<&PathBuf> = paths
        .iter()
        .filter(|path| {
            let bytes = fs::read(path).expect("an input that was just listed can be read");
            catch_unwind(|| body(&bytes)).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "fuzz target {target} fails on {failed:?}");
    paths.len()
}

#[test]
fn every_seed_passes_its_body() {
    for (target, body) in BODIES {
        let seeds = replay(target, "corpus", body);
        assert!(seeds > 0, "fuzz target {target} has no seeds");
    }
}

#[test]
fn every_kept_finding_stays_mended() {
    for (target, body) in BODIES {
        replay(target, "artifacts_kept", body);
    }
}

/// Whether a fuzzer found the input, and named it by its hash; the others were made on purpose.
fn is_learnt(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.len() == 40 && name.chars().all(|c| c.is_ascii_hexdigit())
    })
}

#[test]
fn every_made_seed_cut_short_or_with_a_byte_changed_passes_too() {
    for (target, body) in BODIES {
        for path in inputs("corpus", target).into_iter().filter(|path| !is_learnt(path)) {
            let bytes = fs::read(&path).expect("an input that was just listed can be read");
            // The first 112 bytes hold every fixed field; a whole image is too long to cut everywhere.
            for at in 0..bytes.len().min(112) {
                let mut changed = bytes.clone();
                for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                    *changed.get_mut(at).expect("within the input") = value;
                    body(&changed);
                }
                body(bytes.get(..at).expect("within the input"));
            }
        }
    }
}

#[test]
fn every_target_is_replayed_here() {
    let replayed: BTreeSet<String> = BODIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let targets: BTreeSet<String> = fs::read_dir(fuzz_folder().join("fuzz_targets"))
        .expect("the fuzz targets are in the tree")
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned()))
        .filter(|name| name != "canary")
        .collect();
    assert_eq!(replayed, targets);
}

#[test]
fn the_canary_dies_of_a_header_and_of_nothing_less() {
    let (_, header) = BODIES.iter().find(|(name, _)| *name == "header").expect("it is listed");
    let seed = fs::read(fuzz_folder().join("corpus/header/v3")).expect("the seed is in the tree");
    header(&seed);
    assert!(catch_unwind(|| canary::run(&seed)).is_err());
    canary::run(seed.get(..23).expect("the seed has a header"));
    canary::run(b"");
}
