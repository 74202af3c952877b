//! Byte-range locks of open file descriptions, which rustix does not wrap.

#![expect(unsafe_code, reason = "fcntl with a lock argument exists in libc alone")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Takes a shared lock on `len` bytes from `start`; never waits.
///
/// # Errors
/// `WouldBlock` (or `EACCES`) if somebody holds an exclusive lock on one of the bytes; others where
/// the file system has no locks.
pub(crate) fn share(fd: BorrowedFd<'_>, start: u64, len: u64) -> io::Result<()> {
    call(fd, libc::F_OFD_SETLK, libc::F_RDLCK, start, len).map(drop)
}

/// Drops all locks of this description on `len` bytes from `start`.
///
/// # Errors
/// Where the file system has no locks.
pub(crate) fn release(fd: BorrowedFd<'_>, start: u64, len: u64) -> io::Result<()> {
    call(fd, libc::F_OFD_SETLK, libc::F_UNLCK, start, len).map(drop)
}

/// Whether another description holds any lock on one of `len` bytes from `start`.
///
/// # Errors
/// Where the file system has no locks.
pub(crate) fn others_hold(fd: BorrowedFd<'_>, start: u64, len: u64) -> io::Result<bool> {
    let found = call(fd, libc::F_OFD_GETLK, libc::F_WRLCK, start, len)?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

fn call(
    fd: BorrowedFd<'_>,
    command: libc::c_int,
    kind: libc::c_int,
    start: u64,
    len: u64,
) -> io::Result<libc::flock> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    // SAFETY: `flock` is a C struct of integers (and padding), for which all zeros is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).map_err(|_| io::ErrorKind::InvalidInput)?;
    lock.l_whence =
        libc::c_short::try_from(libc::SEEK_SET).map_err(|_| io::ErrorKind::InvalidInput)?;
    lock.l_start = libc::off_t::try_from(start).map_err(invalid)?;
    lock.l_len = libc::off_t::try_from(len).map_err(invalid)?;
    loop {
        // SAFETY: the descriptor is open for as long as `fd` is borrowed; both commands take a
        // pointer to one `flock`, read it, and write at most that one struct; `lock` is a live,
        // exclusively borrowed local of that type. `l_pid` is 0, as these commands demand.
        let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut lock) };
        if result != -1 {
            return Ok(lock);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
