//! Asking the kernel to begin writing pages, which rustix does not wrap.

#![expect(unsafe_code, reason = "sync_file_range exists in libc alone")]

use std::os::fd::{AsRawFd, BorrowedFd};

use holstein_units::HostRange;

/// Begins to write the dirty pages of the range to the device. Does not wait for them, and promises
/// nothing; an error of the device stays for the next flush to report. Not being able to is no error.
pub(crate) fn start(fd: BorrowedFd<'_>, range: HostRange) {
    if let (Ok(at), Ok(len)) = (range.start.get().try_into(), range.len.try_into()) {
        // SAFETY: the call takes numbers only, no memory of this process; the descriptor is open
        // for as long as `fd` is borrowed.
        unsafe { libc::sync_file_range(fd.as_raw_fd(), at, len, libc::SYNC_FILE_RANGE_WRITE) };
    }
}
