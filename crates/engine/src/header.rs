//! The header of an open disk and the one way to change it.
//!
//! ```text
//!   full run -> barrier -> bytes that the old header does not reach -> barrier -> sector 0 -> barrier
//! ```
//!
//! What the new header relies on is durable before it; what only the old one relied on is given up by
//! the caller afterwards.

use std::sync::{MutexGuard, PoisonError};

use holstein_cache::{Quiet, RunGuard};
use holstein_format::{AutoclearFeatures, Header, IncompatibleFeatures, Version};
use holstein_guard::planted::{Bug, is_planted};
use holstein_guard::{Intent, Region};
use holstein_units::{Geometry, HostOffset};

use crate::EngineError;
use crate::disk::Disk;

/// Writes to the header say so.
const HEADER: Intent = Intent::Metadata(Region::MainHeader);

impl Disk {
    /// The header, with the tables where they are now and the size of now.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = self.read_header().clone();
        let l1 = self.mapping.l1_layout();
        header.size = self.size();
        header.l1_table_offset = l1.at;
        header.l1_size = u32::try_from(l1.entries).expect("at most 2^22 entries");
        let refcounts = self.refcounts.layout();
        header.refcount_table_offset = refcounts.table;
        header.refcount_table_clusters = refcounts.table_clusters;
        header
    }

    /// Where the table of snapshots is, and how many records it has.
    pub(crate) fn snapshot_table(&self) -> (HostOffset, u32) {
        let header = self.read_header();
        (header.snapshots_offset, header.nb_snapshots)
    }

    /// How the image divides addresses.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn read_header(&self) -> std::sync::RwLockReadGuard<'_, Header> {
        self.header.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The header as it was last written, where the tables may have moved since.
    pub(crate) fn kept_header(&self) -> Header {
        self.read_header().clone()
    }

    fn keep_header(&self, header: Header) {
        *self.header.write().unwrap_or_else(PoisonError::into_inner) = header;
    }

    /// Changes the header: everything that was written before is made durable, then the file has the
    /// old header or the new one at any moment.
    ///
    /// `change` gets the present header. All that it leaves alone is kept, unknown fields and extensions
    /// included. What a change of version, width or tables means for the open disk is the caller's to
    /// follow; the size is taken over.
    ///
    /// # Errors
    /// [`EngineError::ReadOnly`]; [`EngineError::MarkedCorrupt`]; [`EngineError::Stale`];
    /// [`EngineError::Header`] for what does not fit the first cluster, with nothing written;
    /// [`EngineError::Guard`]: the old header holds then, unless only the tidying behind the change
    /// failed, as [`Disk::header`] tells.
    ///
    /// # Spec
    /// "Rewriting the header"; rule C9.
    pub fn update_header(&self, change: impl FnOnce(&mut Header)) -> Result<(), EngineError> {
        self.check_writable()?;
        let run = self.sequencer.lock();
        self.update_header_in(&run, change)
    }

    /// As [`Self::update_header`], for a caller that holds the run lock.
    pub(crate) fn update_header_in(
        &self,
        run: &RunGuard<'_>,
        change: impl FnOnce(&mut Header),
    ) -> Result<(), EngineError> {
        let old = self.header();
        let mut new = old.clone();
        change(&mut new);
        let file = run.file();
        let mut present = vec![0; crate::read::usize_of(self.geometry.cluster_size())];
        file.read_image(HostOffset::new(0), &mut present)?;
        let steps = new.plan_change(&present)?;
        if !is_planted(Bug::HeaderBeforeRun) {
            run.flush()?;
        }
        for step in steps {
            file.replace(HEADER, step.at, &step.old, &step.new)?;
            file.barrier()?;
            if step.switches {
                self.adopt(&new);
            }
        }
        self.adopt(&new);
        Ok(())
    }

    /// Writes the size alone; all that it relies on is durable.
    pub(crate) fn switch_size(&self, run: &RunGuard<'_>, size: u64) -> Result<(), EngineError> {
        let mut header = self.header();
        let (at, old) = header.encode_size();
        header.size = size;
        run.file().replace(HEADER, at, &old, &header.encode_size().1)?;
        run.file().barrier()?;
        self.adopt(&header);
        Ok(())
    }

    fn adopt(&self, header: &Header) {
        self.size.store(header.size, std::sync::atomic::Ordering::Release);
        self.keep_header(header.clone());
    }

    /// Clears the autoclear bits that nothing here keeps true. Called before the first change.
    ///
    /// # Errors
    /// [`EngineError::Guard`].
    ///
    /// # Spec
    /// "Autoclear".
    pub fn clear_unknown_autoclear(&self) -> Result<(), EngineError> {
        let mut header = self.read_header().clone();
        let unknown = header.autoclear.unknown();
        if unknown == 0 {
            return Ok(());
        }
        header.autoclear.remove(AutoclearFeatures::new(unknown));
        let (at, bytes) = header.encode_autoclear()?;
        let run = self.sequencer.lock();
        run.file().write(HEADER, at, &bytes)?;
        run.file().barrier()?;
        self.keep_header(header);
        Ok(())
    }

    /// Sets incompatible bits in the file with one write, and in memory whether or not that works.
    pub(crate) fn mark(&self, bits: IncompatibleFeatures) -> Result<(), EngineError> {
        let run = self.sequencer.lock();
        let mut header = self.read_header().clone();
        header.incompatible.insert(bits);
        self.keep_header(header.clone());
        let (at, bytes) = header.encode_incompatible()?;
        run.file().write(HEADER, at, &bytes)?;
        Ok(run.file().barrier()?)
    }

    /// Clears incompatible bits in the file with one write.
    pub(crate) fn unmark(&self, bits: IncompatibleFeatures) -> Result<(), EngineError> {
        let run = self.sequencer.lock();
        let mut header = self.read_header().clone();
        header.incompatible.remove(bits);
        let (at, bytes) = header.encode_incompatible()?;
        run.file().write(HEADER, at, &bytes)?;
        run.file().barrier()?;
        self.keep_header(header);
        Ok(())
    }

    /// Sets the corrupt bit, once, as well as that is possible; from now on writes are refused.
    pub(crate) fn mark_corrupt(&self) {
        if self.corrupt.swap(true, std::sync::atomic::Ordering::AcqRel)
            || self.version == Version::V2
        {
            return;
        }
        // The request already failed with the reason; that the mark did not stick changes nothing
        // for the caller.
        let _ = self.mark(IncompatibleFeatures::CORRUPT);
    }

    /// Holds off every other operation that changes the structure of the image: resize, snapshots,
    /// amend. Requests go on.
    ///
    /// The first lock of all. Not taken by those who hold a pin.
    pub(crate) fn restructure(&self) -> MutexGuard<'_, ()> {
        self.structure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no request is in flight, and holds off new ones until the answer is dropped.
    ///
    /// The holder makes no request through the disk: it would wait for itself. Mapping, refcounts and
    /// runs may be used.
    pub(crate) fn quiet(&self) -> Quiet<'_> {
        self.sequencer.pins().close_admission()
    }
}
