//! What a check has found.

use crate::finding::Finding;

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Report {
    /// What was found, in order, up to the limit of the options.
    pub findings: Vec<Finding>,
    /// Findings past that limit; they are in the counts below.
    pub findings_dropped: u64,
    /// Errors that endanger data.
    pub corruptions: u64,
    /// Clusters with a refcount above their references.
    pub leaks: u64,
    /// Clusters whose refcount could not be had.
    pub check_errors: u64,
    /// The end of the last cluster that is in use or counted as such, in bytes.
    pub image_end_offset: u64,
    /// Clusters of the disk.
    pub total_clusters: u64,
    /// Clusters of the disk with a place of their own: data, kept zeros, compressed.
    pub allocated_clusters: u64,
    /// Those that do not follow the one before in their table; all compressed ones.
    pub fragmented_clusters: u64,
    /// Compressed ones.
    pub compressed_clusters: u64,
}

impl Report {
    /// Whether nothing at all was found.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.corruptions == 0 && self.leaks == 0 && self.check_errors == 0
    }
}
