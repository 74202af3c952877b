//! Whole transfers out of system calls that may do less.
//!
//! The first call of each transfer is all there is in the common case; what it leaves over is moved
//! buffer by buffer.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, ReadWriteFlags, pread, preadv, pwrite, pwritev, pwritev2, retry_on_intr};

use crate::bounds::{as_u64, total, total_mut};

/// The most buffers that one system call takes.
const MAX_BUFFERS: usize = 1024;

/// Reads until `into` is full or the file ends.
///
/// * `granule`: a short read that is not a multiple of it has met the end (direct I/O could not go
///   on from there); 1 for buffered files.
///
/// # Errors
/// Whatever the operating system says.
pub(crate) fn read(
    fd: BorrowedFd<'_>,
    at: u64,
    into: &mut [u8],
    granule: usize,
) -> io::Result<usize> {
    // Nothing is stored past 63 bits, and the kernel would call it an error.
    let reachable = usize::try_from((i64::MAX as u64).saturating_sub(at)).unwrap_or(usize::MAX);
    let len = into.len().min(reachable);
    let into = &mut into[..len];
    let mut done = 0;
    while done < into.len() {
        let n = retry_on_intr(|| pread(fd, &mut into[done..], at + as_u64(done)))?;
        done += n;
        if n == 0 || n % granule != 0 {
            break;
        }
    }
    Ok(done)
}

/// Reads until all buffers are full or the file ends; `granule` as for [`read`].
///
/// # Errors
/// Whatever the operating system says.
pub(crate) fn read_vectored(
    fd: BorrowedFd<'_>,
    at: u64,
    into: &mut [IoSliceMut<'_>],
    granule: usize,
) -> io::Result<usize> {
    if let [single] = into {
        return read(fd, at, single, granule);
    }
    let mut done = 0;
    for buffers in into.chunks_mut(MAX_BUFFERS) {
        let want = total_mut(buffers);
        let start = at.saturating_add(as_u64(done));
        let n = if start.saturating_add(as_u64(want)) > i64::MAX as u64 {
            0
        } else {
            retry_on_intr(|| preadv(fd, buffers, start))?
        };
        done += n;
        if n == want {
            continue;
        }
        if n % granule != 0 {
            break;
        }
        let mut skip = n;
        for buffer in buffers {
            let begin = skip.min(buffer.len());
            skip -= begin;
            let rest = &mut buffer[begin..];
            let want = rest.len();
            let n = read(fd, at.saturating_add(as_u64(done)), rest, granule)?;
            done += n;
            if n < want {
                return Ok(done);
            }
        }
    }
    Ok(done)
}

/// Writes all of `from`, durable before it returns if `sync`. The end was checked by the caller.
///
/// # Errors
/// Whatever the operating system says; `WriteZero` if it takes nothing.
pub(crate) fn write(fd: BorrowedFd<'_>, at: u64, from: &[u8], sync: bool) -> io::Result<()> {
    let mut done = 0;
    while done < from.len() {
        let rest = &from[done..];
        let start = at + as_u64(done);
        let n = retry_on_intr(|| {
            if sync {
                pwritev2(fd, &[IoSlice::new(rest)], start, ReadWriteFlags::DSYNC)
            } else {
                pwrite(fd, rest, start)
            }
        })?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        done += n;
    }
    Ok(())
}

/// Writes all buffers, durable before it returns if `sync`. The end was checked by the caller.
///
/// # Errors
/// As for [`write`].
pub(crate) fn write_vectored(
    fd: BorrowedFd<'_>,
    at: u64,
    from: &[IoSlice<'_>],
    sync: bool,
) -> io::Result<()> {
    if let [single] = from {
        return write(fd, at, single, sync);
    }
    let mut start = at;
    for buffers in from.chunks(MAX_BUFFERS) {
        let want = total(buffers);
        let n = retry_on_intr(|| -> Result<usize, Errno> {
            if sync {
                pwritev2(fd, buffers, start, ReadWriteFlags::DSYNC)
            } else {
                pwritev(fd, buffers, start)
            }
        })?;
        if n < want {
            let mut skip = n;
            let mut to = start + as_u64(n);
            for buffer in buffers {
                let begin = skip.min(buffer.len());
                skip -= begin;
                let rest = &buffer[begin..];
                write(fd, to, rest, sync)?;
                to += as_u64(rest.len());
            }
        }
        start += as_u64(want);
    }
    Ok(())
}
