//! What can go wrong with a bitmap.

use holstein_format::{EntryError, Escaped, RecordError};
use holstein_units::HostOffset;

/// Why a bitmap cannot be used as it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BitmapError {
    /// There is no bitmap of that name.
    #[error("there is no bitmap {:?}", Escaped(name).to_string())]
    NotFound {
        /// The name.
        name: Vec<u8>,
    },
    /// There is one already.
    #[error("bitmap {:?} exists already", Escaped(name).to_string())]
    Exists {
        /// The name.
        name: Vec<u8>,
    },
    /// It was not saved cleanly, or is of a kind that is not known; it can only be removed.
    #[error("bitmap {:?} is inconsistent and can only be removed", Escaped(name).to_string())]
    Inconsistent {
        /// The name.
        name: Vec<u8>,
    },
    /// Two bitmaps are for disks of different sizes.
    #[error("the bitmaps are for disks of {destination} and {source_size} bytes")]
    Sizes {
        /// What is merged into.
        destination: u64,
        /// What is merged.
        source_size: u64,
    },
    /// Version 2 of the format cannot say that bitmaps hold.
    #[error("version 2 of the format has no bitmaps")]
    Version2,
    /// A name that is empty, or longer than 1023 bytes.
    #[error("the name of a bitmap has {length} bytes, not within 1..=1023")]
    Name {
        /// Its length.
        length: usize,
    },
    /// No more bitmaps can be stored.
    #[error("the image has {count} bitmaps, and one more would exceed the limits of the directory")]
    Full {
        /// How many there are.
        count: usize,
    },
    /// The bitmap would need more than 512 MiB.
    #[error("a bitmap of {granularity} bytes a bit is too large for a disk of {size} bytes")]
    TooLarge {
        /// Bytes of the disk that a bit would stand for.
        granularity: u64,
        /// The size of the disk.
        size: u64,
    },
    /// A disk without a byte.
    #[error("a disk of 0 bytes has no bitmaps")]
    EmptyDisk,
    /// The directory does not hold what the header says of it.
    #[error("bitmap directory at {at}: {what}")]
    Directory {
        /// Where it is.
        at: HostOffset,
        /// What is wrong.
        what: String,
    },
    /// The image has bitmaps, which do not allow what was asked.
    #[error("the image has bitmaps")]
    Present,
}

/// Why the bits of a bitmap could not be read: `E` is what the file says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// Its entry in the directory breaks a rule.
    #[error("the bitmap's entry: {0}")]
    Record(RecordError),
    /// It says of itself that it was not saved.
    #[error("the bitmap is in use")]
    InUse,
    /// Its table is not as long as the disk needs it.
    #[error("bitmap table has {entries} entries, and the disk needs {needed}")]
    TableSize {
        /// What it has.
        entries: u32,
        /// What the disk needs.
        needed: u64,
    },
    /// An entry of its table breaks a rule.
    #[error("bitmap table entry {index}: {source}")]
    Entry {
        /// Which, from 0.
        index: u64,
        /// The rule.
        source: EntryError,
    },
    /// A cluster that belongs to something else, or to the bitmap twice.
    #[error("the bitmap's cluster at {at} is used for something else")]
    Shared {
        /// The cluster.
        at: HostOffset,
    },
    /// The file could not be read.
    #[error("{0}")]
    File(E),
}
