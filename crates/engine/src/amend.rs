//! Another version, another width of refcounts, lazy refcounts on or off.
//!
//! Each is one change of the header, before which all that the new header relies on is durable. After
//! a change of version or width the open disk is stale: it is opened anew with [`Disk::reopen`], and what
//! the old header alone relied on is given up by the new one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use holstein_cache::RunGuard;
use holstein_codec::Deflate;
use holstein_format::{
    AutoclearFeatures, CompatibleFeatures, CompressionType, Header, IncompatibleFeatures,
    RefcountOrder, Version,
};
use holstein_guard::planted::{Bug, is_planted};
use holstein_mapping::{L1Layout, MapError};
use holstein_refcount::{ClusterAllocator as _, Freed};
use holstein_units::HostCluster;

use crate::disk::Disk;
use crate::{EngineError, Steps};

/// The refusal of version 2 for streams that its readers cannot read.
const ZSTD_STREAMS: &str =
    "Cannot downgrade an image with zstd compression type and existing compressed clusters";

/// Clusters that only the header of before relied on.
#[derive(Debug, Default)]
#[must_use = "the clusters are leaked unless the new disk releases them"]
pub struct Replaced(Vec<(HostCluster, u64)>);

impl Disk {
    /// Makes all that was acknowledged durable, and refuses where no change can follow: what an image
    /// has become is not known after a failed flush.
    ///
    /// # Errors
    /// [`EngineError::ReadOnly`]; [`EngineError::MarkedCorrupt`]; [`EngineError::Stale`]; as for
    /// [`Disk::flush`].
    pub fn settle(&self) -> Result<(), EngineError> {
        self.check_writable()?;
        self.flush()
    }

    /// Makes a version 2 image one of version 3. Stale afterwards.
    ///
    /// Snapshot records that lack what version 3 asks for get it first, in a list of their own: version 2
    /// allows that, so the image is whole at any moment.
    ///
    /// # Errors
    /// As for [`Disk::update_header`]; [`EngineError::Snapshot`] if the list is broken, or has no room for
    /// what is missing, before anything changes.
    ///
    /// # Spec
    /// "Version change and amend".
    pub fn upgrade(&self) -> Result<(), EngineError> {
        let _alone = self.restructure();
        self.check_writable()?;
        let to_v3 = || self.switch_for_good(|header| header.version = Version::V3);
        if is_planted(Bug::VersionBeforeList) {
            to_v3()?;
            return self.complete_list();
        }
        self.complete_list()?;
        to_v3()
    }

    /// Makes a version 3 image one of version 2: zero clusters become data or nothing, in the disk and
    /// in the snapshots whose L1 tables are at `snapshots`, and then the header changes. Stale afterwards.
    ///
    /// The caller has seen to it that version 2 can say all the rest: [`Disk::downgrade_refused`].
    ///
    /// # Errors
    /// I/O; corruption. The image is of version 3 then, and reads as before.
    ///
    /// # Spec
    /// "Version change and amend".
    pub fn downgrade(&self, snapshots: &[L1Layout], steps: Steps<'_>) -> Result<(), EngineError> {
        let _alone = self.restructure();
        if let Some(why) = self.downgrade_refused(snapshots)? {
            return Err(EngineError::Amend { why });
        }
        if !is_planted(Bug::ZerosNotExpanded) {
            self.guarded(|| self.expand_zeros(snapshots, steps))?;
        }
        self.switch_for_good(|header| {
            header.version = Version::V2;
            header.incompatible.remove(IncompatibleFeatures::DIRTY);
            header.incompatible.remove(IncompatibleFeatures::COMPRESSION);
            header.compression = CompressionType::Deflate;
            header.compatible = CompatibleFeatures::default();
            header.autoclear = AutoclearFeatures::default();
            header.unknown_fields.clear();
        })
    }

