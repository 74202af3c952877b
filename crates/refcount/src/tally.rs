//! How many references clusters gain or lose, for many clusters at once.

use holstein_units::HostCluster;

/// Changes of the running count that a tally keeps before it narrows its window: 32 MiB.
const LIMIT: usize = 2 << 20;

/// References to host clusters, added up within a window of the file.
///
/// Memory is bounded: a tally that would grow too large gives up the upper part of its window, and
/// whoever walks the references walks again for the rest.
///
/// ```
/// use holstein_refcount::{References, Tally};
/// use holstein_units::HostCluster;
///
/// let mut tally = Tally::from(HostCluster::new(0));
/// tally.add(HostCluster::new(4), 3);
/// tally.add(HostCluster::new(5), 1);
/// let counted = tally.finish();
/// let runs: Vec<_> = counted.runs().map(|r| (r.first.get(), r.count, r.times)).collect();
/// assert_eq!(runs, [(4, 1, 1), (5, 1, 2), (6, 1, 1)]);
/// assert_eq!(counted.rest(), None);
/// # let _: References = counted;
/// ```
#[derive(Debug)]
pub struct Tally {
    from: u64,
    /// The first cluster that is not counted; `u64::MAX` if all are.
    end: u64,
    /// By how much the number of references changes at a cluster, in any order.
    steps: Vec<(u64, i64)>,
    limit: usize,
}

/// What a [`Tally`] counted.
#[derive(Debug)]
pub struct References {
    end: u64,
    /// In ascending order, no cluster twice.
    steps: Vec<(u64, i64)>,
}

/// Neighbouring clusters with equally many references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceRun {
    /// The first cluster.
    pub first: HostCluster,
    /// How many clusters.
    pub count: u64,
    /// References to each of them, at least 1.
    pub times: u64,
}

impl Tally {
    /// Counts references to clusters from `first` on.
    #[must_use]
    pub fn from(first: HostCluster) -> Self {
        Self::with_limit(first, LIMIT)
    }

    fn with_limit(first: HostCluster, limit: usize) -> Self {
        Self { from: first.get(), end: u64::MAX, steps: Vec::new(), limit }
    }

    /// Counts one reference to each of `count` clusters from `first` on.
    #[inline]
    pub fn add(&mut self, first: HostCluster, count: u64) {
        let end = first.get().saturating_add(count).min(self.end);
        let first = first.get().max(self.from);
        if first >= end {
            return;
        }
        match self.steps.last_mut() {
            Some((last, step)) if *last == first && *step == -1 => *last = end,
            _ => self.steps.extend([(first, 1), (end, -1)]),
        }
        if self.steps.len() >= self.limit {
            self.condense();
        }
    }

    /// Sorts and joins steps; narrows the window if that does not help.
    fn condense(&mut self) {
        self.steps.sort_unstable();
        self.steps.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        self.steps.retain(|step| step.1 != 0);
        if self.steps.len() <= self.limit / 2 {
            return;
        }
        let keep = self.steps.len() / 2;
        let cut = self.steps[keep].0;
        self.steps.truncate(keep);
        let open: i64 = self.steps.iter().map(|step| step.1).sum();
        if open > 0 {
            self.steps.push((cut, -open));
        }
        self.end = cut;
    }

    /// The references in their order.
    #[must_use]
    pub fn finish(mut self) -> References {
        self.limit = usize::MAX;
        self.condense();
        References { end: self.end, steps: self.steps }
    }
}

impl References {
    /// The first cluster that was left out, if the window had to be narrowed.
    #[must_use]
    pub fn rest(&self) -> Option<HostCluster> {
        (self.end != u64::MAX).then_some(HostCluster::new(self.end))
    }

    /// The references to clusters below `end` alone.
    #[must_use]
    pub fn below(&self, end: HostCluster) -> Self {
        let end = end.get();
        let mut steps: Vec<_> = self.steps.iter().copied().filter(|step| step.0 < end).collect();
        let open: i64 = steps.iter().map(|step| step.1).sum();
        if open > 0 {
            steps.push((end, -open));
        }
        Self { end, steps }
    }

    /// Clusters with references, in ascending order.
    pub fn runs(&self) -> impl Iterator<Item = ReferenceRun> {
        let mut times = 0;
        self.steps.windows(2).filter_map(move |pair| {
            let [(first, step), (next, _)] = pair else { return None };
            times += step;
            let times = u64::try_from(times).ok().filter(|&times| times > 0)?;
            Some(ReferenceRun { first: HostCluster::new(*first), count: next - first, times })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(tally: Tally) -> (Vec<(u64, u64, u64)>, Option<u64>) {
        let counted = tally.finish();
        let runs = counted.runs().map(|r| (r.first.get(), r.count, r.times)).collect();
        (runs, counted.rest().map(HostCluster::get))
    }

    #[test]
    fn neighbours_join_and_overlaps_add_up() {
        let mut tally = Tally::from(HostCluster::new(0));
        for (first, count) in [(10, 2), (12, 1), (30, 5), (32, 1), (32, 1), (40, 0)] {
            tally.add(HostCluster::new(first), count);
        }
        let expected = vec![(10, 3, 1), (30, 2, 1), (32, 1, 3), (33, 2, 1)];
        assert_eq!(runs(tally), (expected, None));
    }

    #[test]
    fn a_window_that_is_full_gives_up_its_upper_part_and_windows_join_up() {
        let all: Vec<(u64, u64)> = (0..500).map(|n| (n * 7919 % 1000 * 3, 1 + n % 4)).collect();
        let mut expected = vec![0_u64; 4000];
        for (first, count) in &all {
            for n in *first..first + count {
                expected[usize::try_from(n).expect("small")] += 1;
            }
        }
        let mut got = vec![0_u64; 4000];
        let mut from = HostCluster::new(0);
        let mut windows = 0;
        loop {
            let mut tally = Tally::with_limit(from, 64);
            for (first, count) in &all {
                tally.add(HostCluster::new(*first), *count);
            }
            let counted = tally.finish();
            for run in counted.runs() {
                for n in run.first.get()..run.first.get() + run.count {
                    got[usize::try_from(n).expect("small")] += run.times;
                }
            }
            windows += 1;
            match counted.rest() {
                Some(rest) => {
                    assert!(rest > from);
                    from = rest;
                }
                None => break,
            }
        }
        assert!(windows > 3, "{windows}");
        assert_eq!(got, expected);
    }
}
