//! What can go wrong with a request.

use std::io;
use std::sync::Arc;

use holstein_bitmap::BitmapError;
use holstein_cache::CacheSizeError;
use holstein_codec::CodecError;
use holstein_format::{Escaped, FormatError, RecordError};
use holstein_guard::GuardError;
use holstein_mapping::MapError;
use holstein_snapshot::SnapshotError;
use holstein_units::{GuestOffset, HostOffset};

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Reading or writing the image file failed.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// Counts that follow later need a mark that version 2 does not have.
    #[error("lazy refcounts need version 3 of the format")]
    LazyVersion,
    /// The range could not be mapped or changed.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The header cannot be what was asked for.
    #[error(transparent)]
    Header(#[from] FormatError),
    /// Cache options contradict each other.
    #[error(transparent)]
    CacheSizes(#[from] CacheSizeError),
    /// A compressed cluster does not decompress to a cluster.
    #[error("compressed cluster of guest offset {at} at {host}: {source}")]
    Compressed {
        /// The guest cluster's first byte.
        at: GuestOffset,
        /// Where the stream is.
        host: HostOffset,
        /// What is wrong with it.
        source: Arc<CodecError>,
    },
    /// A cluster could not be compressed.
    #[error("compress the cluster of guest offset {at}: {source}")]
    Compress {
        /// The guest cluster's first byte.
        at: GuestOffset,
        /// Why.
        source: Arc<CodecError>,
    },
    /// A compressed write to a cluster that has data, or space for it.
    #[error("guest offset {at} has a cluster already: only a new one can be compressed")]
    Occupied {
        /// The guest cluster's first byte.
        at: GuestOffset,
    },
    /// Streams are not encrypted by any writer or reader, so on an encrypted disk they would tell.
    #[error("compressed clusters of an encrypted disk would not be encrypted")]
    CompressEncrypted,
    /// A compressed write that is not one of whole clusters.
    #[error("{len} bytes at {at} are not whole clusters of {cluster} bytes")]
    Unaligned {
        /// Where.
        at: u64,
        /// How many bytes.
        len: u64,
        /// Bytes of a cluster.
        cluster: u64,
    },
    /// The backing file could not be read.
    #[error("read guest offset {at} from the backing file: {source}")]
    Backing {
        /// Where.
        at: GuestOffset,
        /// Why.
        source: Arc<io::Error>,
    },
    /// A compressed write to an image with an external data file, which has no compressed clusters.
    #[error("an image with an external data file has no compressed clusters")]
    CompressWithDataFile,
    /// The image was found to be corrupt; it takes no writes until it is repaired.
    #[error("the image is marked corrupt and takes no writes until it is repaired")]
    MarkedCorrupt,
    /// The request is not within the disk.
    #[error("{len} bytes at {at} are not within the disk of {size} bytes")]
    OutOfRange {
        /// Where.
        at: u64,
        /// How many bytes.
        len: u64,
        /// The virtual size.
        size: u64,
    },
    /// A size that the disk cannot get.
    #[error("resize to {size} bytes: {why}")]
    Resize {
        /// The wanted size.
        size: u64,
        /// What stands in the way.
        why: &'static str,
    },
    /// What the image cannot be turned into.
    #[error("amend the image: {why}")]
    Amend {
        /// What stands in the way.
        why: &'static str,
    },
    /// The image has become one of another kind, and was opened anew elsewhere.
    #[error("the image has changed its format and must be opened again")]
    Stale,
    /// The list of snapshots could not be read or made.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The image has no such snapshot.
    #[error("there is no such snapshot")]
    NoSnapshot,
    /// What lies in a data file cannot be shared by snapshots.
    #[error("images with an external data file have no snapshots")]
    SnapshotDataFile,
    /// Somebody is reading the snapshot.
    #[error("the snapshot is being read")]
    SnapshotBusy,
    /// The record of a snapshot names no L1 table.
    #[error("the snapshot is broken: {source}")]
    SnapshotRecord {
        /// What is wrong with it.
        source: RecordError,
    },
    /// A snapshot's size is none that the disk can get.
    #[error("give the disk the snapshot's size of {size} bytes: {why}")]
    SnapshotSize {
        /// The size.
        size: u64,
        /// What stands in the way.
        why: &'static str,
    },
    /// A bitmap cannot be used as it was asked.
    #[error(transparent)]
    Bitmap(#[from] BitmapError),
    /// The bits of a bitmap could not be stored when the disk was closed: it is inconsistent from now on,
    /// and so are all others of the disk.
    #[error("store bitmap {:?}: {source}", Escaped(name).to_string())]
    BitmapLost {
        /// The bitmap.
        name: Vec<u8>,
        /// Why.
        source: Box<EngineError>,
    },
    /// The disk was opened for reading only.
    #[error("the image is open for reading only")]
    ReadOnly,
}

impl EngineError {
    /// Whether it says that the image itself is wrong, rather than the device under it.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Guard(error) => error.is_corruption(),
            Self::Map(error) => error.is_corruption(),
            Self::BitmapLost { source, .. } => source.is_corruption(),
            _ => false,
        }
    }

    /// The error of the operating system below, where there is one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        use holstein_refcount::RefcountError;
        match self {
            Self::Guard(error)
            | Self::Map(MapError::Guard(error) | MapError::Refcount(RefcountError::Guard(error))) => {
                error.io()
            }
            Self::Backing { source, .. } => Some(source),
            Self::BitmapLost { source, .. } => source.io(),
            Self::Snapshot(SnapshotError::Read { source, .. }) => Some(source),
            _ => None,
        }
    }
}
