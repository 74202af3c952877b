//! What L1, L2, refcount and bitmap table entries have in common.

use holstein_units::HostOffset;

/// Bit 63 of L1 and L2 entries: the refcount of the target is exactly 1.
pub const COPIED: u64 = 1 << 63;
/// Bit 62 of L2 entries: the cluster is compressed.
pub const COMPRESSED: u64 = 1 << 62;
/// Bit 0 of standard L2 entries: the cluster reads as zeros.
pub const ZERO: u64 = 1;
/// Bits 9..=55, the host offset in L1 and L2 entries.
pub(crate) const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

/// Whether a cluster or table belongs to one owner alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// COPIED is set: the refcount is exactly 1. Accurate under the active L1 table only.
    Exclusive,
    /// COPIED is clear: there may be other owners.
    Shared,
}

impl Sharing {
    /// From bit 63 of an entry.
    #[inline]
    #[must_use]
    pub const fn of(raw: u64) -> Self {
        if raw & COPIED != 0 { Self::Exclusive } else { Self::Shared }
    }

    /// Bit 63 for an entry.
    #[inline]
    #[must_use]
    pub const fn flag(self) -> u64 {
        match self {
            Self::Exclusive => COPIED,
            Self::Shared => 0,
        }
    }
}

/// What is wrong with one entry of a table; the table and the index are known to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The offset is not the start of a cluster.
    #[error("entry {raw:#018x} has an unaligned offset {offset}")]
    Unaligned {
        /// The whole entry.
        raw: u64,
        /// Its offset.
        offset: HostOffset,
    },
    /// The entry claims to own the header at offset 0.
    #[error("entry {raw:#018x} is allocated at offset 0, where the header is")]
    AtHeader {
        /// The whole entry.
        raw: u64,
    },
    /// The zero flag in a version 2 image, which has no zero clusters.
    #[error("entry {raw:#018x} has the zero flag in a version 2 image")]
    ZeroFlagInVersion2 {
        /// The whole entry.
        raw: u64,
    },
    /// A cluster in the external data file that is not where it is in the disk.
    #[error("host offset {host} in the data file for guest offset {at:#x}, which must be equal")]
    DataFileMoved {
        /// Where the entry says it is.
        host: HostOffset,
        /// A guest byte of the cluster.
        at: u64,
    },
    /// A compressed cluster in an image with an external data file.
    #[error("entry {raw:#018x} is compressed in an image with an external data file")]
    CompressedWithDataFile {
        /// The whole entry.
        raw: u64,
    },
    /// Compressed data at or past 2^56.
    #[error("entry {raw:#018x} has compressed data at {offset}, past 2^56")]
    CompressedTooFar {
        /// The whole entry.
        raw: u64,
        /// Where the data would be.
        offset: HostOffset,
    },
    /// A subcluster is both allocated and zero, or allocated in no cluster.
    #[error("entry {raw:#018x} has an invalid subcluster bitmap {bitmap:#018x}")]
    InvalidBitmap {
        /// The first half of the entry.
        raw: u64,
        /// The second half.
        bitmap: u64,
    },
    /// Bits are set that must be zero.
    #[error("entry {raw:#018x} has the reserved bits {bits:#018x} set")]
    ReservedBits {
        /// The whole entry.
        raw: u64,
        /// The offending bits.
        bits: u64,
    },
}
