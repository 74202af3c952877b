//! Why a record of the snapshot table or the bitmap directory is refused.

use crate::error::ErrnoClass;
use holstein_units::HostOffset;

/// What is wrong with a record; its place is known to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The record goes on past the bytes there are.
    #[error("record needs {needed} bytes, there are {available}")]
    Truncated {
        /// Bytes from the start of the record that are needed to get further.
        needed: usize,
        /// Bytes there are.
        available: usize,
    },
    /// Extra data of a snapshot above 1024 bytes.
    #[error("snapshot record has {size} bytes of extra data, more than 1024")]
    ExtraTooLarge {
        /// Its size.
        size: u32,
    },
    /// An L1 table above 32 MiB.
    #[error("snapshot has {entries} l1 entries, more than fit in 32 MiB")]
    L1TooLarge {
        /// Its entries.
        entries: u32,
    },
    /// A table is not cluster aligned, at offset 0, or ends past 2^63 - 1.
    #[error("table has the invalid offset {offset}")]
    TableOffset {
        /// Where it claims to be.
        offset: HostOffset,
    },
    /// A bitmap table without entries or with too many.
    #[error("bitmap table has {entries} entries, not within the limits")]
    BitmapTableSize {
        /// Its entries.
        entries: u32,
    },
    /// Flags of a bitmap without a known meaning.
    #[error("bitmap has the unknown flags {flags:#x}")]
    BitmapFlags {
        /// The unknown flags.
        flags: u32,
    },
    /// A bitmap that is not for dirty tracking.
    #[error("bitmap has the unknown type {kind}")]
    BitmapKind {
        /// The type.
        kind: u8,
    },
    /// A granularity outside 2^9..=2^31 bytes.
    #[error("bitmap has granularity bits {bits}, not within 9..=31")]
    BitmapGranularity {
        /// Its binary logarithm.
        bits: u8,
    },
    /// A bitmap without a name or with one above 1023 bytes.
    #[error("bitmap has a name of {length} bytes, not within 1..=1023")]
    BitmapName {
        /// Its length.
        length: usize,
    },
    /// A bitmap with extra data of unknown meaning.
    #[error("bitmap has {size} bytes of unknown extra data")]
    BitmapExtra {
        /// Its size.
        size: usize,
    },
    /// The bitmap's table is too short for the disk.
    #[error("bitmap table of {entries} entries cannot cover the disk of {size} bytes")]
    BitmapTooSmall {
        /// Its entries.
        entries: u32,
        /// The disk size in bytes.
        size: u64,
    },
    /// A name or other part is too long to be stored.
    #[error("{field} of {length} bytes is too long to be stored")]
    TooLong {
        /// Which part.
        field: &'static str,
        /// Its length.
        length: usize,
    },
}

impl RecordError {
    /// The class of error number that other programs answer with.
    #[must_use]
    pub const fn errno_class(&self) -> ErrnoClass {
        match self {
            Self::ExtraTooLarge { .. } | Self::L1TooLarge { .. } => ErrnoClass::TooBig,
            _ => ErrnoClass::Invalid,
        }
    }
}
