//! A snapshot is taken.

use std::sync::Arc;

use holstein_cache::RunGuard;
use holstein_format::SnapshotRecord;
use holstein_guard::Region;
use holstein_guard::planted::{Bug, is_planted};
use holstein_mapping::Tree;
use holstein_refcount::Adjust;
use holstein_snapshot::NewSnapshot;

use super::list::Listed;
use super::steps::Steps;
use super::trees::Bundle;
use crate::disk::Disk;
use crate::{EngineError, Progress};

impl Disk {
    /// Takes a snapshot of the disk as it is now, everything acknowledged included, and returns its
    /// record. VM state that was written before goes to the snapshot and leaves the disk.
    ///
    /// When it returns the snapshot is durable. In time proportional to the tables.
    ///
    /// # Concurrency
    /// Waits for the requests in flight; others wait meanwhile.
    ///
    /// # Errors
    /// [`EngineError::Snapshot`] if there is no room in the list; an overflow of a refcount, before
    /// anything is written; corruption; I/O. The snapshot is not listed then, unless the failure came
    /// after it was, when VM state was being taken from the disk.
    ///
    /// # Spec
    /// "Snapshots", "Operations".
    pub fn create_snapshot(
        &self,
        new: &NewSnapshot,
        progress: &mut dyn Progress,
    ) -> Result<SnapshotRecord, EngineError> {
        self.guarded(|| self.create(new, Steps::new(progress)))
    }

    fn create(
        &self,
        new: &NewSnapshot,
        mut steps: Steps<'_>,
    ) -> Result<SnapshotRecord, EngineError> {
        self.allow_snapshots()?;
        let _alone = self.restructure();
        let mut guard = self.snapshot_list()?;
        let old = guard.listed();
        let still = self.stand_still();
        let size = self.size();
        let tree = self.mapping.active_tree();
        let entries = u32::try_from(tree.entries()).expect("at most 2^22 entries");
        let mut record = new.record(&old.table, size, entries)?;
        let mut table = old.table.clone();
        table.push(record.clone())?;
        table.complete(size);
        let list_bytes = table.encode()?.len() as u64;
        steps.expect(2 * tree.table_count() + 1);

        let mut shared = Bundle::new(&tree);
        {
            let _run = still.settled()?;
            self.judge(&mut shared, Adjust::Raise, &mut steps)?;
        }
        let mut l1 = self.set_aside(u64::from(entries) * 8)?;
        let mut place = self.set_aside(list_bytes)?;
        record.l1_table_offset = l1.at();
        table.remove(old.table.records().len());
        table.push(record.clone())?;
        let bytes = table.encode()?;

        let run = still.settled()?;
        self.write_table(&run, Region::InactiveL1, l1.at(), tree.to_shared_bytes())?;
        self.write_table(&run, Region::SnapshotTable, place.at(), bytes)?;
        let early = is_planted(Bug::SnapshotBeforeCounts);
        if early {
            self.switch_list(&run, place.at(), &table)?;
        }
        self.raise(&run, &shared, &mut steps)?;
        let linked = self
            .share(&run, &tree, &mut steps)
            .and_then(|()| if early { Ok(()) } else { self.switch_list(&run, place.at(), &table) });
        if let Err(error) = linked {
            // Back to how it was, as well as that is possible: the error is what matters.
            let _ = self.let_go(&run, &shared, &mut steps);
            return Err(error);
        }
        l1.keep();
        place.keep();
        self.drop_list(old);
        let mut leases = old.leases.clone();
        leases.push(Arc::default());
        let list = Listed { at: place.at(), table, leases };
        self.protect_list(&list);
        guard.replace(list);
        self.protect_snapshot(&record, false)?;
        if new.vm_state_size > 0 {
            self.drop_vm_state(&run, &tree, &mut steps)?;
        }
        steps.finish();
        Ok(record)
    }

    /// Makes the raised counts durable, then takes COPIED off all that the disk has.
    fn share(
        &self,
        run: &RunGuard<'_>,
        tree: &Tree,
        steps: &mut Steps<'_>,
    ) -> Result<(), EngineError> {
        run.file().barrier()?;
        if !is_planted(Bug::CopiedLeftSet) {
            self.mapping.clear_copied_below(run, tree, Region::ActiveL2, &mut |n| steps.step(n))?;
            self.mapping.clear_copied_in_l1(run)?;
        }
        Ok(run.file().barrier()?)
    }

    /// Takes the VM state, which the snapshot has now, from the disk.
    fn drop_vm_state(
        &self,
        run: &RunGuard<'_>,
        tree: &Tree,
        steps: &mut Steps<'_>,
    ) -> Result<(), EngineError> {
        let first = self.geometry.l1_entries_for(self.size());
        let state = tree.from_entry(first);
        self.mapping.clear_l1_from(run, first)?;
        run.file().barrier()?;
        self.lower(run, &Bundle::new(&state), steps, &mut |_| Ok(()))?;
        Ok(run.file().barrier()?)
    }
}
