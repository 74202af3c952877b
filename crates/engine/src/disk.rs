//! An open disk: the metadata crates joined.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use holstein_cache::{CacheSizes, RankedTables, RunGuard, Sequencer, TableCache};
use holstein_codec::ClusterCodec;
use holstein_crypto::SectorCipher;
use holstein_format::{Header, Version};
use holstein_guard::planted::{Bug, is_planted};
use holstein_guard::{Event, ImageFile, Listener, Region, RegionMask};
use holstein_mapping::{L1Layout, Mapping, MappingConfig, RangeTickets};
use holstein_refcount::{ClusterAllocator, DiscardPolicy, RefcountLayout, Refcounts};
use holstein_storage::Storage;
use holstein_units::{Geometry, GuestOffset, GuestRange, HostCluster, HostOffset};

use crate::bitmaps::Bitmaps;
use crate::lazy::Lazy;
use crate::snapshots::SnapshotList;
use crate::{Backing, EngineError};

/// Clusters in quarantine that make a write start a run by itself, in bytes.
const QUARANTINE_LIMIT: u64 = 64 << 20;

/// How a disk is opened.
#[derive(Clone)]
pub struct DiskConfig {
    /// Whether writes are allowed.
    pub writable: bool,
    /// How much metadata may be in memory.
    pub cache: CacheSizes,
    /// Which metadata is protected from stray writes.
    pub overlap: RegionMask,
    /// Which freed clusters the host hears of.
    pub discard: DiscardPolicy,
    /// Discarded clusters keep their place (`discard-no-unref`).
    pub discard_no_unref: bool,
    /// What unallocated clusters show.
    pub backing: Option<Arc<dyn Backing>>,
    /// The image names a backing file, whether or not it is given above: an unallocated cluster may
    /// show it one day, so zeros and discards are made explicit.
    pub names_backing: bool,
    /// The external data file of an image that has one.
    pub data_file: Option<Arc<dyn Storage>>,
    /// How clusters are compressed.
    pub codec: Arc<dyn ClusterCodec>,
    /// How payload is encrypted, if it is.
    pub cipher: Option<Arc<dyn SectorCipher>>,
    /// Who hears of what is about to happen, for debugging.
    pub listener: Option<Arc<dyn Listener>>,
}

impl DiskConfig {
    /// For reading alone: caches of default sizes, nothing below, nothing encrypted.
    #[must_use]
    pub fn reading(codec: Arc<dyn ClusterCodec>) -> Self {
        Self {
            writable: false,
            cache: CacheSizes::default(),
            overlap: RegionMask::NONE,
            discard: DiscardPolicy::default(),
            discard_no_unref: false,
            backing: None,
            names_backing: false,
            data_file: None,
            codec,
            cipher: None,
            listener: None,
        }
    }
}

