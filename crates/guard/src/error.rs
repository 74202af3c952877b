//! What can go wrong at the door.

use std::io;
use std::sync::Arc;

use holstein_units::{HostOffset, HostRange};

use crate::Region;

/// Why an access to the image file failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The operating system refused a read.
    #[error("read {len} bytes at {at} of the image file: {source}")]
    Read {
        /// Where.
        at: HostOffset,
        /// How many bytes.
        len: u64,
        /// Why.
        source: Arc<io::Error>,
    },
    /// Metadata lies past the end of the file.
    #[error("read {len} bytes at {at} of the image file: the file ends after {got} of them")]
    ShortTable {
        /// Where.
        at: HostOffset,
        /// How many bytes.
        len: u64,
        /// How many there were.
        got: u64,
    },
    /// The operating system refused a write.
    #[error("write {len} bytes at {at} of the image file: {source}")]
    Write {
        /// Where.
        at: HostOffset,
        /// How many bytes.
        len: u64,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The length could not be read or changed.
    #[error("size of the image file: {source}")]
    Length {
        /// Why.
        source: Arc<io::Error>,
    },
    /// A write would have hit metadata that it is not meant for. Nothing was written.
    #[error("write of {intent} at {range} would overlap {hit}")]
    Overlap {
        /// What the write is for.
        intent: &'static str,
        /// Where.
        range: HostRange,
        /// What lies there.
        hit: Region,
    },
    /// A barrier failed.
    #[error("flush of the image file: {source}")]
    Barrier {
        /// Why.
        source: Arc<io::Error>,
    },
    /// An earlier barrier failed, or a write of the header that could not be taken back; the image
    /// takes no writes any more.
    #[error(
        "the image takes no more writes because an earlier flush or header write failed: {source}"
    )]
    Poisoned {
        /// Why that failed.
        source: Arc<io::Error>,
    },
}

impl GuardError {
    /// The error of the operating system below, where there is one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Length { source }
            | Self::Barrier { source }
            | Self::Poisoned { source } => Some(source),
            Self::ShortTable { .. } | Self::Overlap { .. } => None,
        }
    }

    /// Whether it says that the image itself is wrong, rather than the device under it.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Overlap { .. } | Self::ShortTable { .. })
    }
}
