//! What can go wrong between a guest range and its clusters.

use holstein_cache::CacheFull;
use holstein_format::EntryError;
use holstein_guard::GuardError;
use holstein_refcount::RefcountError;
use holstein_units::{GuestOffset, HostOffset};

/// Why a guest range could not be mapped or changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// Reading or writing the image file failed.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// Counting or allocating clusters failed.
    #[error(transparent)]
    Refcount(#[from] RefcountError),
    /// The cache had no room even after a run.
    #[error(transparent)]
    Cache(#[from] CacheFull),
    /// An L1 entry that names no L2 table.
    #[error("L1 entry {index}: {source}")]
    L1Entry {
        /// Which entry of the L1 table.
        index: u64,
        /// What is wrong with it.
        source: EntryError,
    },
    /// An L2 entry that is in no state.
    #[error("L2 entry of guest offset {at}: {source}")]
    L2Entry {
        /// The guest cluster's first byte.
        at: GuestOffset,
        /// What is wrong with it.
        source: EntryError,
    },
    /// An entry names a cluster that is counted as free.
    #[error("guest offset {at} is at {host}, which is counted as free")]
    Uncounted {
        /// The guest cluster's first byte.
        at: GuestOffset,
        /// The host cluster.
        host: HostOffset,
    },
    /// The L1 table has no entry for the offset.
    #[error("guest offset {at} is past the L1 table of {entries} entries")]
    PastL1 {
        /// The offset.
        at: GuestOffset,
        /// Entries in the L1 table.
        entries: u64,
    },
    /// The L1 table would exceed 32 MiB.
    #[error("an L1 table of {entries} entries exceeds 32 MiB")]
    L1TooLarge {
        /// Entries that would be needed.
        entries: u64,
    },
}

impl MapError {
    /// Whether it says that the image itself is wrong, rather than the device under it.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Guard(error) => error.is_corruption(),
            Self::Refcount(error) => error.is_corruption(),
            Self::L1Entry { .. } | Self::L2Entry { .. } | Self::Uncounted { .. } => true,
            Self::Cache(_) | Self::PastL1 { .. } | Self::L1TooLarge { .. } => false,
        }
    }
}
