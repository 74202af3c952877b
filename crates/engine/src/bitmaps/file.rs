//! The image file as bitmaps see it.

use std::borrow::Cow;

use holstein_bitmap::{ReadFile, WriteFile};
use holstein_guard::Intent;
use holstein_units::{HostOffset, HostRange};

use crate::EngineError;
use crate::disk::Disk;
use crate::placed::Placed;

/// Bytes that are written at least.
const SECTOR_BYTES: usize = 512;

impl ReadFile for Disk {
    type Error = EngineError;

    fn read(&self, at: HostOffset, into: &mut [u8]) -> Result<(), EngineError> {
        Ok(self.file.read(at, into)?)
    }

    fn holds_data(&self, at: HostOffset, len: u64) -> bool {
        match self.storage().extent_at(at) {
            // Past the end of the file reading says what is wrong.
            Ok((has_data, run)) => has_data || run < len,
            Err(_) => true,
        }
    }

    fn is_taken(&self, cluster: HostOffset) -> bool {
        let cluster = self.geometry.host_cluster(cluster);
        !self.file.regions().lookup(cluster, 1).is_empty()
    }
}

/// New clusters of bitmaps; given back on drop unless they are kept.
pub(super) struct NewClusters<'a> {
    disk: &'a Disk,
    placed: Vec<Placed<'a>>,
}

impl<'a> NewClusters<'a> {
    pub(super) fn new(disk: &'a Disk) -> Self {
        Self { disk, placed: Vec::new() }
    }

    /// Something names them now.
    pub(super) fn keep(mut self) {
        self.placed.iter_mut().for_each(Placed::keep);
    }
}

impl WriteFile for NewClusters<'_> {
    type Error = EngineError;

    fn allocate(&mut self, clusters: u64) -> Result<HostOffset, EngineError> {
        let placed = self.disk.set_aside(clusters * self.disk.geometry.cluster_size())?;
        let at = placed.at();
        self.placed.push(placed);
        Ok(at)
    }

    fn write(&mut self, at: HostOffset, bytes: &[u8]) -> Result<(), EngineError> {
        // Whole sectors and no more: what is not needed of the cluster does not make the file longer.
        let mut bytes = Cow::Borrowed(bytes);
        let whole = bytes.len().next_multiple_of(SECTOR_BYTES);
        if whole != bytes.len() {
            bytes.to_mut().resize(whole, 0);
        }
        let range = HostRange { start: at, len: bytes.len() as u64 };
        Ok(self.disk.file.clear(Intent::Bitmap, range)?.write(&bytes)?)
    }
}