    /// Why the image cannot be one of version 2, whose snapshots have their L1 tables at `snapshots`.
    ///
    /// # Errors
    /// I/O; corruption of tables that are looked through.
    pub fn downgrade_refused(
        &self,
        snapshots: &[L1Layout],
    ) -> Result<Option<&'static str>, EngineError> {
        let header = self.header();
        let mut features = header.incompatible;
        features.remove(IncompatibleFeatures::DIRTY);
        features.remove(IncompatibleFeatures::COMPRESSION);
        Ok(if header.refcount_order != RefcountOrder::DEFAULT {
            Some("version 2 needs refcounts of 16 bits")
        } else if features.contains(IncompatibleFeatures::DATA_FILE) {
            Some("version 2 has no external data file")
        } else if self.has_bitmaps() {
            Some("version 2 has no bitmaps")
        } else if features.bits() != 0 {
            Some("version 2 has no incompatible features")
        } else if header.compression != CompressionType::Deflate && self.has_streams(snapshots)? {
            Some(ZSTD_STREAMS)
        } else {
            None
        })
    }

    /// Allows writers to postpone refcounts, or forbids it; all counts are in the file afterwards.
    ///
    /// # Errors
    /// [`EngineError::Amend`] in version 2; as for [`Disk::update_header`].
    pub fn allow_lazy_refcounts(&self, on: bool) -> Result<(), EngineError> {
        self.set_lazy_refcounts(false)?;
        let _alone = self.restructure();
        if on && self.version == Version::V2 {
            return Err(EngineError::Amend { why: "version 2 has no lazy refcounts" });
        }
        self.check_writable()?;
        let run = self.sequencer.lock();
        self.drain(&run)?;
        self.update_header_in(&run, |header| {
            if on {
                header.compatible.insert(CompatibleFeatures::LAZY_REFCOUNTS);
            } else {
                header.compatible.remove(CompatibleFeatures::LAZY_REFCOUNTS);
            }
        })
    }

    /// Counts clusters with another width from now on. Stale afterwards.
    ///
    /// # Errors
    /// [`EngineError::Amend`] in version 2 for other widths than 16 bits; a count that does not fit; I/O.
    /// The old counters are in use then.
    ///
    /// # Spec
    /// "Version change and amend"; rule C9.
    pub fn change_refcount_width(
        &self,
        order: RefcountOrder,
        steps: Steps<'_>,
    ) -> Result<Replaced, EngineError> {
        let _alone = self.restructure();
        if self.version == Version::V2 && order != RefcountOrder::DEFAULT {
            return Err(EngineError::Amend { why: "version 2 needs refcounts of 16 bits" });
        }
        self.check_writable()?;
        let _quiet = self.quiet();
        let run = self.sequencer.lock();
        self.drain(&run)?;
        let made = self.refcounts.write_as(&run, order, steps).map_err(MapError::from)?;
        self.switch_for_good_in(&run, |header| {
            header.refcount_order = order;
            header.refcount_table_offset = made.layout.table;
            header.refcount_table_clusters = made.layout.table_clusters;
        })?;
        Ok(Replaced(made.replaced))
    }

    /// Gives up the clusters that a header of before relied on.
    pub fn release(&self, replaced: Replaced) {
        for (first, count) in replaced.0 {
            self.refcounts.retire(first, count, Freed::Other);
        }
    }

    /// Opens the same image anew, in place of this disk, which takes no more writes.
    ///
    /// # Errors
    /// As for [`Disk::open`].
    pub fn reopen(&self) -> Result<Self, EngineError> {
        let header = self.kept_header();
        let mut config = self.config.clone();
        if header.compression == CompressionType::Deflate {
            // After a downgrade it may not be what it was.
            config.codec = Arc::new(Deflate::default());
        }
        let disk = Self::open(Arc::clone(self.storage()), &header, config)?;
        disk.inherit_bitmaps(self);
        disk.uncut.store(self.uncut.load(Ordering::Acquire), Ordering::Release);
        Ok(disk)
    }

    /// Changes the header in a way that this disk does not follow.
    fn switch_for_good(&self, change: impl FnOnce(&mut Header)) -> Result<(), EngineError> {
        self.check_writable()?;
        let _quiet = self.quiet();
        let run = self.sequencer.lock();
        self.drain(&run)?;
        self.switch_for_good_in(&run, change)
    }

    /// As [`Self::switch_for_good`], for a caller that holds the run lock. What fails behind the switch
    /// does not undo it: the disk is stale then too.
    fn switch_for_good_in(
        &self,
        run: &RunGuard<'_>,
        change: impl FnOnce(&mut Header),
    ) -> Result<(), EngineError> {
        let before = self.kept_header();
        let result = self.update_header_in(run, change);
        if result.is_ok() || self.kept_header() != before {
            self.stale.store(true, Ordering::Release);
        }
        result
    }
}
