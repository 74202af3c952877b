//! Sets of numbers that come in long rows.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of numbers, kept as the rows that they form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// The end of each row by its start. Rows neither overlap nor touch.
    ends: BTreeMap<u64, u64>,
}

impl Runs {
    /// The row that `n` is in.
    pub(crate) fn row_at(&self, n: u64) -> Option<Range<u64>> {
        let (&start, &end) = self.ends.range(..=n).next_back()?;
        (n < end).then_some(start..end)
    }

    /// The first row that begins at `n` or later.
    pub(crate) fn next_row(&self, n: u64) -> Option<Range<u64>> {
        self.ends.range(n..).next().map(|(&start, &end)| start..end)
    }

    /// All rows, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ends.iter().map(|(&start, &end)| start..end)
    }

    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        while let Some((&first, &last)) =
            self.ends.range(..=end).next_back().filter(|(_, last)| **last >= start)
        {
            self.ends.remove(&first);
            start = start.min(first);
            end = end.max(last);
        }
        self.ends.insert(start, end);
    }

    pub(crate) fn remove(&mut self, range: Range<u64>) {
        while let Some((&first, &last)) =
            self.ends.range(..range.end).next_back().filter(|(_, last)| **last > range.start)
        {
            self.ends.remove(&first);
            if last > range.end {
                self.ends.insert(range.end, last);
            }
            if first < range.start {
                self.ends.insert(first, range.start);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_join_and_part() {
        let mut runs = Runs::default();
        for range in [5..7, 1..2, 9..12, 2..3, 6..10] {
            runs.insert(range);
        }
        assert_eq!(runs.rows().collect::<Vec<_>>(), [1..3, 5..12]);
        runs.remove(6..8);
        runs.remove(0..2);
        assert_eq!(runs.rows().collect::<Vec<_>>(), [2..3, 5..6, 8..12]);
        assert_eq!(runs.row_at(11), Some(8..12));
        assert_eq!(runs.row_at(12), None);
        assert_eq!(runs.next_row(3), Some(5..6));
        runs.remove(0..20);
        assert_eq!(runs, Runs::default());
    }
}
