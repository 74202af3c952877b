//! A snapshot is read while the disk goes on.

use std::sync::Arc;

use holstein_format::SnapshotRecord;
use holstein_snapshot::SnapshotSelector;

use crate::EngineError;
use crate::disk::{Disk, DiskConfig};

/// Keeps a snapshot from being deleted while it lives.
#[derive(Clone, Debug)]
pub struct SnapshotLease {
    _held: Arc<()>,
}

impl Disk {
    /// Opens a snapshot for reading: a disk of its own over the same file, with tables of its own in
    /// memory, and the lease that keeps the snapshot.
    ///
    /// Costs the reading of the snapshot's L1 table. What a snapshot holds does not change, so the two
    /// disks need not know of each other.
    ///
    /// * `size`: bytes that may be read, whatever the snapshot's disk had.
    ///
    /// # Errors
    /// [`EngineError::NoSnapshot`]; [`EngineError::SnapshotRecord`]; I/O.
    pub fn open_snapshot(
        &self,
        selector: SnapshotSelector<'_>,
        size: Option<u64>,
    ) -> Result<(Disk, SnapshotRecord, SnapshotLease), EngineError> {
        self.allow_snapshots()?;
        let guard = self.snapshot_list()?;
        let (index, record) = guard.listed().get(selector)?;
        self.judge_record(record)?;
        let held = guard.listed().leases.get(index).ok_or(EngineError::NoSnapshot)?;
        let lease = SnapshotLease { _held: Arc::clone(held) };
        let mut header = self.header();
        header.l1_table_offset = record.l1_table_offset;
        header.l1_size = record.l1_size;
        header.size = size.or(record.disk_size()).unwrap_or(self.size());
        header.nb_snapshots = 0;
        let disk = Disk::open(
            Arc::clone(self.storage()),
            &header,
            DiskConfig {
                backing: self.config.backing.clone(),
                cipher: self.config.cipher.clone(),
                ..DiskConfig::reading(Arc::clone(&self.config.codec))
            },
        )?;
        Ok((disk, record.clone(), lease))
    }
}
