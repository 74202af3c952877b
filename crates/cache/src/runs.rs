//! Stretches of a table in which each word is the one before plus a constant.
//!
//! In an L2 table most neighbours name neighbouring clusters. A table of a few kilobytes whose words are
//! asked for at random is out of the processor's cache most of the time, and the wait for one of
//! its words is then the largest part of a lookup: about 100 ns, beside a `pread` of 1600. So for
//! each group of words that is such a run its first word is kept aside, 64 times denser than the
//! table.
//!
//! # Invariants
//! * A run is noted only under the lock of the set while nobody holds the table, so that no word
//!   changes meanwhile.
//! * Whoever stores into words forgets their runs first: who sees the new word does not see the run.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words of a group.
const GROUP: usize = 64;
/// Reads of a group before it is looked at: while it is being filled that would be in vain.
const PATIENCE: u64 = 4;
/// The group is no run.
const NONE: u64 = 511;
/// First words of runs are not below: what is there is a count of reads, or [`NONE`].
const FIRST: u64 = 512;

/// What is known of the groups of one table; made when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Runs(OnceLock<Box<[AtomicU64]>>);

/// The answer of [`Runs::word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The word.
    Word(u64),
    /// Look into the table; the group is no run.
    No,
    /// Look into the table, and [`Runs::learn`].
    NotYet,
}

impl Runs {
    /// Word `i`, if it is in a run of steps of `stride`.
    #[inline]
    pub(crate) fn word(&self, i: usize, stride: u64) -> Known {
        match self.0.get().and_then(|groups| groups.get(i / GROUP)) {
            None => Known::NotYet,
            Some(group) => match group.load(Ordering::Acquire) {
                NONE => Known::No,
                first if first >= FIRST => Known::Word(first + (i % GROUP) as u64 * stride),
                _ => Known::NotYet,
            },
        }
    }

    /// Counts a read of word `i`, and looks whether its group is a run when there were some. The
    /// caller holds the lock of the set, and nobody holds the table.
    pub(crate) fn learn(&self, words: &[AtomicU64], i: usize, stride: u64) {
        let groups = self
            .0
            .get_or_init(|| (0..words.len().div_ceil(GROUP)).map(|_| AtomicU64::new(0)).collect());
        let Some(group) = groups.get(i / GROUP) else { return };
        let seen = group.load(Ordering::Relaxed);
        if seen < PATIENCE {
            group.store(seen + 1, Ordering::Relaxed);
        } else if seen < NONE {
            let start = i / GROUP * GROUP;
            let run = words.get(start..start + GROUP).and_then(|words| first_of_run(words, stride));
            group.store(run.unwrap_or(NONE), Ordering::Release);
        }
    }

    /// Forgets what is known of words `i..i + n`, which are about to change.
    pub(crate) fn forget(&self, i: usize, n: usize) {
        let Some(groups) = self.0.get() else { return };
        let end = (i + n).div_ceil(GROUP).min(groups.len());
        for group in &groups[(i / GROUP).min(end)..end] {
            // Most stores come to groups that are not known.
            if group.load(Ordering::Relaxed) != 0 {
                group.store(0, Ordering::Release);
            }
        }
    }

    /// Forgets all: the words are those of another table from now on.
    pub(crate) fn reset(&self) {
        self.forget(0, usize::MAX - GROUP);
    }
}

/// The first of words of which each is the one before plus `stride`.
fn first_of_run(words: &[AtomicU64], stride: u64) -> Option<u64> {
    let first = words.first()?.load(Ordering::Acquire);
    let mut next = Some(first).filter(|&first| first >= FIRST);
    for word in words {
        if word.load(Ordering::Acquire) != next? {
            return None;
        }
        next = next.and_then(|n| n.checked_add(stride));
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(words: impl Iterator<Item = u64>) -> Vec<AtomicU64> {
        words.map(AtomicU64::new).collect()
    }

    fn learn(runs: &Runs, words: &[AtomicU64], i: usize) {
        for _ in 0..=PATIENCE {
            assert_eq!(runs.word(i, 8), Known::NotYet);
            runs.learn(words, i, 8);
        }
    }

    #[test]
    fn a_run_answers_for_its_group_until_a_word_is_stored() {
        let words = table((0..128).map(|n| 1000 + 8 * n));
        let runs = Runs::default();
        learn(&runs, &words, 70);
        for (i, word) in words.iter().enumerate().skip(64) {
            assert_eq!(runs.word(i, 8), Known::Word(word.load(Ordering::Relaxed)));
        }
        assert_eq!(runs.word(63, 8), Known::NotYet);
        runs.forget(60, 4);
        assert_eq!(runs.word(127, 8), Known::Word(1000 + 8 * 127));
        runs.forget(60, 5);
        assert_eq!(runs.word(127, 8), Known::NotYet);
    }

    #[test]
    fn one_odd_word_makes_it_no_run() {
        for odd in [0, 1, 62, 63] {
            let words = table((0..64).map(|n| 1000 + 8 * n + u64::from(n == odd)));
            let runs = Runs::default();
            learn(&runs, &words, 5);
            assert_eq!(runs.word(5, 8), Known::No, "word {odd}");
            runs.reset();
            assert_eq!(runs.word(5, 8), Known::NotYet);
        }
    }

    #[test]
    fn small_words_short_tables_and_ends_of_numbers_are_no_runs() {
        for words in [
            table((0..64).map(|n| 8 * n)),
            table((0..40).map(|n| 1000 + 8 * n)),
            table((0..64).map(|n| u64::MAX - 100 + 8 * n.min(12))),
        ] {
            let runs = Runs::default();
            learn(&runs, &words, 5);
            assert_eq!(runs.word(5, 8), Known::No);
        }
        let last = table((0..64).map(|n| u64::MAX - 8 * 63 + 8 * n));
        let runs = Runs::default();
        learn(&runs, &last, 63);
        assert_eq!(runs.word(63, 8), Known::Word(u64::MAX));
    }
}
