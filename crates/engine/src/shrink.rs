//! A smaller disk.
//!
//! ```text
//!   size -> barrier -> entries past the end, the tail of the last cluster -> flush -> counts -> cut the file
//! ```
//!
//! The size goes first: from then on nothing relies on what lies past the end, and what a crash leaves
//! there is leaked at worst. QEMU clears the entries first, and a crash leaves the old size over a disk
//! that has lost its end.

use std::sync::atomic::Ordering;

use holstein_guard::planted::{Bug, is_planted};
use holstein_mapping::{Change, MapError};
use holstein_units::{GuestOffset, GuestRange, SECTOR};

use crate::EngineError;
use crate::disk::Disk;

/// Bytes of clusters in quarantine that are enough for a run of their own.
const RELEASED_LIMIT: u64 = 4 << 30;

impl Disk {
    /// Cuts the disk to `size` bytes, a multiple of 512. What lay past it is gone for good: no later
    /// growth shows it again.
    ///
    /// # Concurrency
    /// Waits for the requests in flight; others wait while the size changes.
    ///
    /// # Errors
    /// [`EngineError::Resize`] for a size that is not a multiple of 512 or larger than the present one,
    /// and for a version 2 image with snapshots; [`EngineError::Bitmap`] for a bitmap that is
    /// inconsistent; I/O. If the size was changed before an error, as
    /// [`Disk::size`] tells, the space past it may stay in use.
    ///
    /// # Spec
    /// "Resize"; rule C9.
    pub fn shrink(&self, size: u64) -> Result<(), EngineError> {
        let _alone = self.restructure();
        let old = self.size();
        if size > old {
            return Err(EngineError::Resize {
                size,
                why: "the size is larger than the present one",
            });
        }
        self.check_new_size(size)?;
        if size == old {
            return Ok(());
        }
        self.check_bitmaps(size)?;
        self.guarded(|| {
            if is_planted(Bug::SizeAfterEntries) {
                self.clear_past(size)?;
                self.sequencer.flush()?;
            }
            {
                let _quiet = self.quiet();
                let run = self.sequencer.lock();
                run.flush()?;
                let switched = self.switch_size(&run, size);
                self.uncut.fetch_or(self.size() == size, Ordering::AcqRel);
                switched?;
                self.resize_bitmaps(size);
            }
            self.clear_past(size)?;
            self.cut_file()
        })
    }

    /// What every new size must be.
    pub(crate) fn check_new_size(&self, size: u64) -> Result<(), EngineError> {
        let refuse = |why| Err(EngineError::Resize { size, why });
        if !size.is_multiple_of(SECTOR) {
            return refuse("the size is not a multiple of 512");
        }
        if self.version == holstein_format::Version::V2 && self.header().nb_snapshots > 0 {
            return refuse("a version 2 image with snapshots cannot be resized");
        }
        Ok(())
    }

    /// Gives up all that is mapped past `size`, and clears the rest of the last cluster.
    fn clear_past(&self, size: u64) -> Result<(), EngineError> {
        let cluster = self.geometry.cluster_size();
        let span = self.geometry.bytes_per_l2();
        let end = size.div_ceil(cluster) * cluster;
        let first_table = size.div_ceil(span);
        let shared_end = first_table * span;
        if end < shared_end && self.mapping.next_table(first_table - 1) == Some(first_table - 1) {
            let range = GuestRange { start: GuestOffset::new(end), len: shared_end - end };
            self.change_clusters(range, Change::Release)?;
        }
        self.release_tables(first_table..u64::MAX)?;
        if self.has_data_file() {
            // Its bytes are those of the disk, and it ends where the disk does.
            self.file.set_data_len(size)?;
            self.uncut.store(false, Ordering::Release);
        } else if size < end {
            self.hide(GuestRange { start: GuestOffset::new(size), len: end - size }, 0)?;
        }
        Ok(())
    }

    /// Gives up the L2 tables of a range of the L1 table, which no request reaches, with all that they
    /// map.
    pub(crate) fn release_tables(&self, tables: std::ops::Range<u64>) -> Result<(), EngineError> {
        let cluster = self.geometry.cluster_size();
        let mut index = tables.start;
        while let Some(next) = self.mapping.next_table(index).filter(|next| *next < tables.end) {
            self.mapping.release_table(next)?;
            if self.refcounts.quarantined() * cluster > RELEASED_LIMIT {
                self.sequencer.flush()?;
            }
            index = next + 1;
        }
        Ok(())
    }

    /// Frees what was given up, and ends the file behind the last cluster in use.
    pub(crate) fn cut_file(&self) -> Result<(), EngineError> {
        let _quiet = self.quiet();
        let run = self.sequencer.lock();
        self.drain(&run)?;
        if !self.file.storage().capabilities().resizable {
            return Ok(());
        }
        let end = self.refcounts.used_end().map_err(MapError::from)?;
        let end = self.geometry.host_offset(end).get();
        self.data_end.fetch_min(end, Ordering::AcqRel);
        if end < self.file.len()? {
            self.file.set_len(end)?;
            self.file.barrier()?;
        }
        Ok(())
    }
}
