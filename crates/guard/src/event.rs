//! What an image is about to do, told to whoever debugs it.
//!
//! Fault injection by kind of access needs more than a file's offsets: the same sector is a table
//! today and data tomorrow. The crates that know what an access is for say so here, just before it;
//! without a listener that is one test of a field that never changes.

/// A step in the work on an image. Every step is told before the access that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// Guest data is read from the image.
    ReadData,
    /// Guest data is read from the backing file.
    ReadBacking,
    /// The stream of a compressed cluster is read.
    ReadCompressed,
    /// Guest data is written, with what its clusters need around it.
    WriteData,
    /// The stream of a compressed cluster is written.
    WriteCompressed,
    /// What a cluster held around a write is read.
    CopyRead,
    /// A part of an L2 table is read.
    L2Load,
    /// A part of an L2 table is written.
    L2Update,
    /// A shared L2 table is read to be copied.
    L2CopyRead,
    /// A new L2 table is written.
    L2AllocWrite,
    /// A part of the L1 table is written.
    L1Update,
    /// Space for a larger L1 table is allocated.
    L1GrowAlloc,
    /// A larger L1 table is written.
    L1GrowWrite,
    /// The header is switched to a larger L1 table.
    L1GrowActivate,
    /// The refcount table is read.
    RefcountTableLoad,
    /// A refcount block is looked up, to change a counter in it.
    RefcountBlockLoad,
    /// A part of a refcount block is written.
    RefcountBlockUpdate,
    /// A counter is about to change, for which a new refcount block may be needed.
    RefcountBlockAlloc,
    /// A new refcount block is made.
    RefcountBlockAllocWrite,
    /// The refcount table is made to name a new block.
    RefcountBlockHookUp,
    /// The new blocks that come with a larger refcount table are written.
    RefcountGrowBlocks,
    /// A larger refcount table is written.
    RefcountGrowTable,
    /// The header is switched to a larger refcount table.
    RefcountGrowSwitch,
    /// Clusters are chosen.
    ClusterAlloc,
    /// Clusters lose a reference.
    ClusterFree,
    /// What is in memory is written back.
    FlushToFile,
    /// A barrier is issued.
    FlushToDisk,
}

/// Hears of events.
///
/// # Concurrency
/// Called from any thread that uses the image, in the middle of its work: a listener that waits holds
/// up the request, and whoever waits for it.
pub trait Listener: Send + Sync {
    /// The access that `event` is about comes next.
    fn about_to(&self, event: Event);
}
