//! Reads the output of `cargo test -- --show-output`: counts, and tests that say they skipped themselves.
//!
//! A test that lacks something it needs prints a line `skipped: reason` and returns. libtest counts it as
//! passed; here it counts as skipped. Such a line stands in the shown output of the test, and then counts once
//! for the test; or it was written past libtest's capture, and then each different line counts once.

use std::collections::BTreeSet;

use crate::tally::Tally;

/// What one run of `cargo test` said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) tally: Tally,
    /// What was skipped and why.
    pub(crate) skips: BTreeSet<String>,
    /// Names of failed tests.
    pub(crate) failures: Vec<String>,
}

/// Reads the whole output, standard output and standard error in one.
pub(crate) fn read(output: &str) -> Summary {
    let mut summary = Summary::default();
    let mut target = String::new();
    let mut test: Option<String> = None;
    let mut skipped_here: BTreeSet<String> = BTreeSet::new();
    for line in output.lines() {
        let trimmed = line.trim();
        if let Some(name) = target_of(trimmed) {
            target = name;
            test = None;
        } else if let Some(counts) = trimmed.strip_prefix("test result: ") {
            let mut tally = counts_of(counts);
            let moved = tally.passed.min(u64::try_from(skipped_here.len()).unwrap_or(u64::MAX));
            tally.passed -= moved;
            tally.skipped += moved;
            summary.tally += tally;
            skipped_here.clear();
            test = None;
        } else if let Some(name) =
            trimmed.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            test = Some(name.to_owned());
        } else if let Some(reason) = skip_reason(trimmed) {
            let place = match &test {
                Some(name) => format!("{target}::{name}"),
                None => target.clone(),
            };
            summary.skips.insert(format!("{place}: {reason}"));
            skipped_here.insert(test.clone().unwrap_or_else(|| reason.to_owned()));
        } else if let Some(name) =
            trimmed.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            summary.failures.push(format!("{target}::{name}"));
        }
    }
    summary
}

/// The reason in `skipped: reason`, also where libtest has already begun the line with the test's name.
fn skip_reason(line: &str) -> Option<&str> {
    let rest = match line.split_once(" ... ") {
        Some((before, rest)) if before.starts_with("test ") => rest,
        _ => line,
    };
    rest.strip_prefix("skipped:").map(str::trim)
}

/// The test program's name in cargo's line about it.
fn target_of(line: &str) -> Option<String> {
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("doc {name}"));
    }
    let rest = line.strip_prefix("Running ")?;
    let program = rest.rsplit_once('(')?.1.strip_suffix(')')?;
    let file = program.rsplit('/').next()?;
    let (name, hash) = file.rsplit_once('-')?;
    hash.chars().all(|c| c.is_ascii_hexdigit()).then(|| name.to_owned())
}

/// The counts in `ok. 5 passed; 0 failed; 1 ignored; ...`; an ignored test is a skipped one.
fn counts_of(text: &str) -> Tally {
    let mut tally = Tally::default();
    for part in text.split(';') {
        let words: Vec<&str> = part.split_whitespace().collect();
        let [.., count, what] = words.as_slice() else { continue };
        let Ok(count) = count.parse::<u64>() else { continue };
        match *what {
            "passed" => tally.passed += count,
            "failed" => tally.failed += count,
            "ignored" => tally.skipped += count,
            _ => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
   Compiling holstein-units v0.1.0
     Running unittests src/lib.rs (target/debug/deps/holstein_units-0123456789abcdef)

running 2 tests
test a ... ok
test b ... ok

successes:

successes:
    a
    b

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/interop_matrix.rs (target/debug/deps/interop_matrix-ab12)

running 3 tests
test reads ... ok
test writes ... FAILED
test resizes ... ok

successes:

---- reads stdout ----
skipped: qemu-img not found
skipped: qemu-img not found
---- resizes stdout ----
3 sizes done

failures:

---- writes stdout ----
seed=7 step=3

failures:
    writes

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s

   Doc-tests holstein
test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.30s
";

    #[test]
    fn counts_are_summed_and_a_skipping_test_counts_as_skipped_once() {
        let summary = read(OUTPUT);
        assert_eq!(summary.tally, Tally { passed: 7, failed: 1, skipped: 2 });
        assert_eq!(summary.failures, ["interop_matrix::writes"]);
        let skips: Vec<&str> = summary.skips.iter().map(String::as_str).collect();
        assert_eq!(skips, ["interop_matrix::reads: qemu-img not found"]);
    }

    #[test]
    fn lines_past_the_capture_count_once_each() {
        let output = "\
     Running tests/crash_two.rs (target/debug/deps/crash_two-ab12)
skipped: first: qemu-img not found
skipped: first: qemu-img not found
test first ... ok
test second ... skipped: second: qemu-img not found
ok
test third ... ok
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let summary = read(output);
        assert_eq!(summary.tally, Tally { passed: 1, failed: 0, skipped: 2 });
        assert_eq!(summary.skips.len(), 2);
    }

    #[test]
    fn output_without_a_result_counts_nothing() {
        assert_eq!(read("error: could not compile `x`").tally, Tally::default());
    }
}
