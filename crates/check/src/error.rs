//! Why a check could not be done.

use std::io;

use holstein_format::{FormatError, MAX_SNAPSHOTS};
use holstein_units::HostOffset;

/// Why a check could not be done, or not be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The file is no image that could be checked.
    #[error("decode the header")]
    Header(#[from] FormatError),
    /// Something could not be read.
    #[error("read {what} at {at}")]
    Read {
        /// What it is.
        what: &'static str,
        /// Where it is.
        at: HostOffset,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// More memory would be needed than the options allow.
    #[error("counting references needs more than {limit} bytes of memory")]
    MemoryLimit {
        /// The limit in bytes.
        limit: u64,
    },
    /// The header announces too many snapshots.
    #[error("header announces {count} snapshots, more than 65536")]
    TooManySnapshots {
        /// What it announces.
        count: u32,
    },
    /// The snapshot table is at an impossible place.
    #[error("snapshot table has the invalid offset {offset}")]
    SnapshotTableOffset {
        /// Where it claims to be.
        offset: HostOffset,
    },
    /// The snapshot table goes on past 64 MiB.
    #[error("snapshot table is more than 64 MiB long at record {index}")]
    SnapshotTableTooLarge {
        /// The record, from 0, that passes the limit.
        index: u32,
        /// The records from that one on.
        overhanging: u32,
    },
    /// A snapshot with more than 1 KiB of extra data.
    #[error("snapshot record {index} has {size} bytes of extra data, more than 1024")]
    SnapshotExtra {
        /// The record, from 0.
        index: u32,
        /// Its extra data.
        size: u32,
    },
}

impl CheckError {
    /// What QEMU says in the same case, in the way of its own programs; our own words where it has
    /// none.
    #[must_use]
    pub fn qemu_message(&self) -> String {
        match self {
            Self::Header(error) => error.qemu_message(),
            Self::TooManySnapshots { count } => format!(
                "ERROR snapshot table too large\nYou can force-remove all {} overhanging snapshots \
                 with qemu-img check -r all",
                count.saturating_sub(MAX_SNAPSHOTS)
            ),
            Self::SnapshotTableOffset { .. } => "ERROR snapshot table offset invalid".to_string(),
            Self::SnapshotExtra { index, .. } => format!(
                "ERROR failed to read the snapshot table: Too much extra metadata in snapshot \
                 table entry {index}\nYou can force-remove this extra metadata with qemu-img \
                 check -r all"
            ),
            Self::SnapshotTableTooLarge { overhanging, .. } => format!(
                "ERROR failed to read the snapshot table: Snapshot table is too big\nYou can \
                 force-remove all {overhanging} overhanging snapshots with qemu-img check -r all"
            ),
            Self::Read { .. } | Self::MemoryLimit { .. } => self.to_string(),
        }
    }
}
