//! Lazy refcounts: counts that follow later, under the dirty bit.
//!
//! ```text
//!   first flush with counts to write:  dirty bit -> barrier
//!   every flush:                       payload -> barrier -> L2 tables, L1 entries -> barrier
//!   close:                             full run -> barrier -> dirty bit cleared -> barrier
//! ```
//!
//! While the bit is clear in the file all runs are whole, so no count is behind unless the file says
//! so. Runs for other reasons than a flush of the guest are whole as well.

use std::sync::atomic::{AtomicBool, Ordering};

use holstein_format::{IncompatibleFeatures, Version};
use holstein_guard::planted::{Bug, is_planted};
use holstein_mapping::Fetch;

use crate::EngineError;
use crate::disk::Disk;

/// Whether counts may follow later, and whether the file says that they do.
#[derive(Debug, Default)]
pub(crate) struct Lazy {
    wanted: AtomicBool,
    dirty: AtomicBool,
}

impl Disk {
    /// Says whether counts may follow later: the default is that they do not. Switching it off makes
    /// all counts durable.
    ///
    /// # Errors
    /// [`EngineError::LazyVersion`] for an image of version 2, which cannot say that it is dirty;
    /// [`EngineError::Guard`].
    ///
    /// # Spec
    /// "Dirty bit and lazy refcounts".
    pub fn set_lazy_refcounts(&self, on: bool) -> Result<(), EngineError> {
        if on && self.version == Version::V2 {
            return Err(EngineError::LazyVersion);
        }
        self.lazy.wanted.store(on, Ordering::Release);
        if on || !self.lazy.dirty.load(Ordering::Acquire) {
            return Ok(());
        }
        let _alone = self.restructure();
        let _quiet = self.quiet();
        let run = self.sequencer.lock();
        self.drain(&run)?;
        drop(run);
        self.mark_clean()
    }

    /// A flush of the guest: counts stay behind if they may, once the file says so.
    pub(crate) fn flush_lazily(&self) -> Result<(), EngineError> {
        if !self.lazy.wanted.load(Ordering::Acquire) {
            return Ok(self.sequencer.flush()?);
        }
        if !self.lazy.dirty.load(Ordering::Acquire) {
            if !self.refcounts.is_dirty() {
                return Ok(self.sequencer.flush()?);
            }
            // Two that come here at once set the same bit.
            if !is_planted(Bug::CountsBehindUnmarked) {
                self.mark(IncompatibleFeatures::DIRTY)?;
            }
            self.lazy.dirty.store(true, Ordering::Release);
        }
        Ok(self.sequencer.flush_links()?)
    }

    /// Does what a change wants. A new L2 table is counted in the file before anything is entered in
    /// it, lazy or not, so that a crash loses counts of data alone.
    pub(crate) fn fetch(&self, wanted: Fetch) -> Result<(), EngineError> {
        let is_table = matches!(wanted, Fetch::NewTable { .. });
        self.mapping.fetch(wanted)?;
        if is_table && self.lazy.wanted.load(Ordering::Acquire) {
            self.sequencer.flush()?;
        }
        Ok(())
    }

    /// Clears the dirty bit; all counts are in the file.
    pub(crate) fn mark_clean(&self) -> Result<(), EngineError> {
        if self.lazy.dirty.swap(false, Ordering::AcqRel) {
            self.unmark(IncompatibleFeatures::DIRTY)?;
        }
        Ok(())
    }
}
