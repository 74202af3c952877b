//! What a repair has to say, as QEMU says it.

use core::fmt;

use crate::finding::{Corruption, Finding};

/// One line of a repair. Its display is what `qemu-img check -r` writes to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairNote {
    /// A fault. Where it is one of refcounts it is put right if a note of that follows.
    Found(Finding),
    /// A fault that is put right.
    Repairing(Finding),
    /// All refcounts are written anew.
    Rebuilding,
    /// All refcounts would have to be written anew, and may not be: nothing is repaired.
    RebuildNeeded,
    /// The file cannot be made as long as a table entry asks for.
    CannotGrow,
    /// Snapshots past the limits are dropped from the list.
    SnapshotsDiscarded {
        /// How many.
        count: u32,
        /// It is the bytes of the list that pass a limit, not their number.
        too_long: bool,
    },
    /// Extra data of a snapshot past the limit is dropped.
    ExtraDiscarded {
        /// The snapshot's index in the list.
        index: u32,
        /// Its bytes of extra data.
        size: u32,
    },
}

impl fmt::Display for RepairNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(finding) => finding.fmt(f),
            Self::Repairing(
                Finding::Leak { cluster, refcount, references }
                | Finding::Corruption(Corruption::RefcountTooLow { cluster, refcount, references }),
            ) => {
                write!(f, "Repairing cluster {cluster} refcount={refcount} reference={references}")
            }
            Self::Repairing(finding) => {
                let text = finding.to_string();
                let what = text.trim_start_matches("ERROR").trim_start_matches(':').trim_start();
                write!(f, "Repairing {}", what.trim_start_matches("found "))
            }
            Self::Rebuilding => f.write_str("Rebuilding refcount structure"),
            Self::RebuildNeeded => f.write_str("ERROR need to rebuild refcount structures"),
            Self::CannotGrow => f.write_str("ERROR could not resize image: Invalid argument"),
            Self::SnapshotsDiscarded { count, too_long } => {
                let why = if *too_long { " (snapshot table is too big)" } else { "" };
                write!(f, "Discarding {count} overhanging snapshots{why}")
            }
            Self::ExtraDiscarded { index, size } => write!(
                f,
                "Discarding too much extra metadata in snapshot table entry {index} ({size} > 1024)"
            ),
        }
    }
}
