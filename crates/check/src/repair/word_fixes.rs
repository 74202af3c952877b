//! Words of tables that are to be replaced.

/// One word of a table, big-endian in the file, that is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WordFix {
    /// Where it is: a multiple of 8.
    pub(crate) at: u64,
    /// What it is.
    pub(crate) old: u64,
    /// What it shall be.
    pub(crate) new: u64,
}

/// Sorts by place and keeps the first fix of each.
pub(crate) fn settle(fixes: &mut Vec<WordFix>) {
    fixes.sort_by_key(|fix| fix.at);
    fixes.dedup_by_key(|fix| fix.at);
}

/// The fix of a place, in settled ones.
pub(crate) fn find(fixes: &[WordFix], at: u64) -> Option<usize> {
    fixes.binary_search_by_key(&at, |fix| fix.at).ok()
}
