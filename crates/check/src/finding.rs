//! One thing that is wrong, printed as QEMU prints it.

use core::fmt;

use holstein_format::{EntryError, Escaped, RecordError};

/// One finding. Its display is the line that `qemu-img check` writes to standard error; findings
/// that QEMU does not have are in the same manner.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A refcount above the references: wasted space.
    Leak {
        /// The host cluster.
        cluster: u64,
        /// What the refcount block says.
        refcount: u64,
        /// What refers to it.
        references: u64,
    },
    /// Something that endangers data.
    Corruption(Corruption),
    /// The refcount of a cluster could not be had, as its block is at an impossible place.
    NoRefcount {
        /// The host cluster.
        cluster: u64,
    },
}

/// What endangers data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corruption {
    /// A refcount below the references.
    RefcountTooLow {
        /// The host cluster.
        cluster: u64,
        /// What the refcount block says.
        refcount: u64,
        /// What refers to it.
        references: u64,
    },
    /// More references than the width of refcounts can count.
    Overflow {
        /// The host cluster's offset.
        offset: u64,
    },
    /// Something ends a cluster or more past the end of the file.
    PastEnd {
        /// Where it starts.
        offset: u64,
        /// Its bytes.
        size: u64,
    },
    /// Reserved bits of an L1 entry.
    L1Reserved {
        /// The entry.
        entry: u64,
    },
    /// An L2 table that is not cluster aligned.
    L2Unaligned {
        /// Where it is.
        offset: u64,
    },
    /// An L1 entry that owns the header. QEMU walks the header as a table instead.
    L2AtHeader {
        /// The index of the entry.
        index: u64,
        /// The entry.
        entry: u64,
    },
    /// An L2 table that lies on the header or on the disk's L1 table. Found by a repair; a check
    /// sees too many references, as QEMU does.
    L2AtRoot {
        /// The index of the entry.
        index: u64,
        /// The entry.
        entry: u64,
    },
    /// Reserved bits of an L2 entry.
    L2Reserved {
        /// The entry.
        entry: u64,
    },
    /// A data cluster that is not cluster aligned.
    DataUnaligned {
        /// Where it is.
        offset: u64,
        /// Whether it holds data, rather than being kept for a zero cluster.
        contains_data: bool,
    },
    /// An L2 entry that owns the header. QEMU takes it for unallocated.
    DataAtHeader {
        /// The entry.
        entry: u64,
    },
    /// A zero flag where there are none. QEMU's check does not see it, its reader refuses it.
    ZeroFlagInVersion2 {
        /// The entry.
        entry: u64,
    },
    /// A data file cluster at another place than its own. QEMU's check does not see it, its reader
    /// refuses it.
    DataFileMoved {
        /// Where the entry says it is.
        offset: u64,
        /// Where it belongs.
        guest_offset: u64,
    },
    /// COPIED on a compressed cluster.
    CompressedCopied {
        /// Where its data starts.
        offset: u64,
    },
    /// A compressed cluster in an image with a data file.
    CompressedWithDataFile {
        /// The index in its table.
        index: u64,
        /// The entry.
        entry: u64,
    },
    /// A compressed cluster with a subcluster bitmap.
    CompressedBitmap {
        /// The index in its table.
        index: u64,
        /// The entry.
        entry: u64,
    },
    /// Subclusters with data in a cluster without a place.
    UnallocatedBitmap,
    /// Subclusters that are data and zero at once.
    AllocatedBitmap {
        /// Where the cluster is.
        offset: u64,
    },
    /// COPIED of an L1 entry that contradicts the refcount.
    L1Copied {
        /// The index of the entry.
        index: u64,
        /// The entry.
        entry: u64,
        /// The refcount of the table.
        refcount: u64,
    },
    /// COPIED of an L2 entry that contradicts the refcount.
    L2Copied {
        /// The entry.
        entry: u64,
        /// The refcount of the cluster.
        refcount: u64,
    },
    /// Reserved bits of a refcount table entry.
    RefcountTableReserved {
        /// Its index.
        index: u64,
    },
    /// A refcount block that is not cluster aligned.
    RefcountBlockUnaligned {
        /// Its index.
        index: u64,
    },
    /// A refcount block past the end of the file.
    RefcountBlockOutside {
        /// Its index.
        index: u64,
    },
    /// A refcount block to which not exactly one thing refers.
    RefcountBlockShared {
        /// Its index.
        index: u64,
        /// The references to it.
        references: u64,
    },
    /// A table of the header at offset 0, where the header is. QEMU walks the header instead.
    TableAtHeader {
        /// Which table.
        table: &'static str,
    },
    /// A snapshot without the fields that version 3 asks for.
    SnapshotIncomplete {
        /// Its index in the table.
        index: u64,
    },
    /// A snapshot's L1 table that is not cluster aligned.
    SnapshotL1Unaligned {
        /// The snapshot's ID.
        id: Vec<u8>,
        /// Its name.
        name: Vec<u8>,
        /// Where the table is.
        offset: u64,
    },
    /// A snapshot's L1 table above 32 MiB.
    SnapshotL1TooLarge {
        /// The snapshot's ID.
        id: Vec<u8>,
        /// Its name.
        name: Vec<u8>,
        /// Its entries.
        entries: u32,
    },
    /// Snapshots in an image with a data file.
    SnapshotsWithDataFile {
        /// How many.
        count: u32,
    },
    /// A bitmap that breaks a rule. QEMU refuses to open such an image.
    Bitmap {
        /// Its name.
        name: Vec<u8>,
        /// The rule.
        error: RecordError,
    },
    /// An entry of a bitmap's table that breaks a rule. QEMU gives up checking.
    BitmapTable {
        /// The bitmap's name.
        name: Vec<u8>,
        /// The index of the entry.
        index: u64,
        /// The rule.
        error: EntryError,
    },
    /// Two bitmaps of one name. QEMU refuses to open such an image.
    BitmapNameTwice {
        /// The name.
        name: Vec<u8>,
    },
    /// The bitmap directory does not hold what the header announces. QEMU refuses to open such an
    /// image.
    BitmapDirectory {
        /// Bitmaps that were announced.
        announced: u32,
        /// Bitmaps that were found before the directory ended or broke.
        found: u32,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leak { cluster, refcount, references } => {
                write!(f, "Leaked cluster {cluster} refcount={refcount} reference={references}")
            }
            Self::Corruption(corruption) => corruption.fmt(f),
            Self::NoRefcount { cluster } => {
                write!(f, "Can't get refcount for cluster {cluster}: Input/output error")
            }
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RefcountTooLow { cluster, refcount, references } => {
                write!(f, "ERROR cluster {cluster} refcount={refcount} reference={references}")
            }
            Self::Overflow { offset } => write!(
                f,
                "ERROR: overflow cluster offset={offset:#x}\nUse qemu-img amend to increase the \
                 refcount entry width or qemu-img convert to create a clean copy if the image \
                 cannot be opened for writing"
            ),
            Self::PastEnd { offset, size } => write!(
                f,
                "ERROR: counting reference for region exceeding the end of the file by one cluster \
                 or more: offset {offset:#x} size {size:#x}"
            ),
            Self::L1Reserved { entry } => {
                write!(f, "ERROR found L1 entry with reserved bits set: {entry:x}")
            }
            Self::L2Unaligned { offset } => write!(
                f,
                "ERROR l2_offset={offset:x}: Table is not cluster aligned; L1 entry corrupted"
            ),
            Self::L2AtHeader { index, entry } => write!(
                f,
                "ERROR l1_index={index} l1_entry={entry:x}: Table is at the header; L1 entry \
                 corrupted"
            ),
            Self::L2AtRoot { index, entry } => write!(
                f,
                "ERROR l1_index={index} l1_entry={entry:x}: Table lies on the header or the L1 \
                 table; L1 entry corrupted"
            ),
            Self::L2Reserved { entry } => {
                write!(f, "ERROR found l2 entry with reserved bits set: {entry:x}")
            }
            Self::DataUnaligned { offset, contains_data } => {
                let what = if *contains_data { "Data" } else { "Preallocated" };
                write!(
                    f,
                    "ERROR offset={offset:x}: {what} cluster is not properly aligned; L2 entry \
                     corrupted."
                )
            }
            Self::DataAtHeader { entry } => write!(
                f,
                "ERROR l2_entry={entry:x}: Data cluster is at the header; L2 entry corrupted."
            ),
            Self::ZeroFlagInVersion2 { entry } => {
                write!(f, "ERROR l2_entry={entry:x}: Zero flag in a version 2 image")
            }
            Self::DataFileMoved { offset, guest_offset } => write!(
                f,
                "ERROR offset={offset:x}: Data file cluster is not at guest offset \
                 {guest_offset:x}; L2 entry corrupted."
            ),
            Self::CompressedCopied { offset } => write!(
                f,
                "ERROR: coffset={offset:#x}: copied flag must never be set for compressed clusters"
            ),
            Self::CompressedWithDataFile { index, entry } => {
                write!(f, "ERROR compressed cluster {index} with data file, entry={entry:#x}")
            }
            Self::CompressedBitmap { index, entry } => write!(
                f,
                "ERROR compressed cluster {index} with non-zero subcluster allocation bitmap, \
                 entry={entry:#x}"
            ),
            Self::UnallocatedBitmap => {
                f.write_str("ERROR: Unallocated cluster has non-zero subcluster allocation map")
            }
            Self::AllocatedBitmap { offset } => write!(
                f,
                "ERROR offset={offset:x}: Allocated cluster has corrupted subcluster allocation \
                 bitmap"
            ),
            Self::L1Copied { index, entry, refcount } => write!(
                f,
                "ERROR OFLAG_COPIED L2 cluster: l1_index={index} l1_entry={entry:x} \
                 refcount={refcount}"
            ),
            Self::L2Copied { entry, refcount } => {
                write!(f, "ERROR OFLAG_COPIED data cluster: l2_entry={entry:x} refcount={refcount}")
            }
            Self::RefcountTableReserved { index } => {
                write!(f, "ERROR refcount table entry {index} has reserved bits set")
            }
            Self::RefcountBlockUnaligned { index } => write!(
                f,
                "ERROR refcount block {index} is not cluster aligned; refcount table entry \
                 corrupted"
            ),
            Self::RefcountBlockOutside { index } => {
                write!(f, "ERROR refcount block {index} is outside image")
            }
            Self::RefcountBlockShared { index, references } => {
                write!(f, "ERROR refcount block {index} refcount={references}")
            }
            Self::TableAtHeader { table } => write!(f, "ERROR {table} is at the header"),
            Self::SnapshotIncomplete { index } => {
                write!(f, "ERROR snapshot table entry {index} is incomplete")
            }
            Self::SnapshotL1Unaligned { id, name, offset } => write!(
                f,
                "ERROR snapshot {} ({}) l1_offset={offset:#x}: L1 table is not cluster aligned; \
                 snapshot table entry corrupted",
                Escaped(id),
                Escaped(name)
            ),
            Self::SnapshotL1TooLarge { id, name, entries } => write!(
                f,
                "ERROR snapshot {} ({}) l1_size={entries:#x}: L1 table is too large; snapshot \
                 table entry corrupted",
                Escaped(id),
                Escaped(name)
            ),
            Self::SnapshotsWithDataFile { count } => {
                write!(f, "ERROR {count} snapshots in image with data file")
            }
            Self::Bitmap { name, error } => write!(f, "ERROR bitmap {}: {error}", Escaped(name)),
            Self::BitmapTable { name, index, error } => {
                write!(f, "ERROR bitmap {} table {index}: {error}", Escaped(name))
            }
            Self::BitmapNameTwice { name } => {
                write!(f, "ERROR bitmap {} is there twice", Escaped(name))
            }
            Self::BitmapDirectory { announced, found } => write!(
                f,
                "ERROR bitmap directory holds {found} bitmaps, the header announces {announced}"
            ),
        }
    }
}
