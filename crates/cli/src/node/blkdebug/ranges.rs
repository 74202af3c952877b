//! Ranges that one request has to itself.

use std::sync::{Condvar, Mutex, PoisonError};

/// Ranges that are taken, as first byte and end.
#[derive(Default)]
pub(super) struct Ranges {
    taken: Mutex<Vec<(u64, u64)>>,
    given_back: Condvar,
}

/// A range that is taken until this is dropped.
pub(super) struct Taken<'a> {
    ranges: &'a Ranges,
    range: (u64, u64),
}

impl Ranges {
    /// Takes a range, after waiting for those that overlap it.
    pub(super) fn take(&self, at: u64, end: u64) -> Taken<'_> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while taken.iter().any(|(start, stop)| at < *stop && *start < end) {
            taken = self.given_back.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.push((at, end));
        Taken { ranges: self, range: (at, end) }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut taken = self.ranges.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = taken.iter().position(|range| *range == self.range) {
            taken.swap_remove(at);
        }
        self.ranges.given_back.notify_all();
    }
}
