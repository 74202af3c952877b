//! The narrow interface through which others get and give back clusters.

use std::sync::Arc;

use holstein_cache::Hold;
use holstein_units::{HostCluster, HostOffset};

use crate::{Freed, RefcountError, ReservedBytes};

/// What a reserved cluster reads as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// Zeros: the file has never reached it.
    Fresh,
    /// Anything: it was used before.
    Stale,
}

/// Something that must be brought into memory before the answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The refcount table.
    Table,
    /// The refcount block at this offset.
    Block(HostOffset),
    /// A refcount block for table entry `index`, to be placed at cluster `after` or later.
    Growth {
        /// The entry of the refcount table that has no block.
        index: u64,
        /// The first cluster that the block may take.
        after: HostCluster,
    },
}

/// The answer to [`ClusterAllocator::reserve`].
#[derive(Debug)]
pub enum Reserved {
    /// The clusters.
    Got(Reservation),
    /// Fetch this with [`ClusterAllocator::fetch`] and ask again.
    Wanted(Wanted),
}

/// The answer to [`ClusterAllocator::count`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The refcount.
    Count(u64),
    /// Fetch this with [`ClusterAllocator::fetch`] and ask again.
    Wanted(Wanted),
}

/// Takes reserved clusters back.
pub trait Forfeit: Send + Sync {
    /// `count` clusters from `first` were not used after all, and read as `left` says.
    fn forfeit(&self, first: HostCluster, count: u64, left: Provenance);
}

/// A run of host clusters that nobody else will get; given back, without I/O, on drop.
#[must_use = "dropping the reservation gives the clusters back"]
pub struct Reservation {
    first: HostCluster,
    count: u64,
    provenance: Provenance,
    /// What they read as when they are given back.
    left: Provenance,
    blocks: Vec<Hold>,
    owner: Option<Arc<dyn Forfeit>>,
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reservation({}+{}, {:?})", self.first, self.count, self.provenance)
    }
}

impl Reservation {
    /// `count` clusters from `first`; `blocks` are the refcount blocks that commit will change.
    pub fn new(
        first: HostCluster,
        count: u64,
        provenance: Provenance,
        blocks: Vec<Hold>,
        owner: Arc<dyn Forfeit>,
    ) -> Self {
        let left = Provenance::Stale;
        Self { first, count, provenance, left, blocks, owner: Some(owner) }
    }

    /// The first cluster.
    #[must_use]
    pub fn first(&self) -> HostCluster {
        self.first
    }

    /// How many clusters.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What the clusters read as.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// The refcount blocks that hold the counters, in order.
    pub fn blocks(&self) -> &[Hold] {
        &self.blocks
    }

    /// Gives the clusters back as they were: nothing was written to them.
    pub fn give_back_untouched(mut self) {
        self.left = self.provenance;
    }

    /// Counts the reservation as used: dropping it gives nothing back.
    pub fn defuse(&mut self) {
        self.owner = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.take() {
            owner.forfeit(self.first, self.count, self.left);
        }
    }
}

/// Hands out host clusters and takes them back.
///
/// # Concurrency
/// All methods may be called from any thread; only [`Self::fetch`] does I/O.
pub trait ClusterAllocator: Send + Sync {
    /// Finds `want` free clusters in a row: first fit. At least 1, at most as many as an L2 table
    /// has entries. Memory only.
    ///
    /// # Errors
    /// [`RefcountError::Full`]; [`RefcountError::FreeMetadata`] and
    /// [`RefcountError::BadTableEntry`] if the image is corrupt.
    fn reserve(&self, want: u64) -> Result<Reserved, RefcountError>;

    /// Finds room for a compressed stream of `bytes` bytes, at least 1 and at most a cluster, and
    /// counts it in each cluster that it touches. Memory only.
    ///
    /// # Errors
    /// As for [`Self::reserve`].
    ///
    /// # Spec
    /// "Compressed clusters", "Allocation and refcounts".
    fn reserve_bytes(&self, bytes: u64) -> Result<ReservedBytes, RefcountError>;

    /// Reserves and counts `want` clusters in a row, however many. Blocks on I/O; the caller holds
    /// no lock. A failure leaks clusters at worst.
    ///
    /// # Errors
    /// As for [`Self::reserve`] and [`Self::fetch`].
    fn allocate(&self, want: u64) -> Result<(HostCluster, Provenance), RefcountError>;

    /// Counts the reserved clusters once each. Memory only; cannot fail.
    fn commit(&self, reservation: Reservation) -> HostCluster;

    /// One reference to each of `count` clusters from `first` was dropped in memory just now; the
    /// counts are lowered when that is durable.
    fn retire(&self, first: HostCluster, count: u64, freed: Freed);

    /// The refcount of a cluster.
    ///
    /// # Errors
    /// [`RefcountError::BadTableEntry`].
    fn count(&self, cluster: HostCluster) -> Result<Counted, RefcountError>;

    /// The refcount of a cluster, reading what is missing. Blocks on I/O; the caller holds no lock.
    ///
    /// # Errors
    /// As for [`Self::count`] and [`Self::fetch`].
    fn count_now(&self, cluster: HostCluster) -> Result<u64, RefcountError> {
        loop {
            match self.count(cluster)? {
                Counted::Count(count) => return Ok(count),
                Counted::Wanted(wanted) => self.fetch(wanted)?,
            }
        }
    }

    /// Brings `wanted` into memory. Blocks on I/O; the caller holds no lock.
    ///
    /// # Errors
    /// Whatever the I/O fails with; [`RefcountError::Full`] if the table cannot grow.
    fn fetch(&self, wanted: Wanted) -> Result<(), RefcountError>;
}
