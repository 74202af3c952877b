//! A disk as the bytes under another format.

use std::io::{self, IoSlice, IoSliceMut};

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use super::{Disk, Preallocation, os_error};

/// Bytes that are the content of a disk, such as a raw window or an image inside of an image.
pub(crate) struct DiskStorage {
    disk: Box<dyn Disk>,
}

impl DiskStorage {
    /// The bytes of a disk.
    pub(crate) fn new(disk: Box<dyn Disk>) -> Self {
        Self { disk }
    }
}

/// Fills the buffers in order from byte `at` with what there is up to the end of the disk, and returns
/// how many bytes that is.
pub(crate) fn read_within(
    disk: &dyn Disk,
    at: u64,
    into: &mut [IoSliceMut<'_>],
) -> io::Result<usize> {
    let mut rest = disk.len().saturating_sub(at);
    let mut at = at;
    let mut read = 0;
    for buffer in into {
        let here = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        disk.read_at(at, &mut buffer[..here]).map_err(os_error)?;
        at += here as u64;
        rest -= here as u64;
        read += here;
    }
    Ok(read)
}

/// What the bytes of a disk can do.
pub(crate) fn capabilities(disk: &dyn Disk) -> Capabilities {
    Capabilities {
        alignment: 1,
        zero_beyond_end: true,
        resizable: true,
        discard: true,
        fast_zeroes: true,
        read_only: disk.read_only(),
    }
}

impl Storage for DiskStorage {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        read_within(&*self.disk, at.get(), into)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        let total: u64 = from.iter().map(|buffer| buffer.len() as u64).sum();
        self.grow_to(at.get().saturating_add(total))?;
        self.disk.write_vectored(at.get(), from, false).map_err(os_error)
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.grow_to(range.start.get().saturating_add(range.len))?;
        self.disk.write_zeroes(range.start.get(), range.len, false, false).map_err(os_error)
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        let at = range.start.get();
        let len = range.len.min(self.disk.len().saturating_sub(at));
        if len == 0 { Ok(()) } else { self.disk.discard(at, len).map_err(os_error) }
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush().map_err(os_error)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.truncate(len, Preallocation::Off, &mut |_, _| {}).map_err(os_error)
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.grow_to(range.start.get().saturating_add(range.len))
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(&*self.disk)
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        let status = self.disk.status(at.get(), u64::MAX).map_err(os_error)?;
        Ok((!status.zero, status.len))
    }
}

impl DiskStorage {
    fn grow_to(&self, end: u64) -> io::Result<()> {
        if end > self.disk.len() {
            let end = end.next_multiple_of(512);
            let grown = self.disk.truncate(end, Preallocation::Off, &mut |_, _| {});
            grown.map_err(|error| match error.errno() {
                // A window of a given size is full.
                libc::ENOTSUP => io::Error::from_raw_os_error(libc::ENOSPC),
                _ => os_error(error),
            })?;
        }
        Ok(())
    }
}
