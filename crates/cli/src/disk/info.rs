//! What a format says about an image.

use crate::text::Json;

/// Facts that commands print; none of them needs guest data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DiskInfo {
    /// The format's name, such as `qcow2`.
    pub(crate) format: &'static str,
    /// Bytes of a cluster, where the format has clusters.
    pub(crate) cluster_size: Option<u64>,
    /// Bytes of what is allocated at least, if the format has clusters.
    pub(crate) subcluster_size: Option<u64>,
    /// Byte of the address space above the disk where VM states begin, where there is one.
    pub(crate) vm_state_offset: Option<u64>,
    /// The format's own facts: an object in the order in which it is printed.
    pub(crate) specific: Option<Json>,
    /// The name of the image as it was given.
    pub(crate) filename: String,
}
