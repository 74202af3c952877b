//! The header's view of the list: the point at which a snapshot exists or is gone.

use holstein_cache::RunGuard;
use holstein_guard::{GuardError, Intent, Region};
use holstein_snapshot::SnapshotTable;
use holstein_units::{HostOffset, HostRange};

use super::list::Listed;
use crate::EngineError;
use crate::disk::Disk;

impl Disk {
    /// Writes a whole table to clusters that nothing names yet, padded with zeros to their end.
    pub(super) fn write_table(
        &self,
        run: &RunGuard<'_>,
        region: Region,
        at: HostOffset,
        mut bytes: Vec<u8>,
    ) -> Result<(), GuardError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let whole = self.geometry.clusters_for(bytes.len() as u64) * self.geometry.cluster_size();
        bytes.resize(usize::try_from(whole).expect("tables are at most 64 MiB"), 0);
        let range = HostRange { start: at, len: whole };
        run.file().clear(Intent::Metadata(region), range)?.write(&bytes)
    }

    /// Names another list in the header, in one write, and makes that durable.
    pub(super) fn switch_list(
        &self,
        run: &RunGuard<'_>,
        at: HostOffset,
        table: &SnapshotTable,
    ) -> Result<(), EngineError> {
        let count = u32::try_from(table.records().len()).expect("at most 65536 records");
        self.update_header_in(run, |header| {
            header.snapshots_offset = at;
            header.nb_snapshots = count;
        })
    }

    /// Forgets where the old list was, and gives its clusters back.
    pub(super) fn drop_list(&self, old: &Listed) {
        if old.table.records().is_empty() {
            return;
        }
        self.drop_table(Region::SnapshotTable, old.at, old.table.bytes());
    }
}
