//! Why a snapshot table could not be read or made.

use std::io;
use std::sync::Arc;

use holstein_format::RecordError;
use holstein_units::HostOffset;

/// Why a snapshot table could not be read or made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The header announces more snapshots than an image may have.
    #[error("header announces {count} snapshots, more than 65536")]
    TooMany {
        /// What it announces.
        count: u32,
    },
    /// The table goes on past 64 MiB.
    #[error("snapshot table at {at} is more than 64 MiB long at record {index}")]
    TableTooLarge {
        /// Where the table is.
        at: HostOffset,
        /// The record, from 0, that passes the limit.
        index: u32,
    },
    /// The file ends within the table.
    #[error("snapshot record {index} at {at} passes the end of the file")]
    Truncated {
        /// The record, from 0.
        index: u32,
        /// Where it starts.
        at: HostOffset,
    },
    /// A record breaks a rule.
    #[error("snapshot record {index} at {at} is invalid")]
    Record {
        /// The record, from 0.
        index: u32,
        /// Where it starts.
        at: HostOffset,
        /// The rule.
        #[source]
        source: RecordError,
    },
    /// There is no room for one more.
    #[error("the image has {count} snapshots, and one more would exceed the limits of the table")]
    Full {
        /// How many there are.
        count: usize,
    },
    /// A new record breaks a rule.
    #[error("a new snapshot cannot be recorded: {source}")]
    New {
        /// The rule.
        source: RecordError,
    },
    /// The table could not be read from the file.
    #[error("read the snapshot table at {at}")]
    Read {
        /// Where reading failed.
        at: HostOffset,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
}
