//! What the disk is made of, for maps and copies.

use holstein_mapping::{Extent, ExtentKind, Resolved};
use holstein_units::{GuestRange, HostOffset};

use crate::EngineError;
use crate::disk::Disk;

/// What a stretch of the disk is, in this image alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskExtentKind {
    /// Has data of its own.
    Data,
    /// Reads as zeros.
    Zero,
    /// Shows the backing file, or zeros.
    Unallocated,
}

/// A stretch of the disk that is alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskExtent {
    /// How many bytes.
    pub len: u64,
    /// What they are.
    pub kind: DiskExtentKind,
    /// Where the first byte is in the file, if the stretch is contiguous there and neither
    /// compressed nor encrypted.
    pub host: Option<u64>,
    /// Whether it is compressed.
    pub compressed: bool,
}

impl Disk {
    /// The extent at the start of the range, merged as far as the tables go.
    ///
    /// # Errors
    /// [`EngineError::OutOfRange`]; corruption; I/O.
    pub fn extent_at(&self, at: u64, len: u64) -> Result<DiskExtent, EngineError> {
        let range = self.check_range(at, len)?;
        let mut extent = self.public(self.map_extent(range)?);
        let mut left = range.split_at(extent.len).1;
        while !left.is_empty() {
            let next = self.public(self.map_extent(left)?);
            let adjacent = match (extent.host, next.host) {
                (None, None) => true,
                (Some(a), Some(b)) => a.checked_add(extent.len) == Some(b),
                _ => false,
            };
            if next.kind != extent.kind || next.compressed != extent.compressed || !adjacent {
                break;
            }
            extent.len += next.len;
            left = left.split_at(next.len).1;
        }
        Ok(extent)
    }

    /// One extent, fetching what is missing.
    pub(crate) fn map_extent(&self, range: GuestRange) -> Result<Extent, EngineError> {
        loop {
            let pin = self.sequencer.pins().pin();
            match self.mapping.resolve(range)? {
                Resolved::Extent(extent) => return Ok(extent),
                Resolved::Wanted(fetch) => {
                    drop(pin);
                    self.mapping.fetch(fetch)?;
                }
            }
        }
    }

    fn public(&self, extent: Extent) -> DiskExtent {
        let (kind, host, compressed) = match extent.kind {
            ExtentKind::Unallocated { at } => (DiskExtentKind::Unallocated, at, false),
            ExtentKind::Zero { at } => (DiskExtentKind::Zero, at, false),
            ExtentKind::Data { at } => (DiskExtentKind::Data, Some(at), false),
            ExtentKind::Compressed { .. } => (DiskExtentKind::Data, None, true),
        };
        // What is in the file there is not what the disk reads as.
        let host = host.filter(|_| self.config.cipher.is_none()).map(HostOffset::get);
        DiskExtent { len: extent.len, kind, host, compressed }
    }
}
