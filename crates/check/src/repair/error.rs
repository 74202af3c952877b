//! Why a repair was not done.

use holstein_guard::GuardError;

use crate::CheckError;

/// Why a repair was not done, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The image could not be checked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The file could not be read or written. The image is as good as before, and can be repaired
    /// again.
    #[error(transparent)]
    File(#[from] GuardError),
    /// Refcounts have to be written anew, which a repair of leaks does not do.
    #[error("refcount structures have to be rebuilt, which a repair of leaks does not do")]
    RebuildNeeded,
    /// New refcount structures have no place within the limits of the format.
    #[error("a refcount table for clusters up to {cluster} is above 8 MiB")]
    TableTooLarge {
        /// The last cluster that has to be counted.
        cluster: u64,
    },
    /// The file changed between plan and repair.
    #[error(
        "word at offset {at:#x} is {found:#x} and was {planned:#x} when the repair was planned"
    )]
    Changed {
        /// Where.
        at: u64,
        /// What is there now.
        found: u64,
        /// What was there.
        planned: u64,
    },
}
