//! The list of differences from QEMU, and the tests that it names.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use holstein::{OpenOptions, Preallocation};
use holstein_testkit::{Oracle, TempDir, Version};

/// The version whose behaviour the list is about.
const ORACLE: Version = Version { major: 10, minor: 0, patch: 0 };

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The cells of the table's rows.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter(|line| {
            line.starts_with("| ") && !line.starts_with("| id ") && !line.starts_with("| -")
        })
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// The names of all functions in the test files of the workspace.
fn test_functions() -> std::io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("tests/tests")];
    for package in fs::read_dir(root().join("crates"))? {
        folders.push(package?.path().join("tests"));
    }
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path)?;
                for part in text.split("fn ").skip(1) {
                    names.extend(part.split('(').next().map(str::to_owned));
                }
            }
        }
    }
    Ok(names)
}

#[test]
fn each_difference_is_held_by_a_test_that_exists() -> std::io::Result<()> {
    let rows = rows(&fs::read_to_string(root().join("docs/differences.md"))?);
    assert!(rows.len() >= 10, "the table was not read: {rows:?}");
    let tests = test_functions()?;
    let mut ids = BTreeSet::new();
    for row in &rows {
        assert_eq!(row.len(), 5, "{row:?}");
        assert!(ids.insert(&row[0]), "{} stands twice", row[0]);
        assert!(tests.contains(&row[4]), "{} names no test: {}", row[0], row[4]);
    }
    Ok(())
}

#[test]
fn growing_shows_zeros_where_a_shrink_left_old_bytes() -> Result<(), Box<dyn std::error::Error>> {
    let Some(oracle) = Oracle::find_or_skip("growing after a shrink", ORACLE) else {
        return Ok(());
    };
    let dir = TempDir::new("grow-after-shrink")?;
    let path = dir.file("a.qcow2");
    oracle.create(&path, "", 256 << 10)?;
    oracle.io((&path, "qcow2"), &["write -P 0xaa 0 256k".to_owned()])?;
    oracle.img_ok([
        "resize".as_ref(),
        "-q".as_ref(),
        "-f".as_ref(),
        "qcow2".as_ref(),
        "--shrink".as_ref(),
        path.as_os_str(),
        "100k".as_ref(),
    ])?;
    let image = OpenOptions::new().open(&path)?;
    image.resize(200 << 10, Preallocation::Off)?;
    let mut bytes = vec![0xff; 200 << 10];
    image.read_at(0, &mut bytes)?;
    assert!(bytes[..100 << 10].iter().all(|b| *b == 0xaa), "what was there stays");
    assert!(bytes[100 << 10..].iter().all(|b| *b == 0), "what was cut off does not come back");
    image.close()?;
    Ok(())
}
