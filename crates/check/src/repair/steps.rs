//! The steps of a plan, to be shown before they are done.

use core::fmt;

use super::count_fixes::CountRun;
use super::word_fixes::WordFix;

/// One step of a repair. What is in one step may reach the disk in any order; each is durable
/// before the next begins.
#[derive(Debug)]
pub enum RepairStep<'a> {
    /// Feature bits that nobody here knows are cleared before anything is changed.
    ClearAutoclear,
    /// The file is made longer.
    Grow {
        /// Its length afterwards, in bytes.
        to: u64,
    },
    /// Entries of L1 and L2 tables are replaced.
    Entries(Words<'a>),
    /// Refcounts are raised.
    Raise(Counts<'a>),
    /// A new snapshot table is written.
    SnapshotTable {
        /// Where.
        at: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// New refcount blocks and a new refcount table are written.
    Refcounts {
        /// How many blocks.
        blocks: u64,
        /// Where the table goes.
        table: u64,
        /// Its clusters.
        table_clusters: u64,
    },
    /// The header names the new tables.
    NameTables {
        /// The refcount table is one.
        refcounts: bool,
        /// How many snapshots remain, if their list changes.
        snapshots: Option<u32>,
    },
    /// Refcounts are lowered.
    Lower(Counts<'a>),
    /// Entries are given COPIED.
    GiveCopied(Words<'a>),
    /// The dirty and the corrupt bit are cleared.
    ClearMarks,
}

/// Words of tables that are replaced.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub(crate) &'a [WordFix]);

/// Refcounts that are replaced.
#[derive(Clone, Copy, Debug)]
pub struct Counts<'a>(pub(crate) &'a [CountRun]);

impl fmt::Display for RepairStep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClearAutoclear => f.write_str("clear unknown autoclear bits"),
            Self::Grow { to } => write!(f, "make the file {to} bytes long"),
            Self::Entries(words) => {
                f.write_str("replace entries:")?;
                words.fmt(f)
            }
            Self::Raise(counts) => {
                f.write_str("raise refcounts:")?;
                counts.fmt(f)
            }
            Self::SnapshotTable { at, bytes } => {
                write!(f, "write a snapshot table of {bytes} bytes at {at:#x}")
            }
            Self::Refcounts { blocks, table, table_clusters } => write!(
                f,
                "write {blocks} refcount blocks, and a refcount table of {table_clusters} \
                 clusters at {table:#x}"
            ),
            Self::NameTables { refcounts, snapshots } => {
                f.write_str("name in the header:")?;
                if *refcounts {
                    f.write_str(" the new refcount table")?;
                }
                match snapshots {
                    Some(count) => write!(f, " the list of {count} snapshots"),
                    None => Ok(()),
                }
            }
            Self::Lower(counts) => {
                f.write_str("lower refcounts:")?;
                counts.fmt(f)
            }
            Self::GiveCopied(words) => {
                f.write_str("give COPIED to entries:")?;
                words.fmt(f)
            }
            Self::ClearMarks => f.write_str("clear the dirty and the corrupt bit"),
        }
    }
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|fix| {
            write!(f, "\n    {:#x}: {:016x} -> {:016x}", fix.at, fix.old, fix.new)
        })
    }
}

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|run| {
            write!(f, "\n    cluster {}", run.first)?;
            if run.clusters > 1 {
                write!(f, " to {}", run.first + run.clusters - 1)?;
            }
            write!(f, ": {} -> {}", run.from, run.to)
        })
    }
}
