//! The mapping of an open image.

use std::sync::{Arc, Mutex};

use holstein_cache::{
    Capture, FetchStart, RankedTables, ResolvedSizes, Sequencer, TableCache, TableWrite,
};
use holstein_format::{EntryRules, L1Entry};
use holstein_guard::{Event, ImageFile, Region};
use holstein_refcount::{ClusterAllocator, Wanted};
use holstein_units::{Geometry, GuestOffset, HostOffset};

use crate::l1_table::{L1Layout, L1Table};
use crate::l2_place::Slices;
use crate::{MapError, RangeTickets};

/// Something that must be done, with I/O, before the question can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// Read an L2 slice.
    Slice(HostOffset),
    /// Compare the COPIED flags of a slice with the refcounts, once.
    Verify {
        /// The slice.
        slice: HostOffset,
        /// The first guest byte that it maps.
        guest: GuestOffset,
    },
    /// Give L1 entry `l1_index` an L2 table of its own.
    NewTable {
        /// The entry of the L1 table.
        l1_index: u64,
    },
    /// What the allocator wants.
    Refcount(Wanted),
    /// Write back what is dirty: the cache has no clean slot.
    Room,
}

/// What a mapping needs to know of its image.
#[derive(Clone, Copy, Debug)]
pub struct MappingConfig {
    /// How entries are read.
    pub rules: EntryRules,
    /// Where the L1 table is.
    pub l1: L1Layout,
    /// How much of the L2 tables may be in memory.
    pub sizes: ResolvedSizes,
    /// Whether unallocated clusters show a backing file.
    pub has_backing: bool,
}

/// Guest ranges to host extents.
///
/// # Concurrency
/// Lookups of cached tables take no lock. Changes of the same guest clusters exclude each other by
/// tickets; all else is short locks of one cache set, the L1 list or the allocator.
///
/// Cloning gives another handle to the same tables.
#[derive(Clone)]
pub struct Mapping(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) file: Arc<ImageFile>,
    pub(crate) sequencer: Arc<Sequencer>,
    pub(crate) geometry: Geometry,
    pub(crate) rules: EntryRules,
    pub(crate) has_backing: bool,
    pub(crate) l1: L1Table,
    pub(crate) l2: Arc<TableCache>,
    pub(crate) slices: Slices,
    pub(crate) refcounts: Arc<dyn ClusterAllocator>,
    pub(crate) tickets: Arc<RangeTickets>,
    /// Held while an L2 table is made, so that an L1 entry gets one and not two.
    pub(crate) making_table: Mutex<()>,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping").field("geometry", &self.0.geometry).finish_non_exhaustive()
    }
}

impl Mapping {
    /// Reads the L1 table.
    ///
    /// # Errors
    /// [`MapError::Guard`] if the table cannot be read or ends early.
    pub fn open(
        sequencer: Arc<Sequencer>,
        refcounts: Arc<dyn ClusterAllocator>,
        config: MappingConfig,
    ) -> Result<Self, MapError> {
        let file = Arc::clone(sequencer.file());
        let geometry = config.rules.geometry;
        let len = usize::try_from(config.l1.entries * 8).expect("the header allows at most 32 MiB");
        let mut raw = vec![0; len];
        if len > 0 {
            file.read(config.l1.at, &mut raw)?;
        }
        let entries = raw
            .chunks_exact(8)
            .map(|b| u64::from_be_bytes(b.try_into().expect("chunks of 8 bytes")));
        Ok(Self(Arc::new(Inner {
            l1: L1Table::new(config.l1, entries),
            l2: TableCache::with_stride(
                config.sizes.l2_slice,
                config.sizes.l2_slices,
                // Neighbours that lie in the file as they do in the disk.
                geometry.cluster_size(),
            ),
            slices: Slices::new(geometry, config.sizes.l2_slice),
            geometry,
            rules: config.rules,
            has_backing: config.has_backing,
            file,
            sequencer,
            refcounts,
            tickets: Arc::default(),
            making_table: Mutex::new(()),
        })))
    }

