//! A disk as the server exports it.

use std::io;

use holstein_nbd::numbers::allocation;
use holstein_nbd::{Context, Export, Extent, Zeroes};

use crate::disk::{Disk, os_error};

/// A disk from a byte on, to its end in whole sectors.
pub(super) struct DiskExport {
    disk: Box<dyn Disk>,
    offset: u64,
    size: u64,
    /// Zeros over less than this are written as data, which is slow.
    unit: u64,
}

impl DiskExport {
    /// The part of `disk` from `offset` on, which must not lie past its end.
    pub(super) fn new(disk: Box<dyn Disk>, offset: u64) -> Self {
        let size = disk.len().saturating_sub(offset);
        let size = size - size % holstein_units::SECTOR;
        let unit = disk.info().ok().and_then(|info| info.cluster_size).unwrap_or(1);
        Self { disk, offset, size, unit }
    }

    /// The disk, once nobody asks for it any more.
    pub(super) fn into_disk(self) -> Box<dyn Disk> {
        self.disk
    }
}

impl Export for DiskExport {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(self.offset + at, into).map_err(os_error)
    }

    fn write_at(&self, at: u64, from: &[u8], durable: bool) -> io::Result<()> {
        self.disk.write_at(self.offset + at, from, durable).map_err(os_error)
    }

    fn write_zeroes(&self, at: u64, len: u64, how: Zeroes) -> io::Result<()> {
        if how.fast_only && len < self.unit {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        let zeroed = self.disk.write_zeroes(self.offset + at, len, !how.keep_space, how.durable);
        zeroed.map_err(os_error)
    }

    fn trim(&self, at: u64, len: u64, durable: bool) -> io::Result<()> {
        self.disk.discard(self.offset + at, len).map_err(os_error)?;
        if durable { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush().map_err(os_error)
    }

    fn extent_at(&self, context: &Context, at: u64, len: u64) -> io::Result<Extent> {
        let at = self.offset + at;
        if let Context::DirtyBitmap(name) = context {
            let found = self.disk.bitmap_extent(name, at, len).map_err(os_error)?;
            // Past the end of the bitmap nothing was ever written.
            let (dirty, len) = found.unwrap_or((false, len));
            return Ok(Extent { len, flags: u32::from(dirty) });
        }
        let status = self.disk.status(at, len).map_err(os_error)?;
        let flags = match context {
            Context::AllocationDepth if status.present => status.depth.saturating_add(1),
            // The end of the disk below counts as held by it, as for the reference.
            Context::AllocationDepth if self.disk.backing_len().is_some_and(|len| at >= len) => 2,
            Context::AllocationDepth | Context::DirtyBitmap(_) => 0,
            Context::Allocation => {
                let hole = if status.data { 0 } else { allocation::HOLE };
                let zero = if status.zero { allocation::ZERO } else { 0 };
                hole | zero
            }
        };
        Ok(Extent { len: status.len, flags })
    }
}
