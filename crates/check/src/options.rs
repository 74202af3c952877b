//! How a check is done, and how far it is.

/// Bounds of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckOptions {
    /// The most bytes for counting references. A referenced cluster takes about one byte, at worst
    /// 4 KiB if nothing near it is referenced.
    pub memory_limit: u64,
    /// The most findings that are kept; the rest is only counted.
    pub max_findings: usize,
}

impl Default for CheckOptions {
    /// 1 GiB of counters and 65,536 findings.
    fn default() -> Self {
        Self { memory_limit: 1 << 30, max_findings: 1 << 16 }
    }
}

/// What a check is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Counting what the tables of the disk refer to.
    ActiveTables,
    /// Counting what the snapshots refer to.
    Snapshots,
    /// Comparing counts with refcounts.
    Refcounts,
    /// Looking for wrong COPIED flags.
    CopiedFlags,
}

/// How far a phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// Steps that are done.
    pub done: u64,
    /// Steps of the phase.
    pub total: u64,
}
