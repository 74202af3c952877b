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

    /// Fills `into` from `at` on; the range is within the length.
    ///
    /// # Errors
    /// Whatever reading fails with.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
}
