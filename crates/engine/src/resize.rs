//! A larger disk.
//!
//! ```text
//!   hide what the new range would show -> larger L1 table -> preallocation -> flush -> size
//! ```
//!
//! The size in the header is the last step: a crash leaves the old size or the new one.

use holstein_format::Version;
use holstein_mapping::{Change, ExtentKind};
use holstein_units::{GuestOffset, GuestRange};

use crate::disk::Disk;
use crate::{EngineError, Preallocation, Progress};

impl Disk {
    /// Grows the disk to `size` bytes, a multiple of 512; the new range reads as zeros, but over a raw
    /// external data file that is longer than the disk it reads as that file does.
    ///
    /// * `progress`: bytes of the new range that are prepared, if any have to be.
    ///
    /// # Concurrency
    /// Waits for the requests in flight when the tables move; others wait meanwhile.
    ///
    /// # Errors
    /// [`EngineError::Resize`] for a size that is not a multiple of 512, smaller than the present
    /// one, or beyond the L1 limit, and for a version 2 image with snapshots; [`EngineError::Bitmap`] for
    /// a bitmap that is inconsistent or would be too large; I/O.
    ///
    /// # Spec
    /// "Resize".
    pub fn resize(
        &self,
        size: u64,
        preallocation: Preallocation,
        progress: &mut dyn Progress,
    ) -> Result<(), EngineError> {
        let _alone = self.restructure();
        let old = self.size();
        let refuse = |why| Err(EngineError::Resize { size, why });
        self.check_new_size(size)?;
        if size < old {
            return refuse("the size is smaller than the present one");
        }
        if size == old {
            return Ok(());
        }
        if size > i64::MAX.unsigned_abs() {
            return refuse("the size exceeds 2^63 - 1 bytes");
        }
        self.check_bitmaps(size)?;
        self.guarded(|| self.grow(old, size, preallocation, progress))
    }

    fn grow(
        &self,
        old: u64,
        size: u64,
        preallocation: Preallocation,
        progress: &mut dyn Progress,
    ) -> Result<(), EngineError> {
        let grown = GuestRange { start: GuestOffset::new(old), len: size - old };
        let entries = self.geometry.l1_entries_for(size);
        let shown = self.shows_data_file();
        let exposed = self.config.backing.as_ref().map_or(0, |b| b.len()).min(size);
        if exposed > old && self.version == Version::V2 {
            let why = "a version 2 image cannot hide the longer backing file";
            return Err(EngineError::Resize { size, why });
        }
        {
            let quiet = self.quiet();
            self.mapping.grow_l1(entries)?;
            drop(quiet);
        }
        self.grow_data_file(old, size)?;
        let preallocation = match preallocation {
            // Read without the tables it must read alike, whoever writes to it.
            Preallocation::Off if self.is_data_file_raw() => Preallocation::Metadata,
            other => other,
        };
        if !shown {
            self.hide(grown, exposed)?;
        }
        let cluster = self.geometry.cluster_size();
        let start = GuestOffset::new(old / cluster * cluster);
        let range = GuestRange { start, len: size - start.get() };
        self.preallocate(range, preallocation, progress)?;
        if !shown {
            // Whole clusters were written.
            self.file.set_data_len(size)?;
        }
        let run = self.sequencer.lock();
        run.flush()?;
        // Before the size: who writes to the new range finds bits for it.
        self.resize_bitmaps(size);
        self.switch_size(&run, size).inspect_err(|_| self.resize_bitmaps(old))
    }

    /// Makes a range past the end of the disk read as zeros: old bytes in the tail of the last
    /// cluster, entries left behind by an earlier shrink, and a longer backing file.
    pub(crate) fn hide(&self, range: GuestRange, exposed: u64) -> Result<(), EngineError> {
        let mut left = range;
        while !left.is_empty() {
            let extent = self.map_extent(left)?;
            let (now, rest) = left.split_at(extent.len);
            match extent.kind {
                ExtentKind::Zero { .. } => {}
                ExtentKind::Unallocated { .. } => {
                    let shown = exposed.saturating_sub(now.start.get()).min(now.len);
                    self.zero_range(now.split_at(shown).0, Change::Zero { unmap: true })?;
                }
                ExtentKind::Data { .. } | ExtentKind::Compressed { .. } => {
                    self.zero_range(now, Change::Zero { unmap: true })?;
                }
            }
            left = rest;
        }
        Ok(())
    }
}
