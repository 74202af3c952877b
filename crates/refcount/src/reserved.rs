//! Clusters that are spoken for without being counted.

use std::collections::BTreeMap;

/// Disjoint runs of cluster numbers.
#[derive(Debug, Default)]
pub(crate) struct RunSet(BTreeMap<u64, u64>);

impl RunSet {
    /// Adds `count` numbers from `first`, none of which is in the set.
    pub(crate) fn insert(&mut self, first: u64, count: u64) {
        self.0.insert(first, count);
    }

    /// Removes a run that was inserted as such.
    pub(crate) fn remove(&mut self, first: u64) {
        self.0.remove(&first);
    }

    /// The end of the run that holds `n`, if one does.
    pub(crate) fn end_of_run_at(&self, n: u64) -> Option<u64> {
        let (first, count) = self.0.range(..=n).next_back()?;
        (first + count > n).then_some(first + count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_by_their_members() {
        let mut set = RunSet::default();
        set.insert(5, 3);
        set.insert(10, 1);
        assert_eq!(set.end_of_run_at(4), None);
        assert_eq!(set.end_of_run_at(5), Some(8));
        assert_eq!(set.end_of_run_at(7), Some(8));
        assert_eq!(set.end_of_run_at(8), None);
        set.remove(10);
        assert_eq!(set.end_of_run_at(10), None);
    }
}
