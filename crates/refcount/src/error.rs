//! What can go wrong with refcounts.

use holstein_cache::CacheFull;
use holstein_guard::GuardError;
use holstein_units::{HostCluster, HostOffset};

/// Why clusters could not be counted, reserved or released.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RefcountError {
    /// Reading or writing the image file failed.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The cache had no room even after a run.
    #[error(transparent)]
    Cache(#[from] CacheFull),
    /// A table entry that cannot name a block.
    #[error("refcount table entry {index} at {table}: {raw:#018x} names no refcount block")]
    BadTableEntry {
        /// Where the table is.
        table: HostOffset,
        /// Which entry.
        index: u64,
        /// Its value.
        raw: u64,
    },
    /// A cluster with refcount 0 holds known metadata: the refcounts cannot be trusted.
    #[error("allocate {count} clusters at cluster {first}: refcount 0, but the {region} is there")]
    FreeMetadata {
        /// The first cluster of the run that was about to be used.
        first: HostCluster,
        /// How many clusters.
        count: u64,
        /// What is there.
        region: holstein_guard::Region,
    },
    /// A reference was dropped that was never counted.
    #[error("release cluster {cluster}: its refcount is 0 already")]
    Underflow {
        /// The cluster.
        cluster: HostCluster,
    },
    /// A count that narrower counters cannot hold.
    #[error("count in {bits} bits: the cluster at {at} has a refcount of {count}")]
    Narrow {
        /// Where the cluster is.
        at: HostOffset,
        /// Its count.
        count: u64,
        /// The width that was asked for.
        bits: u32,
    },
    /// A cluster with references has refcount 0.
    #[error("add a reference to cluster {cluster}: it is in use, but counted as free")]
    Uncounted {
        /// The cluster.
        cluster: HostCluster,
    },
    /// One more reference than a counter of this width can hold.
    #[error("add a reference to cluster {cluster}: its refcount would exceed {max}")]
    Overflow {
        /// The cluster.
        cluster: HostCluster,
        /// The largest count.
        max: u64,
    },
    /// The image file cannot get larger: the refcount table would exceed its limit, or a host
    /// offset 2^56.
    #[error("allocate {want} clusters: the image file cannot grow past cluster {limit}")]
    Full {
        /// How many clusters were wanted.
        want: u64,
        /// The first cluster that cannot exist.
        limit: u64,
    },
}

impl RefcountError {
    /// Whether it says that the image itself is wrong, rather than the device under it.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Guard(error) => error.is_corruption(),
            Self::BadTableEntry { .. }
            | Self::FreeMetadata { .. }
            | Self::Underflow { .. }
            | Self::Uncounted { .. } => true,
            Self::Cache(_) | Self::Narrow { .. } | Self::Overflow { .. } | Self::Full { .. } => {
                false
            }
        }
    }
}
