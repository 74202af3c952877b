//! What QEMU is known to get wrong: there it is no judge of ours.

use holstein::format::Version;

use super::{Change, Row};
use crate::Op;

/// A known fault of the reference programs, version 10.0.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// Growing shows the bytes that an earlier shrink left in the last cluster.
    OldBytesAfterGrow,
    /// A version 2 image that grows below the end of its backing file shows that file's bytes in its
    /// last cluster, and cannot grow further. Holstein refuses both.
    GrowOverLongerBacking,
    /// A snapshot that is refused, since a refcount would overflow, leaves leaks, some of them under
    /// COPIED flags.
    LeaksAfterRefusal,
    /// A shrunk image keeps empty tables, which counts of one bit cannot share with a snapshot.
    EmptyTablesKept,
    /// A snapshot that is read without being applied has the size of the disk now.
    SnapshotsOfTodaysSize,
    /// With `discard-no-unref` a discard punches holes in clusters that a snapshot shares. They are
    /// asked without that option while there is a snapshot.
    DiscardThroughSnapshots,
    /// A version 2 image without a backing file that gets one by `rebase` shows it where it read as
    /// zeros.
    ZerosLostInRebase,
    /// `rebase -c` of an image with extended L2 entries fails an assertion where a cluster is
    /// partly there.
    RebaseOfPartialClusters,
    /// A downgrade looks for zstd streams in the disk alone: those of snapshots cannot be read after
    /// it. Holstein refuses them.
    StreamsOfSnapshotsLost,
}

impl Known {
    /// The known fault for which they are not asked to do `op` on a disk of `size` bytes
    /// over one of `below`.
    #[must_use]
    pub fn bars(row: Row, op: Op, size: u64, below: u64) -> Option<Self> {
        let grows = matches!(op, Op::Grow { .. });
        let barred = grows && row.version == Version::V2 && below > size;
        barred.then_some(Self::GrowOverLongerBacking)
    }

    /// The known fault for which they are not asked to make a change of a `row`, which has
    /// snapshots or not. Ours is made of a copy, and judged alone.
    #[must_use]
    pub fn bars_change(row: Row, change: Change, snapshots: bool) -> Option<Self> {
        match change {
            Change::Rebase { to: Some(_), .. }
                if row.version == Version::V2 && row.backing.is_none() =>
            {
                Some(Self::ZerosLostInRebase)
            }
            Change::Rebase { compress: true, .. } if row.extended => {
                Some(Self::RebaseOfPartialClusters)
            }
            Change::Version(Version::V2) if row.zstd && snapshots => {
                Some(Self::StreamsOfSnapshotsLost)
            }
            _ => None,
        }
    }

    /// Whether Holstein may refuse a change that is barred for this.
    #[must_use]
    pub fn may_be_refused(self) -> bool {
        self == Self::StreamsOfSnapshotsLost
    }

    /// The known fault for which they refuse what Holstein does.
    #[must_use]
    pub fn refuses_alone(row: Row, op: Op) -> Option<Self> {
        let narrow = row.refcount_bits == 1 && matches!(op, Op::Snapshot(_));
        narrow.then_some(Self::EmptyTablesKept)
    }

    /// The known fault that a refused request leaves leaks.
    #[must_use]
    pub fn leaves_leaks(op: Op) -> Option<Self> {
        matches!(op, Op::Snapshot(_) | Op::Apply(_)).then_some(Self::LeaksAfterRefusal)
    }

    /// The request that makes their image, after `op` on a disk of `size` bytes, what it should be.
    /// Ours is judged by the model before and after.
    #[must_use]
    pub fn remedy(row: Row, op: Op, size: u64) -> Option<Op> {
        let Op::Grow { by } = op else { return None };
        // Known::OldBytesAfterGrow
        let end = size.next_multiple_of(row.cluster).min(size + by);
        (end > size).then_some(Op::Zero { at: size, len: end - size, unmap: false })
    }
}
