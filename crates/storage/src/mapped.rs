//! A file read through a memory map.

use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;

use holstein_units::{HostOffset, HostRange};

use crate::bounds::as_u64;
use crate::map::FileMap;
use crate::{Capabilities, FileIdentity, FileOptions, FileStorage, LockMode, OpenError, Storage};

/// A regular file, mapped read-only as long as it was when opened. For inspection: reads are copies
/// out of the page cache without a system call.
///
/// # Caveat
/// The file is open under QEMU's reader lock. A process that ignores locks and cuts the file below
/// a byte that is then read here makes the kernel raise SIGBUS, which ends the process. Where that
/// cannot be ruled out, use [`FileStorage`]. The map takes address space of the file's length, so
/// programs under an address-space limit should not map large files.
#[derive(Debug)]
pub struct MappedStorage {
    map: FileMap,
    /// Keeps the lock.
    file: FileStorage,
}

impl MappedStorage {
    /// Opens and maps the regular file at `path`, under [`LockMode::Read`].
    ///
    /// # Errors
    /// As for [`FileStorage::open`]; `Unsupported` for a block device, for a file system without
    /// locks, and for a file longer than the address space.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let options = FileOptions { lock: LockMode::Read, ..FileOptions::default() };
        let file = FileStorage::open(path, &options)?;
        let map = Self::map(&file)
            .map_err(|source| OpenError::Io { path: path.to_path_buf(), source })?;
        Ok(Self { map, file })
    }

    fn map(file: &FileStorage) -> io::Result<FileMap> {
        if file.is_block_device() {
            let text = "a block device is not mapped";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        if file.lock().is_none() {
            let text = "the file system has no locks, without which a file is not mapped";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::Unsupported)?;
        FileMap::new(file.file(), len)
    }

    /// Device and inode.
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.file.identity()
    }
}

impl Storage for MappedStorage {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut done = 0;
        for buffer in into {
            let n = self.read_at(HostOffset::new(at.get().saturating_add(as_u64(done))), buffer)?;
            done += n;
            if n < buffer.len() {
                break;
            }
        }
        Ok(done)
    }

    fn read_at(&self, at: HostOffset, into: &mut [u8]) -> io::Result<usize> {
        Ok(usize::try_from(at.get()).map_or(0, |at| self.map.read(at, into)))
    }

    fn write_vectored_at(&self, _: HostOffset, _: &[IoSlice<'_>]) -> io::Result<()> {
        Err(read_only())
    }

    fn write_zeroes(&self, _: HostRange) -> io::Result<()> {
        Err(read_only())
    }

    fn discard(&self, _: HostRange) -> io::Result<()> {
        Err(read_only())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(as_u64(self.map.len()))
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn allocate(&self, _: HostRange) -> io::Result<()> {
        Err(read_only())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            alignment: 1,
            zero_beyond_end: true,
            resizable: false,
            discard: false,
            fast_zeroes: false,
            read_only: true,
        }
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        let rest = as_u64(self.map.len()).saturating_sub(at.get());
        if rest == 0 {
            return Ok((false, 0));
        }
        match self.file.extent_at(at)? {
            // The file was cut after it was mapped; what its pages hold is not for us to say.
            (_, 0) => Ok((true, rest)),
            (data, len) => Ok((data, len.min(rest))),
        }
    }
}

pub(crate) fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "opened read-only")
}
