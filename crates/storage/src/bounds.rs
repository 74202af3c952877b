//! Ends of requests, checked against the largest file.

use std::io::{self, IoSlice, IoSliceMut};

use holstein_units::HostOffset;

/// The first byte past `len` bytes from `at`.
///
/// # Errors
/// `FileTooLarge` past 63 bits, where no file reaches.
pub(crate) fn end_of(at: HostOffset, len: u64) -> io::Result<u64> {
    match at.get().checked_add(len) {
        Some(end) if end <= i64::MAX as u64 => Ok(end),
        _ => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{len} bytes at {at} end past 63 bits"),
        )),
    }
}

/// A length in memory as a length in a file.
pub(crate) const fn as_u64(len: usize) -> u64 {
    // `usize` has at most 64 bits on every supported target.
    len as u64
}

/// Bytes in all buffers of a write.
pub(crate) fn total(buffers: &[IoSlice<'_>]) -> usize {
    buffers.iter().map(|b| b.len()).sum()
}

/// Bytes in all buffers of a read.
pub(crate) fn total_mut(buffers: &[IoSliceMut<'_>]) -> usize {
    buffers.iter().map(|b| b.len()).sum()
}
