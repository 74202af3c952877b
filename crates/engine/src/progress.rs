//! How far a long operation is.

/// Hears how far a long operation is.
pub trait Progress {
    /// `done` of `total` is done: steps, or bytes, as the operation says. Called now and then, with `done`
    /// never falling, and with both equal at the end of an operation that succeeds.
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