    /// Tells the door to the file where the L1 table and the L2 tables are. Called once before the
    /// first write.
    pub fn register_regions(&self) {
        let inner = &self.0;
        let regions = inner.file.regions();
        let layout = inner.l1.layout();
        let clusters = inner.geometry.clusters_for(layout.entries * 8);
        regions.insert(Region::ActiveL1, inner.geometry.host_cluster(layout.at), clusters);
        let mut index = inner.l1.next_used(0);
        while index < layout.entries {
            // An entry that names no table protects nothing, the header least of all.
            if let Ok(L1Entry::Table { at, .. }) =
                L1Entry::decode(inner.l1.get(index), inner.geometry)
            {
                regions.insert(Region::ActiveL2, inner.geometry.host_cluster(at), 1);
            }
            index = inner.l1.next_used(index + 1);
        }
    }

    /// The two owners of tables, for the sequencer: L1 before L2, as L1 refers to L2.
    #[must_use]
    pub fn owners(&self) -> [Arc<dyn RankedTables>; 2] {
        [Arc::new(L1Owner(Arc::clone(&self.0))), Arc::new(L2Owner(Arc::clone(&self.0)))]
    }

    /// Where the L1 table is now.
    #[must_use]
    pub fn l1_layout(&self) -> L1Layout {
        self.0.l1.layout()
    }

    /// The L2 slices in memory.
    #[must_use]
    pub fn table_cache(&self) -> &Arc<TableCache> {
        &self.0.l2
    }

    /// Whether a table in memory differs from the file.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.0.l1.is_dirty() || self.0.l2.is_dirty()
    }

    /// How many L2 slices differ from the file.
    #[must_use]
    pub fn dirty_slices(&self) -> usize {
        self.0.l2.dirty_tables()
    }

    /// Does what an answer wanted. Blocks on I/O; the caller holds no pin, plan or ticket.
    ///
    /// # Errors
    /// Whatever the I/O fails with; corruption found on the way.
    pub fn fetch(&self, fetch: Fetch) -> Result<(), MapError> {
        let inner = &self.0;
        match fetch {
            Fetch::Slice(at) => match inner.fetch_slice(at) {
                Err(MapError::Cache(_)) => {
                    inner.make_room()?;
                    match inner.fetch_slice(at) {
                        // Taken again before we came: the caller asks again.
                        Err(MapError::Cache(_)) => {
                            std::thread::yield_now();
                            Ok(())
                        }
                        result => result,
                    }
                }
                result => result,
            },
            Fetch::Verify { slice, guest } => inner.verify(slice, guest),
            Fetch::NewTable { l1_index } => inner.new_table(l1_index),
            Fetch::Refcount(wanted) => Ok(inner.refcounts.fetch(wanted)?),
            Fetch::Room => inner.make_room(),
        }
    }
}

impl Inner {
    pub(crate) fn make_room(&self) -> Result<(), MapError> {
        Ok(self.sequencer.flush()?)
    }

    pub(crate) fn fetch_slice(&self, at: HostOffset) -> Result<(), MapError> {
        match self.l2.begin_fetch(at) {
            FetchStart::Present => Ok(()),
            FetchStart::Busy => {
                self.l2.wait_for_fetch(at);
                Ok(())
            }
            FetchStart::Mine(ticket) => {
                let len = usize::try_from(self.slices.bytes()).expect("at most a cluster");
                let mut bytes = vec![0; len];
                self.file.note(Event::L2Load);
                self.file.read(at, &mut bytes)?;
                Ok(ticket.install(&bytes)?)
            }
        }
    }
}

struct L1Owner(Arc<Inner>);

impl RankedTables for L1Owner {
    fn region(&self) -> Region {
        Region::ActiveL1
    }

    fn capture(&self, capture: &mut Capture) {
        self.0.l1.capture(capture);
    }

    fn settle(&self, _writes: &[TableWrite], durable: bool, attempted: bool) {
        self.0.l1.settle(durable, attempted);
    }
}

struct L2Owner(Arc<Inner>);

impl RankedTables for L2Owner {
    fn region(&self) -> Region {
        Region::ActiveL2
    }

    fn capture(&self, capture: &mut Capture) {
        let inner = &self.0;
        inner.l2.capture(&mut capture.writes, |slice| {
            let table = inner.geometry.host_offset(inner.geometry.host_cluster(slice));
            inner.l1.rung_of(table)
        });
    }

    fn settle(&self, writes: &[TableWrite], durable: bool, _attempted: bool) {
        self.0.l2.settle(writes, durable);
    }
}
