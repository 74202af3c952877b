//! The list of differences from QEMU, and the tests that it names.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use holstein::{OpenOptions, Preallocation};
use holstein_testkit::{Oracle, TempDir, Version};
use holstein_tests::{Sources, document, table_rows};

/// The version whose behaviour the list is about.
const ORACLE: Version = Version { major: 10, minor: 0, patch: 0 };

#[test]
fn each_difference_is_held_by_a_test_that_exists() -> std::io::Result<()> {
    let rows = table_rows(&document("docs/differences.md")?);
    assert!(rows.len() >= 10, "the table was not read: {rows:?}");
    let sources = Sources::read()?;
    let mut ids = BTreeSet::new();
    for row in &rows {
        assert_eq!(row.len(), 5, "{row:?}");
        assert!(ids.insert(&row[0]), "{} stands twice", row[0]);
        assert!(sources.has_test(&row[4]), "{} names no test: {}", row[0], row[4]);
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
