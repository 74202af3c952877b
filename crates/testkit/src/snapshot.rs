//! A disk image as storage.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{PoisonError, RwLock};

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use crate::DiskImage;

/// Storage over a copy of a [`DiskImage`]; changes stay in the copy.
#[derive(Debug)]
pub struct SnapshotStorage {
    image: RwLock<DiskImage>,
}

impl SnapshotStorage {
    /// Storage that starts with the content of `image`.
    #[must_use]
    pub fn new(image: DiskImage) -> Self {
        Self { image: RwLock::new(image) }
    }

    /// The content now.
    #[must_use]
    pub fn image(&self) -> DiskImage {
        self.image.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change<T>(&self, end: u64, change: impl FnOnce(&mut DiskImage) -> T) -> io::Result<T> {
        if end > i64::MAX as u64 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(change(&mut self.image.write().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The end of `len` bytes from `at`, past 63 bits if there is none.
pub(crate) fn end(at: HostOffset, len: usize) -> u64 {
    at.get().saturating_add(len as u64)
}

/// All bytes of a vectored write.
pub(crate) fn gather(from: &[IoSlice<'_>]) -> Vec<u8> {
    from.iter().flat_map(|part| part.iter().copied()).collect()
}

impl Storage for SnapshotStorage {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let image = self.image.read().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        for buffer in into {
            let n = image.read(end(at, done), buffer);
            done += n;
            if n < buffer.len() {
                break;
            }
        }
        Ok(done)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        let bytes = gather(from);
        self.change(end(at, bytes.len()), |image| image.write(at.get(), &bytes))
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.change(range.end().get(), |image| {
            if !range.is_empty() {
                image.grow(range.end().get());
                image.clear(range.start.get(), range.len);
            }
        })
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.change(0, |image| image.clear(range.start.get(), range.len))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.change(0, |image| image.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(len, |image| image.set_len(len))
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.change(range.end().get(), |image| {
            if !range.is_empty() {
                image.grow(range.end().get());
            }
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            alignment: 1,
            zero_beyond_end: true,
            resizable: true,
            discard: true,
            fast_zeroes: true,
            read_only: false,
        }
    }
}
