//! The tables of `docs/options.md`: the numbers of the limits, and the tests that the rows name.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io;

use holstein::format::{
    BitmapTableEntry, COMPRESSED, COPIED, ClusterState, L1Entry, RefcountTableEntry, ZERO, limits,
};
use holstein_tests::{Sources, code_spans, document, table_rows};
use holstein_units::{MAX_CLUSTER_BITS, MIN_CLUSTER_BITS, SUBCLUSTERS};

/// The rows of the table under a heading.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading));
    table_rows(section.unwrap_or_else(|| panic!("no section {heading}")))
}

/// The tests of a row that are not there. A list of command lines has to be run by a test, and one for an
/// option has to name it.
fn missing(sources: &Sources, lists: &str, row: &[String]) -> io::Result<Vec<String>> {
    let (Some(what), Some(tests)) = (row.first(), row.last()) else { return Ok(Vec::new()) };
    let mut missing = Vec::new();
    let mut any = false;
    for test in code_spans(tests) {
        any = true;
        let Some(name) = test.strip_prefix("transcripts/") else {
            if !sources.has_test(test) {
                missing.push(format!("{what}: the test {test} does not exist"));
            }
            continue;
        };
        if !lists.lines().any(|line| line.trim().trim_end_matches(',') == name) {
            missing.push(format!("{what}: no test runs {test}"));
        }
        let text = document(&format!("crates/cli/tests/transcripts/{name}.txt"))?;
        // One row for a whole kind of options is met by what they have in common.
        let mut options =
            code_spans(what).map(|option| option.rsplit('.').next().unwrap_or(option));
        if what.starts_with('`') && !options.any(|option| text.contains(option)) {
            missing.push(format!("{what}: {test} does not have it"));
        }
    }
    if !any {
        missing.push(format!("{what}: no test"));
    }
    Ok(missing)
}

#[test]
fn each_limit_and_option_is_held_by_tests_that_exist() -> io::Result<()> {
    let text = document("docs/options.md")?;
    let lists = document("crates/cli/tests/img_transcripts.rs")?;
    let sources = Sources::read()?;
    let mut wrong = Vec::new();
    for (heading, columns, least) in [
        ("Limits", 3, 20),
        ("New images", 4, 23),
        ("Changes of an image", 4, 13),
        ("Opening a qcow2 image", 4, 18),
        ("Every node", 4, 9),
        ("Files", 4, 7),
        ("Objects", 4, 22),
    ] {
        let rows = rows(&text, heading);
        assert_eq!(rows.len(), least, "{heading}: rows were left out or added");
        for row in &rows {
            assert_eq!(row.len(), columns, "{row:?}");
            wrong.extend(missing(&sources, &lists, row)?);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What a row says in quotes is what the program says.
#[test]
fn refusals_have_the_words_of_the_program() -> io::Result<()> {
    let text = document("docs/options.md")?;
    let said = holstein_tests::texts("crates")?;
    // Numbers, names and values stand in the middle of the words.
    let mut checked = 0;
    for quoted in text.replace('\n', " ").split('"').skip(1).step_by(2) {
        let words = quoted.split(['\'', '.']).flat_map(|part| part.split('='));
        for words in words.filter(|words| words.trim().contains(' ')) {
            let words =
                words.trim_end_matches(|c: char| c.is_ascii_digit() || c == '(' || c == ')');
            assert!(said.contains(words), "nothing says {words:?} of {quoted:?}");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked} texts");
    Ok(())
}

#[test]
fn the_numbers_of_the_limits_are_those_of_the_format() -> io::Result<()> {
    let bits = [COPIED, COMPRESSED, ZERO].map(u64::trailing_zeros);
    let masks = |offset: u64, reserved: u64| format!("0x{offset:016x}, 0x{reserved:016x}");
    let expected = [
        ("magic", format!("{:#x}", limits::MAGIC)),
        (
            "cluster bits, least, most and usual",
            format!("{MIN_CLUSTER_BITS}, {MAX_CLUSTER_BITS}, {}", limits::DEFAULT_CLUSTER_BITS),
        ),
        ("largest host offset", format!("2^{} - 1", limits::HOST_LIMIT.trailing_zeros())),
        ("L1 table", format!("{} bytes", limits::MAX_L1_BYTES)),
        ("refcount table", format!("{} bytes", limits::MAX_REFCOUNT_TABLE_BYTES)),
        (
            "snapshots, their table, extra data of one",
            format!(
                "{}, {} bytes, {} bytes",
                limits::MAX_SNAPSHOTS,
                limits::MAX_SNAPSHOT_TABLE_BYTES,
                limits::MAX_SNAPSHOT_EXTRA_BYTES
            ),
        ),
        (
            "bitmaps, their directory, entries of a table, data of one",
            format!(
                "{}, {} bytes, {}, {} bytes",
                limits::MAX_BITMAPS,
                limits::MAX_BITMAP_DIRECTORY_BYTES,
                limits::MAX_BITMAP_TABLE_ENTRIES,
                limits::MAX_BITMAP_BYTES
            ),
        ),
        (
            "granularity bits of bitmaps, name of one",
            format!(
                "{} to {}, {} bytes",
                limits::MIN_BITMAP_GRANULARITY_BITS,
                limits::MAX_BITMAP_GRANULARITY_BITS,
                limits::MAX_BITMAP_NAME_BYTES
            ),
        ),
        ("backing file name", format!("{} bytes", limits::MAX_BACKING_NAME_BYTES)),
        ("backing format name", format!("{} bytes", limits::MAX_BACKING_FORMAT_BYTES)),
        ("subclusters of a cluster", SUBCLUSTERS.to_string()),
        ("flags COPIED, COMPRESSED, ZERO", format!("bits {}, {}, {}", bits[0], bits[1], bits[2])),
        ("L1 entry: offset, reserved", masks(L1Entry::OFFSET_MASK, L1Entry::RESERVED_MASK)),
        (
            "L2 entry: offset, reserved",
            masks(ClusterState::OFFSET_MASK, ClusterState::RESERVED_MASK),
        ),
        (
            "refcount table entry: offset, reserved",
            masks(RefcountTableEntry::OFFSET_MASK, RefcountTableEntry::RESERVED_MASK),
        ),
        (
            "bitmap table entry: offset, reserved",
            masks(L1Entry::OFFSET_MASK, BitmapTableEntry::RESERVED_MASK),
        ),
    ];
    let rows = rows(&document("docs/options.md")?, "Limits");
    let listed: BTreeSet<(&str, &str)> =
        rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    for (what, value) in &expected {
        assert!(listed.contains(&(what, value)), "{what} is {value}: {listed:?}");
    }
    Ok(())
}
