//! A file that the program which started this one left open.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first file behind standard input, output and error.
const FIRST: i32 = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// File 3, which a program that hands over a socket leaves open. It can be taken once, and has to be
/// taken before this process opens a file itself.
///
/// # Errors
/// `EBADF` if there is none, or it was taken already.
pub fn first_inherited_file() -> io::Result<OwnedFd> {
    let nothing = io::Error::from_raw_os_error(libc::EBADF);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Err(nothing);
    }
    take(FIRST).ok_or(nothing)
}

#[allow(unsafe_code, reason = "the number of a file that another program opened")]
fn take(number: i32) -> Option<OwnedFd> {
    // SAFETY: asking for the flags of a file does nothing to it, whether it is open or not.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return None;
    }
    // SAFETY: the file is open, and by the contract of the only caller nobody in this process owns it:
    // it was open when the process began, and is given out once.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    let mine = rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC);
    mine.ok().map(|()| file)
}