/// An open disk.
///
/// # Concurrency
/// All methods take `&self` and may be called from any number of threads. Requests for different
/// guest clusters do not wait for each other; [`Disk::resize`] waits for all requests in flight.
pub struct Disk {
    pub(crate) file: Arc<ImageFile>,
    pub(crate) sequencer: Arc<Sequencer>,
    pub(crate) refcounts: Refcounts,
    pub(crate) mapping: Mapping,
    pub(crate) geometry: Geometry,
    pub(crate) version: Version,
    pub(crate) size: AtomicU64,
    /// Sectors of the file that are being encrypted in place.
    pub(crate) sectors: Arc<RangeTickets>,
    /// The end of the last new cluster whose tail was left to the file's own zeros.
    pub(crate) data_end: AtomicU64,
    pub(crate) header: RwLock<Header>,
    /// Held by what changes the structure of the image.
    pub(crate) structure: Mutex<()>,
    pub(crate) corrupt: AtomicBool,
    pub(crate) lazy: Lazy,
    /// The file has a header that this disk does not follow; another one does.
    pub(crate) stale: AtomicBool,
    /// The disk has shrunk, and its data file was not cut yet.
    pub(crate) uncut: AtomicBool,
    pub(crate) config: DiskConfig,
    pub(crate) snapshots: SnapshotList,
    pub(crate) bitmaps: Bitmaps,
    /// Kept alive for the sequencer.
    _owners: [Arc<dyn RankedTables>; 4],
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens the disk that `header` describes. Reads the L1 table, and for writing the list of
    /// snapshots and the bitmaps, which are marked as in use in the file.
    ///
    /// The caller has refused writing to dirty or corrupt images.
    ///
    /// # Errors
    /// [`EngineError::CacheSizes`]; [`EngineError::Map`] if the L1 table cannot be read;
    /// [`EngineError::Snapshot`] if the list cannot; [`EngineError::Bitmap`] if the directory of bitmaps
    /// cannot, or I/O where marking them fails.
    pub fn open(
        storage: Arc<dyn Storage>,
        header: &Header,
        config: DiskConfig,
    ) -> Result<Self, EngineError> {
        let geometry = header.geometry;
        let sizes = config.cache.resolve(geometry, header.size)?;
        let file = ImageFile::new(storage, geometry, config.overlap);
        let file = file.with_listener(config.listener.clone());
        let file = Arc::new(match config.data_file.clone() {
            Some(data) => file.with_data_file(data),
            None => file,
        });
        let sequencer = Arc::new(Sequencer::new(Arc::clone(&file)));
        let layout = RefcountLayout {
            order: header.refcount_order,
            table: header.refcount_table_offset,
            table_clusters: header.refcount_table_clusters,
        };
        let refcounts =
            Refcounts::new(Arc::clone(&sequencer), layout, sizes.refcount_blocks, config.discard);
        let allocator: Arc<dyn ClusterAllocator> = Arc::new(refcounts.clone());
        let mapping = Mapping::open(
            Arc::clone(&sequencer),
            allocator,
            MappingConfig {
                rules: header.entry_rules(),
                l1: L1Layout { at: header.l1_table_offset, entries: u64::from(header.l1_size) },
                sizes,
                has_backing: config.backing.is_some() || config.names_backing,
            },
        )?;
        let [l1, l2] = mapping.owners();
        let [table, blocks] = refcounts.owners();
        let owners = [l1, l2, table, blocks];
        if config.writable {
            let regions = file.regions();
            regions.insert(Region::MainHeader, HostCluster::new(0), 1);
            mapping.register_regions();
            sequencer.register(&owners);
        }
        let disk = Self {
            file,
            sequencer,
            refcounts,
            mapping,
            geometry,
            version: header.version,
            size: AtomicU64::new(header.size),
            sectors: Arc::default(),
            data_end: AtomicU64::new(0),
            header: RwLock::new(header.clone()),
            structure: Mutex::new(()),
            corrupt: AtomicBool::new(false),
            snapshots: SnapshotList::default(),
            bitmaps: Bitmaps::default(),
            lazy: Lazy::default(),
            stale: AtomicBool::new(false),
            uncut: AtomicBool::new(false),
            config,
            _owners: owners,
        };
        if disk.config.writable {
            disk.protect_encryption_area(header);
            disk.protect_snapshots()?;
            disk.open_bitmaps()?;
        }
        Ok(disk)
    }

    /// Whether writes are tested against the L2 tables of snapshots.
    pub(crate) fn protects_snapshot_l2(&self) -> bool {
        !self.config.overlap.intersection(Region::InactiveL2.mask()).is_empty()
    }

    /// Notes metadata that this crate does not own, so that no write lands on it.
    pub fn protect(&self, region: Region, at: HostOffset, bytes: u64) {
        let first = self.geometry.host_cluster(at);
        let clusters = self.geometry.clusters_for(self.geometry.in_host_cluster(at) + bytes);
        self.file.regions().insert(region, first, clusters);
    }

