//! Counts of tests, and how they are printed.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed, failed and were skipped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    pub(crate) const PASSED: Tally = Tally { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAILED: Tally = Tally { passed: 0, failed: 1, skipped: 0 };
    pub(crate) const SKIPPED: Tally = Tally { passed: 0, failed: 0, skipped: 1 };

    /// One test, passed or failed.
    pub(crate) fn one(passed: bool) -> Tally {
        if passed { Tally::PASSED } else { Tally::FAILED }
    }

    /// The counts that are not zero, as a stage's line shows them.
    pub(crate) fn brief(self) -> String {
        let named = [(self.passed, "passed"), (self.failed, "failed"), (self.skipped, "skipped")];
        let parts: Vec<String> = named
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        if parts.is_empty() { "0 passed".to_owned() } else { parts.join(", ") }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_all_three_and_brief_only_what_happened() {
        let mut sum = Tally::PASSED;
        sum += Tally { passed: 2, failed: 0, skipped: 4 };
        assert_eq!(sum.to_string(), "3 passed, 0 failed, 4 skipped");
        assert_eq!(sum.brief(), "3 passed, 4 skipped");
        assert_eq!(Tally::default().brief(), "0 passed");
    }
}
