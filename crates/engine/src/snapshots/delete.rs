//! A snapshot is deleted.

use std::sync::Arc;

use holstein_format::SnapshotRecord;
use holstein_guard::Region;
use holstein_guard::planted::{Bug, is_planted};
use holstein_mapping::Tree;
use holstein_refcount::Adjust;
use holstein_snapshot::SnapshotSelector;

use super::list::{ListGuard, Listed, layout_of};
use super::steps::Steps;
use super::trees::Bundle;
use crate::disk::Disk;
use crate::{EngineError, Progress};

impl Disk {
    /// Deletes a snapshot; what only it held becomes free.
    ///
    /// When it returns that is durable. In time proportional to the tables.
    ///
    /// # Concurrency
    /// Waits for the requests in flight; others wait meanwhile.
    ///
    /// # Errors
    /// [`EngineError::NoSnapshot`]; [`EngineError::SnapshotBusy`] while somebody reads it;
    /// [`EngineError::SnapshotRecord`] and corruption, before anything is written; I/O. Once the
    /// snapshot is not listed any more, a failure leaves leaks.
    pub fn delete_snapshot(
        &self,
        selector: SnapshotSelector<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(), EngineError> {
        self.guarded(|| self.delete(selector, Steps::new(progress)))
    }

    fn delete(
        &self,
        selector: SnapshotSelector<'_>,
        mut steps: Steps<'_>,
    ) -> Result<(), EngineError> {
        let _alone = self.restructure();
        let mut guard = self.snapshot_list()?;
        let old = guard.listed();
        let (index, record) = old.get(selector)?;
        self.allow_snapshots()?;
        if old.leases.get(index).is_some_and(|lease| Arc::strong_count(lease) > 1) {
            return Err(EngineError::SnapshotBusy);
        }
        let record = record.clone();
        self.judge_record(&record)?;
        let still = self.stand_still();
        let mut table = old.table.clone();
        table.remove(index);
        table.complete(self.size());
        let bytes = table.encode()?;

        let tree = self.mapping.read_tree(layout_of(&record))?;
        let l1_clusters = self.geometry.clusters_for(u64::from(record.l1_size) * 8);
        let l1_first = self.geometry.host_cluster(record.l1_table_offset);
        let mut held = Bundle::new(&tree).with(l1_first, l1_clusters);
        steps.expect(2 * tree.table_count() + 1);
        {
            let _run = still.settled()?;
            self.judge(&mut held, Adjust::Lower, &mut steps)?;
        }
        let mut place = self.set_aside(bytes.len() as u64)?;
        let run = still.settled()?;
        self.write_table(&run, Region::SnapshotTable, place.at(), bytes)?;
        if is_planted(Bug::CountsBeforeDelete) {
            self.let_go(&run, &held, &mut steps)?;
        }
        run.file().barrier()?;
        self.switch_list(&run, place.at(), &table)?;
        place.keep();
        self.drop_list(old);
        let mut leases = old.leases.clone();
        leases.remove(index);
        let list = Listed { at: place.at(), table, leases };
        self.protect_list(&list);
        guard.replace(list);
        self.unprotect_snapshot(&guard, &record, &tree);
        if !is_planted(Bug::CountsBeforeDelete) {
            self.let_go(&run, &held, &mut steps)?;
        }
        steps.finish();
        Ok(())
    }

    /// Whether a record's L1 table may be read.
    pub(super) fn judge_record(&self, record: &SnapshotRecord) -> Result<(), EngineError> {
        record.validate_l1(self.geometry).map_err(|source| EngineError::SnapshotRecord { source })
    }

    /// The tables of a snapshot are not protected any more, but where another snapshot has them.
    fn unprotect_snapshot(&self, guard: &ListGuard<'_>, record: &SnapshotRecord, tree: &Tree) {
        let first = self.geometry.host_cluster(record.l1_table_offset);
        let count = self.geometry.clusters_for(u64::from(record.l1_size) * 8);
        self.file.regions().remove(Region::InactiveL1, first, count);
        if self.protects_snapshot_l2() {
            self.mapping.note_snapshot_tables(tree, false);
            for other in guard.listed().table.records() {
                if other.validate_l1(self.geometry).is_ok() {
                    // What cannot be read was not protected before.
                    let _ = self.protect_snapshot(other, false);
                }
            }
        }
    }
}