    /// The virtual size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The storage below.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        self.file.storage()
    }

    /// The range, if it is within the disk.
    pub(crate) fn check_range(&self, at: u64, len: u64) -> Result<GuestRange, EngineError> {
        let size = self.size();
        match GuestRange::new(GuestOffset::new(at), len) {
            Some(range) if range.end().get() <= size => Ok(range),
            _ => Err(EngineError::OutOfRange { at, len, size }),
        }
    }

    /// Whether writes may go on.
    pub(crate) fn check_writable(&self) -> Result<(), EngineError> {
        if !self.config.writable {
            return Err(EngineError::ReadOnly);
        }
        if self.corrupt.load(Ordering::Acquire) {
            return Err(EngineError::MarkedCorrupt);
        }
        if self.stale.load(Ordering::Acquire) {
            return Err(EngineError::Stale);
        }
        Ok(())
    }

    /// Runs a write and marks the image corrupt if it found corruption.
    pub(crate) fn guarded<R>(
        &self,
        write: impl FnOnce() -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        self.check_writable()?;
        let result = write();
        if let Err(error) = &result
            && error.is_corruption()
        {
            self.mark_corrupt();
        }
        result
    }

    /// The metadata in memory that may leave it: L2 slices and refcount blocks.
    #[must_use]
    pub fn table_caches(&self) -> [&Arc<TableCache>; 2] {
        [self.mapping.table_cache(), self.refcounts.table_cache()]
    }

    /// Makes everything that was acknowledged before this call durable.
    ///
    /// # Errors
    /// [`EngineError::Guard`]; after a failed flush no later one reports success.
    pub fn flush(&self) -> Result<(), EngineError> {
        if !self.config.writable {
            return Ok(());
        }
        self.file.note(Event::FlushToFile);
        self.flush_lazily()
    }

    /// Starts a run when much waits in quarantine, so that a file under rewrite stays bounded.
    pub(crate) fn relieve(&self) -> Result<(), EngineError> {
        if self.refcounts.quarantined() * self.geometry.cluster_size() > QUARANTINE_LIMIT {
            self.sequencer.flush()?;
        }
        Ok(())
    }

    /// Flushes, stores the bitmaps, and empties the quarantine into the refcounts, until the file says all
    /// that memory says. No request is in flight. A disk with bitmaps takes no more writes.
    ///
    /// # Errors
    /// As for [`Self::flush`]; [`EngineError::BitmapLost`], with all the rest done.
    pub fn close(&self) -> Result<(), EngineError> {
        if !self.config.writable {
            return Ok(());
        }
        if self.stale.load(Ordering::Acquire) {
            // There is nothing to write; but whether all that was written is durable has to be said, and
            // what became of bitmaps that no other disk took over.
            self.file.barrier()?;
            return self.bitmaps.lost();
        }
        if is_planted(Bug::CleanBeforeCounts) {
            self.mark_clean()?;
        }
        let stored = self.store_bitmaps();
        let run = self.sequencer.lock();
        // The last cluster of the file is whole, for readers that expect it to be.
        let end = self.data_end.load(Ordering::Acquire);
        if end > 0
            && !self.has_data_file()
            && self.file.poisoned().is_none()
            && self.file.len()? < end
        {
            self.file.set_len(end)?;
        }
        self.drain(&run)?;
        drop(run);
        self.mark_clean()?;
        stored
    }

    /// Makes runs until no release waits that could be done, and all counts are in the file.
    pub(crate) fn drain(&self, run: &RunGuard<'_>) -> Result<(), EngineError> {
        // The first run makes releases durable, the next the counts that they lowered; a small cache
        // takes several to lower them all.
        run.flush()?;
        let mut left = u64::MAX;
        while self.refcounts.quarantined() < left {
            left = self.refcounts.quarantined();
            if left > 0 || self.refcounts.is_dirty() {
                run.flush()?;
            }
        }
        if self.refcounts.is_dirty() {
            run.flush()?;
        }
        Ok(())
    }
}
