//! Refcounts that are to be replaced.

/// Neighbouring clusters with one refcount that shall have another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CountRun {
    /// The first cluster.
    pub(crate) first: u64,
    /// How many.
    pub(crate) clusters: u64,
    /// The refcount that each has.
    pub(crate) from: u64,
    /// The refcount that each shall have.
    pub(crate) to: u64,
}

/// Adds a fix to a list, to its last run where it continues that. True if the list grew.
pub(crate) fn push(runs: &mut Vec<CountRun>, cluster: u64, from: u64, to: u64) -> bool {
    if let Some(last) = runs.last_mut()
        && last.first + last.clusters == cluster
        && (last.from, last.to) == (from, to)
    {
        last.clusters += 1;
        return false;
    }
    runs.push(CountRun { first: cluster, clusters: 1, from, to });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined() {
        let mut runs = Vec::new();
        let grown: Vec<bool> = [(1, 0), (2, 0), (3, 1), (5, 1)]
            .into_iter()
            .map(|(cluster, from)| push(&mut runs, cluster, from, 2))
            .collect();
        assert_eq!(grown, [true, false, true, true]);
        assert_eq!(runs[0], CountRun { first: 1, clusters: 2, from: 0, to: 2 });
    }
}
