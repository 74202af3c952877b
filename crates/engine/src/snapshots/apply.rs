//! The disk becomes what a snapshot holds.

use std::sync::atomic::Ordering;

use holstein_bitmap::BitmapError;
use holstein_cache::RunGuard;
use holstein_format::limits::MAX_L1_ENTRIES;
use holstein_format::{SnapshotRecord, Version};
use holstein_guard::Region;
use holstein_guard::planted::{Bug, is_planted};
use holstein_mapping::L1Layout;
use holstein_refcount::Adjust;
use holstein_snapshot::SnapshotSelector;
use holstein_units::SECTOR;

use super::list::layout_of;
use super::steps::Steps;
use super::trees::Bundle;
use crate::disk::Disk;
use crate::{EngineError, Progress};

impl Disk {
    /// Makes the disk what it was when a snapshot was taken, its size included. The snapshot stays, and
    /// its VM state can be read from the disk.
    ///
    /// When it returns that is durable. In time proportional to the tables in which both differ.
    ///
    /// # Concurrency
    /// Waits for the requests in flight; others wait meanwhile.
    ///
    /// # Errors
    /// [`EngineError::NoSnapshot`]; [`EngineError::Bitmap`] while there are bitmaps;
    /// [`EngineError::SnapshotRecord`]; [`EngineError::SnapshotSize`] for
    /// a size that the disk cannot get; an overflow of a refcount; corruption; I/O. Nothing is changed
    /// then, unless the failure came while the old tables were being given up: that leaves leaks.
    pub fn apply_snapshot(
        &self,
        selector: SnapshotSelector<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(), EngineError> {
        self.guarded(|| self.apply(selector, Steps::new(progress)))
    }

    fn apply(
        &self,
        selector: SnapshotSelector<'_>,
        mut steps: Steps<'_>,
    ) -> Result<(), EngineError> {
        self.allow_snapshots()?;
        let _alone = self.restructure();
        // What differs between the two is not known by place, so no bitmap could follow.
        if self.has_bitmaps() {
            return Err(BitmapError::Present.into());
        }
        let guard = self.snapshot_list()?;
        let (_, record) = guard.listed().get(selector)?;
        self.judge_record(record)?;
        let still = self.stand_still();
        let size = self.size_of(record)?;
        let old = self.mapping.active_tree();
        let mut tree = self.mapping.read_tree(layout_of(record))?;
        tree.extend_to(old.entries().max(self.geometry.l1_entries_for(size)));
        let (gained, lost) = (tree.differing(&old), old.differing(&tree));
        let old_l1 = self.mapping.l1_layout();
        let mut up = Bundle::new(&gained);
        let mut down = Bundle::new(&lost).with(
            self.geometry.host_cluster(old_l1.at),
            self.geometry.clusters_for(old_l1.entries * 8),
        );
        steps.expect(2 * gained.table_count() + lost.table_count() + 1);
        {
            let _run = still.settled()?;
            self.judge(&mut up, Adjust::Raise, &mut steps)?;
            self.judge(&mut down, Adjust::Lower, &mut steps)?;
        }
        let mut place = self.set_aside(tree.entries() * 8)?;
        let layout = L1Layout { at: place.at(), entries: tree.entries() };

        let run = still.settled()?;
        self.write_table(&run, Region::ActiveL1, place.at(), tree.to_shared_bytes())?;
        let early = is_planted(Bug::ApplyBeforeCounts);
        if early {
            run.file().barrier()?;
            self.switch_l1(&run, layout, size)?;
        }
        self.raise(&run, &up, &mut steps)?;
        // Tables that only this snapshot had may say otherwise.
        let step = &mut |tables| steps.step(tables);
        let switched = self
            .mapping
            .clear_copied_below(&run, &gained, Region::InactiveL2, step)
            .map_err(EngineError::from)
            .and_then(|()| Ok(run.file().barrier()?))
            .and_then(|()| if early { Ok(()) } else { self.switch_l1(&run, layout, size) });
        if let Err(error) = switched {
            // Counts that stay too high are leaks; the error is what matters.
            let _ = self.lower(&run, &up, &mut steps, &mut |_| Ok(()));
            return Err(error);
        }
        place.keep();
        self.mapping.switch_tree(layout, &tree);
        self.size.store(size, Ordering::Release);
        self.lower(&run, &down, &mut steps, &mut |_| Ok(()))?;
        run.file().barrier()?;
        steps.finish();
        Ok(())
    }

    /// The size that the disk gets with a snapshot.
    fn size_of(&self, record: &SnapshotRecord) -> Result<u64, EngineError> {
        let now = self.size();
        let size = record.disk_size().unwrap_or(now);
        let refuse = |why| Err(EngineError::SnapshotSize { size, why });
        if size == now {
            return Ok(size);
        }
        if self.version == Version::V2 {
            // Other snapshots need not say which size they have.
            return refuse("a version 2 image with snapshots keeps its size");
        }
        if !size.is_multiple_of(SECTOR) || size > i64::MAX.unsigned_abs() {
            return refuse("no disk has that size");
        }
        if self.geometry.l1_entries_for(size) > MAX_L1_ENTRIES {
            return refuse("its L1 table would exceed 32 MiB");
        }
        Ok(size)
    }

    /// Names another L1 table and size in the header, in one write, and makes that durable.
    fn switch_l1(
        &self,
        run: &RunGuard<'_>,
        layout: L1Layout,
        size: u64,
    ) -> Result<(), EngineError> {
        let entries = u32::try_from(layout.entries).expect("at most 2^22 entries");
        self.update_header_in(run, |header| {
            header.size = size;
            header.l1_size = entries;
            header.l1_table_offset = layout.at;
        })
    }
}
