//! The list of an open disk's snapshots, and who is reading them.

use std::sync::{Arc, Mutex, MutexGuard};

use holstein_format::SnapshotRecord;
use holstein_guard::Region;
use holstein_mapping::L1Layout;
use holstein_snapshot::{SnapshotSelector, SnapshotTable};
use holstein_units::HostOffset;

use crate::EngineError;
use crate::disk::Disk;

/// The list, read when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct SnapshotList(Mutex<Option<Listed>>);

/// The list in memory.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Where the table is; meaningless without records.
    pub(super) at: HostOffset,
    pub(super) table: SnapshotTable,
    /// One for each record; held by those who read that snapshot.
    pub(super) leases: Vec<Arc<()>>,
}

/// The list while nobody else looks at it.
pub(super) struct ListGuard<'a>(MutexGuard<'a, Option<Listed>>);

impl ListGuard<'_> {
    pub(super) fn listed(&self) -> &Listed {
        self.0.as_ref().expect("the list was read when the guard was made")
    }

    /// The file has this list from now on.
    pub(super) fn replace(&mut self, list: Listed) {
        *self.0 = Some(list);
    }
}

impl Listed {
    /// The place of the record that is meant, and the record.
    pub(super) fn get(
        &self,
        selector: SnapshotSelector<'_>,
    ) -> Result<(usize, &SnapshotRecord), EngineError> {
        let index = self.table.position(selector).ok_or(EngineError::NoSnapshot)?;
        let record = self.table.records().get(index).ok_or(EngineError::NoSnapshot)?;
        Ok((index, record))
    }
}

/// Where a snapshot's L1 table is.
pub(super) fn layout_of(record: &SnapshotRecord) -> L1Layout {
    L1Layout { at: record.l1_table_offset, entries: u64::from(record.l1_size) }
}

impl Disk {
    /// The snapshots in the order of their table.
    ///
    /// # Concurrency
    /// Waits while a snapshot is created, applied or deleted.
    ///
    /// # Errors
    /// [`EngineError::Snapshot`] if the table is broken.
    pub fn snapshots(&self) -> Result<Vec<SnapshotRecord>, EngineError> {
        let list = self.snapshot_list()?;
        Ok(list.listed().table.records().to_vec())
    }

    /// The list, read if it was not yet.
    pub(super) fn snapshot_list(&self) -> Result<ListGuard<'_>, EngineError> {
        let mut list = self.snapshots.0.lock().expect("no snapshot operation panics");
        if list.is_none() {
            let (at, count) = self.snapshot_table();
            let table = SnapshotTable::read_from(&**self.storage(), at, count)?;
            let leases = table.records().iter().map(|_| Arc::default()).collect();
            *list = Some(Listed { at, table, leases });
        }
        Ok(ListGuard(list))
    }

    /// Refuses to change snapshots where the format has none.
    pub(super) fn allow_snapshots(&self) -> Result<(), EngineError> {
        if self.has_data_file() { Err(EngineError::SnapshotDataFile) } else { Ok(()) }
    }

    /// Tells the door where the tables of snapshots are. Called once before the first write.
    pub(crate) fn protect_snapshots(&self) -> Result<(), EngineError> {
        let guard = self.snapshot_list()?;
        let list = guard.listed();
        self.protect_list(list);
        for record in list.table.records() {
            match self.judge_record(record) {
                Ok(()) => self.protect_snapshot(record, true)?,
                // Writes could not be tested against L2 tables that cannot be found.
                Err(error) if self.protects_snapshot_l2() => return Err(error),
                // What a broken record names is found when it is used; other images than this
                // program's own may have some.
                Err(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn protect_list(&self, list: &Listed) {
        if !list.table.records().is_empty() {
            self.protect(Region::SnapshotTable, list.at, list.table.bytes());
        }
    }

    /// Notes the tables of one snapshot; the L2 tables only where they are tested, as that reads the
    /// whole L1 table.
    pub(super) fn protect_snapshot(
        &self,
        record: &SnapshotRecord,
        strict: bool,
    ) -> Result<(), EngineError> {
        self.protect(Region::InactiveL1, record.l1_table_offset, u64::from(record.l1_size) * 8);
        if self.protects_snapshot_l2() {
            match self.mapping.read_tree(layout_of(record)) {
                Ok(tree) => self.mapping.note_snapshot_tables(&tree, true),
                Err(error) if strict => return Err(error.into()),
                Err(_) => {}
            }
        }
        Ok(())
    }
}
