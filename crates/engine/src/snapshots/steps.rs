//! Steps of an operation on the tables of snapshots.

use crate::Progress;

/// Counts tables as they are walked.
pub(super) struct Steps<'a> {
    progress: &'a mut dyn Progress,
    done: u64,
    total: u64,
}

impl<'a> Steps<'a> {
    pub(super) fn new(progress: &'a mut dyn Progress) -> Self {
        Self { progress, done: 0, total: 1 }
    }

    /// There will be this many steps, if nothing has to be done twice.
    pub(super) fn expect(&mut self, total: u64) {
        self.total = total.max(1);
    }

    pub(super) fn step(&mut self, count: u64) {
        // Walks in several windows take more steps; the end is not told before it is reached.
        self.done = (self.done + count).min(self.total - 1);
        self.progress.at(self.done, self.total);
    }

    pub(super) fn finish(self) {
        self.progress.at(self.total, self.total);
    }
}
