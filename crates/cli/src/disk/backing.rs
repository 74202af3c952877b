//! The disks under an image.

use std::io;
use std::sync::Arc;

use holstein::OwnRead;
use holstein::chain::{Chain, Held, Layer, LayerExtent};
use holstein_storage::FileIdentity;

use super::{Disk, DiskError, Result, Status};

/// Disks over each other, the uppermost first, each without what is below it.
pub(crate) struct BackingDisks {
    disks: Vec<Arc<dyn Disk>>,
    chain: Arc<Chain>,
}

impl BackingDisks {
    /// The disks of a chain, the uppermost first.
    pub(crate) fn new(disks: Vec<Box<dyn Disk>>) -> Self {
        let disks: Vec<Arc<dyn Disk>> = disks.into_iter().map(Arc::from).collect();
        let layer = |disk: &Arc<dyn Disk>| Arc::new(DiskLayer(Arc::clone(disk))) as Arc<dyn Layer>;
        let chain = Arc::new(Chain::new(disks.iter().map(layer).collect()));
        Self { disks, chain }
    }

    /// The same for the library.
    pub(crate) fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// The length of the uppermost.
    pub(crate) fn len(&self) -> u64 {
        self.disks.first().map_or(0, |disk| disk.len())
    }

    /// Whether one of them has a dirty bitmap of that name.
    pub(crate) fn has_bitmap(&self, name: &str) -> Result<bool> {
        for disk in &self.disks {
            if disk.has_bitmap(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// As [`Disk::bitmap_extent`], of the uppermost that has the bitmap.
    pub(crate) fn bitmap_extent(
        &self,
        name: &str,
        at: u64,
        len: u64,
    ) -> Result<Option<(bool, u64)>> {
        for disk in &self.disks {
            if disk.has_bitmap(name)? {
                return disk.bitmap_extent(name, at, len);
            }
        }
        Err(DiskError::new(libc::ENOENT, format!("Bitmap '{name}' is not found")))
    }

    /// The state of a range that the image above does not hold; depths count from that image.
    pub(crate) fn status(&self, at: u64, len: u64) -> Result<Status> {
        let mut len = len;
        let mut status = Status { len, zero: true, ..Status::nothing() };
        for (disk, depth) in self.disks.iter().zip(1..) {
            let have = disk.len().saturating_sub(at);
            if have == 0 {
                // What is past the end belongs to the disk that is longer.
                return Ok(Status { len, zero: true, depth: depth - 1, ..Status::nothing() });
            }
            let (own, held) = disk.own_status(at, len.min(have))?;
            len = own.len;
            status = Status { depth: depth + own.depth, ..own };
            if held {
                break;
            }
        }
        Ok(status)
    }

    /// Adds the files of all.
    pub(crate) fn files(&self, found: &mut Vec<FileIdentity>) {
        for disk in &self.disks {
            disk.files(found);
        }
    }
}

/// A disk as a layer of the library.
struct DiskLayer(Arc<dyn Disk>);

/// An error of a disk where one of the system is expected.
pub(crate) fn os_error(error: DiskError) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}

impl Layer for DiskLayer {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_own(&self, at: u64, into: &mut [u8]) -> io::Result<OwnRead> {
        self.0.read_own(at, into).map_err(os_error)
    }

    fn own_extent(&self, at: u64, len: u64) -> io::Result<LayerExtent> {
        let (status, held) = self.0.own_status(at, len).map_err(os_error)?;
        let held = match (held, status.zero) {
            (false, _) => Held::Nothing,
            (true, true) => Held::Zero,
            (true, false) => Held::Data,
        };
        Ok(LayerExtent { len: status.len, held })
    }
}
