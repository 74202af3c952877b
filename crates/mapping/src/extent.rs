//! The answer to a lookup.

use holstein_format::CompressedRun;
use holstein_units::HostOffset;

use crate::Fetch;

/// What a stretch of the guest disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Shows the backing file, or zeros; `at` is the host offset of its first byte where subclusters
    /// have space that was never written.
    Unallocated {
        /// Host offset of the first byte, if the cluster is allocated.
        at: Option<HostOffset>,
    },
    /// Reads as zeros; `at` is the host offset of its first byte where space is reserved for it.
    Zero {
        /// Host offset of the first byte, if clusters are allocated.
        at: Option<HostOffset>,
    },
    /// Data, contiguous in the file from `at` on.
    Data {
        /// Host offset of the first byte.
        at: HostOffset,
    },
    /// Part of one compressed cluster.
    Compressed {
        /// Where the stream is.
        run: CompressedRun,
        /// The first byte wanted, within the decompressed cluster.
        skip: u64,
    },
}

/// Guest bytes that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How many bytes, at least 1.
    pub len: u64,
    /// What they are.
    pub kind: ExtentKind,
}

impl Extent {
    /// Joins what follows directly, if it continues this extent.
    pub(crate) fn join(&mut self, next: Extent) -> bool {
        let joins = match (self.kind, next.kind) {
            (ExtentKind::Unallocated { at: None }, ExtentKind::Unallocated { at: None })
            | (ExtentKind::Zero { at: None }, ExtentKind::Zero { at: None }) => true,
            (ExtentKind::Unallocated { at: Some(a) }, ExtentKind::Unallocated { at: Some(b) })
            | (ExtentKind::Zero { at: Some(a) }, ExtentKind::Zero { at: Some(b) })
            | (ExtentKind::Data { at: a }, ExtentKind::Data { at: b }) => {
                a.checked_add(self.len) == Some(b)
            }
            _ => false,
        };
        if joins {
            self.len += next.len;
        }
        joins
    }
}

/// An extent, or what must be fetched first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The first extent of the range.
    Extent(Extent),
    /// Fetch this with [`crate::Mapping::fetch`] and ask again.
    Wanted(Fetch),
}
