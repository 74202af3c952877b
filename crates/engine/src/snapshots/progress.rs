//! How far a long operation is.

/// Hears how far a long operation is.
pub trait Progress {
    /// `done` of `total` steps are done. Called now and then, with `done` never falling, and with
    /// both equal at the end of an operation that succeeds.
    fn at(&mut self, done: u64, total: u64);
}

impl<F: FnMut(u64, u64)> Progress for F {
    fn at(&mut self, done: u64, total: u64) {
        self(done, total);
    }
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn at(&mut self, _done: u64, _total: u64) {}
}

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
