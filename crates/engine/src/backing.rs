//! What unallocated clusters show.

use std::io;

/// A disk below this one.
///
/// # Concurrency
/// Called from any number of threads.
pub trait Backing: Send + Sync {
    /// Its length in bytes; what lies past it reads as zeros.
    fn len(&self) -> u64;

    /// Whether it has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `len` bytes from `at` are known to read as zeros without looking at data. A backing
    /// that cannot tell answers `false`.
    fn reads_as_zero(&self, at: u64, len: u64) -> bool {
        let _ = len;
        at >= self.len()
    }

    /// Fills `into` from `at` on; the range is within the length.
    ///
    /// # Errors
    /// Whatever reading fails with.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
}
