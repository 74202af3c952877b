//! Bugs that the crash tests plant to prove that they would be found.
//!
//! Without the feature `planted-bugs` every question is answered `false` at compile time. With it a
//! test names one bug for its own thread; other threads are not touched.

/// A promise that can be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The barrier between payload with counts and the tables is left out.
    FirstBarrierMissing,
    /// The barrier at the end of a run is left out.
    LastBarrierMissing,
    /// Clusters are reused at once instead of waiting in quarantine.
    QuarantineSkipped,
    /// L2 tables are written before the refcounts.
    L2BeforeRefcount,
    /// An L1 entry is written before the L2 table that it names.
    L1BeforeL2,
    /// The part of a cluster before the written range is not copied.
    HeadNotCopied,
    /// The header announces a larger disk before the larger L1 table is there.
    SizeBeforeTable,
    /// A refcount table entry is written before the block that it names.
    BlockEntryBeforeBlock,
    /// A new snapshot leaves the disk's tables as they are: what it shares stays writable in place.
    CopiedLeftSet,
    /// The header lists a new snapshot before the counts of what it shares were raised.
    SnapshotBeforeCounts,
    /// The counts of what a snapshot holds are lowered before the header has dropped it.
    CountsBeforeDelete,
    /// The header names a snapshot's tables as the disk's before their counts were raised.
    ApplyBeforeCounts,
    /// Bitmaps are not marked as in use before the first write.
    BitmapNotInUse,
    /// The header is changed before the run that makes durable what it relies on.
    HeaderBeforeRun,
    /// A write is not noted in the bitmaps.
    BitmapNotRecorded,
    /// The header says version 3 before the list of snapshots has what version 3 asks for.
    VersionBeforeList,
    /// What a smaller disk has no place for is given up before the header says that it is smaller.
    SizeAfterEntries,
    /// The header says version 2 over tables with zero clusters.
    ZerosNotExpanded,
    /// Counts are left behind without the dirty bit.
    CountsBehindUnmarked,
    /// The dirty bit is cleared before the counts are written.
    CleanBeforeCounts,
    /// A commit empties the overlay before its base is durable.
    BaseNotFlushed,
    /// A rebase changes the name before the copies are made.
    NameBeforeCopies,
    /// A repair clears the marks before it mends what they announce.
    MarksClearedFirst,
    /// What is around a write into zeros that keep their place, as a subcluster does, is left there.
    SurroundingsLeft,
    /// A compressed stream that shares a cluster with others is not counted there.
    StreamNotCounted,
    /// A barrier leaves out the external data file.
    DataFileNotFlushed,
    /// The marks of bitmaps that are in use are not durable before the first write.
    BitmapMarkNotFlushed,
    /// Nothing that is written to the area of a LUKS header is made durable on its way.
    KeysNotFlushed,
    /// Holes are made in encrypted payload, where they read as noise, before the tables give it up.
    HolesUnderCipher,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::FirstBarrierMissing,
        Self::LastBarrierMissing,
        Self::QuarantineSkipped,
        Self::L2BeforeRefcount,
        Self::L1BeforeL2,
        Self::HeadNotCopied,
        Self::SizeBeforeTable,
        Self::BlockEntryBeforeBlock,
        Self::CopiedLeftSet,
        Self::SnapshotBeforeCounts,
        Self::CountsBeforeDelete,
        Self::ApplyBeforeCounts,
        Self::BitmapNotInUse,
        Self::HeaderBeforeRun,
        Self::BitmapNotRecorded,
        Self::VersionBeforeList,
        Self::SizeAfterEntries,
        Self::ZerosNotExpanded,
        Self::CountsBehindUnmarked,
        Self::CleanBeforeCounts,
        Self::BaseNotFlushed,
        Self::NameBeforeCopies,
        Self::MarksClearedFirst,
        Self::SurroundingsLeft,
        Self::StreamNotCounted,
        Self::DataFileNotFlushed,
        Self::BitmapMarkNotFlushed,
        Self::KeysNotFlushed,
        Self::HolesUnderCipher,
    ];
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants `bug` for this thread until the next call.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether `bug` is planted on this thread.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::{is_planted, plant};

/// Whether `bug` is planted: never, in a build without the test-only feature.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
#[must_use]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}
