//! Clusters that are counted before anything names them.

use holstein_guard::Region;
use holstein_mapping::MapError;
use holstein_refcount::{ClusterAllocator as _, Freed};
use holstein_units::{HostCluster, HostOffset};

use crate::EngineError;
use crate::disk::Disk;

/// Clusters that were counted for an operation; given back if it fails before they are named.
pub(crate) struct Placed<'a> {
    disk: &'a Disk,
    first: HostCluster,
    count: u64,
    used: bool,
}

impl Placed<'_> {
    /// Where the clusters begin; 0 if there are none.
    pub(crate) fn at(&self) -> HostOffset {
        self.disk.geometry.host_offset(self.first)
    }

    /// The header names them now.
    pub(crate) fn keep(&mut self) {
        self.used = true;
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        if !self.used && self.count > 0 {
            self.disk.refcounts.retire(self.first, self.count, Freed::Always);
        }
    }
}

impl Disk {
    /// Counts clusters for `bytes` bytes in a row. Not within a run.
    pub(crate) fn set_aside(&self, bytes: u64) -> Result<Placed<'_>, EngineError> {
        let count = self.geometry.clusters_for(bytes);
        let first = match count {
            0 => HostCluster::new(0),
            _ => self.refcounts.allocate(count).map_err(MapError::from)?.0,
        };
        Ok(Placed { disk: self, first, count, used: false })
    }

    /// Forgets where a table of `bytes` bytes was that nothing names any more, and gives its clusters back.
    pub(crate) fn drop_table(&self, region: Region, at: HostOffset, bytes: u64) {
        let first = self.geometry.host_cluster(at);
        let count = self.geometry.clusters_for(bytes);
        self.file.regions().remove(region, first, count);
        self.refcounts.retire(first, count, Freed::Other);
    }
}
