//! What QEMU is known to get wrong: there it is no judge of ours.

use holstein::format::Version;

use super::{Change, DataRow, Row};
use crate::Op;

/// What they say where a count has no room.
const OVERFLOW: &str = "Invalid argument";
/// What they say where refcounts are to become too narrow for one of them.
const TOO_NARROW: &str = "Cannot decrease refcount entry width to ";

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
    /// A shrunk or committed image keeps empty tables, which counts of one bit cannot share with a
    /// snapshot, and those of two bits not with three.
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
    /// A downgrade puts data over a zero cluster with a place that a snapshot shares, in place, and
    /// leaves it marked as not shared.
    SharedZerosOverwritten,
    /// Applying a snapshot raises counts before it lowers those of the disk, and is refused where
    /// narrow counts have no room for both for a moment.
    ApplyNeedsRoom,
    /// Where applying a snapshot is refused for that, the disk has the snapshot's size afterwards.
    SizeOfRefusedSnapshot,
    /// `rebase -c` of an image with a data file is refused even where nothing but zeros has to be written.
    ZerosBesideDataFile,
    /// A downgrade of an encrypted image writes zeros in plain where a zero cluster has a place, or lies
    /// over a backing file: `qemu-io` itself reads noise there afterwards. Where zero clusters of
    /// encrypted images have a place is not told, so any zero cluster bars it.
    PlainZeros,
    /// A downgrade leaves bitmaps that are void and leak. Holstein refuses it.
    VoidBitmaps,
    /// A repair of a whole image with a bitmap and a snapshot drops the snapshot: it is not listed
    /// afterwards, and its clusters were freed.
    RepairDropsSnapshots,
    /// What is compressed in an encrypted image is stored in plain. Holstein refuses it.
    PlainStreams,
    /// An image with extended L2 entries over a longer backing file cannot grow where its last
    /// cluster is compressed and not full.
    CompressedEndCannotGrow,
}

/// What an image of theirs is, where that decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Bytes of its disk.
    pub size: u64,
    /// Bytes of the disk below.
    pub below: u64,
    /// It has bitmaps.
    pub bitmaps: bool,
    /// It has snapshots.
    pub snapshots: bool,
    /// The disk of a snapshot has another size.
    pub sizes_differ: bool,
    /// The disk or a snapshot has zero clusters.
    pub zeros: bool,
    /// The disk or a snapshot has zero clusters with a place of their own.
    pub placed_zeros: bool,
    /// The last cluster of the disk is compressed.
    pub compressed_end: bool,
}

impl Known {
    /// The known fault for which they are not asked to do `op`.
    #[must_use]
    pub fn bars(row: Row, op: Op, facts: Facts) -> Option<Self> {
        let over_longer = matches!(op, Op::Grow { .. }) && facts.below > facts.size;
        let partial = !facts.size.is_multiple_of(row.cluster);
        if op == Op::Repair && facts.bitmaps && facts.snapshots {
            return Some(Self::RepairDropsSnapshots);
        }
        match row.version {
            Version::V2 if over_longer => Some(Self::GrowOverLongerBacking),
            Version::V3 if over_longer && row.extended && partial && facts.compressed_end => {
                Some(Self::CompressedEndCannotGrow)
            }
            _ => None,
        }
    }

    /// The known fault for which they are not asked to make a change of a `row`. Ours is made of a copy, and judged alone.
    #[must_use]
    pub fn bars_change(row: Row, change: Change, facts: Facts) -> Option<Self> {
        match change {
            Change::Rebase { to: Some(_), .. }
                if row.version == Version::V2 && row.backing.is_none() =>
            {
                Some(Self::ZerosLostInRebase)
            }
            Change::Rebase { compress: true, .. } if row.extended => {
                Some(Self::RebaseOfPartialClusters)
            }
            Change::Rebase { compress: true, .. } if row.encryption.is_some() => {
                Some(Self::PlainStreams)
            }
            // Both refuse it for other reasons first.
            Change::Version(Version::V2)
                if row.refcount_bits != 16 || row.extended || row.data.is_some() =>
            {
                None
            }
            Change::Version(Version::V2) if facts.bitmaps => Some(Self::VoidBitmaps),
            Change::Version(Version::V2) if row.encryption.is_some() && facts.zeros => {
                Some(Self::PlainZeros)
            }
            Change::Version(Version::V2) if row.zstd && facts.snapshots => {
                Some(Self::StreamsOfSnapshotsLost)
            }
            Change::Version(Version::V2)
                if row.version == Version::V3 && facts.snapshots && facts.placed_zeros =>
            {
                Some(Self::SharedZerosOverwritten)
            }
            _ => None,
        }
    }

    /// Whether Holstein may refuse a change of a `row` that is barred for this, with what it `said`:
    /// streams of snapshots, and snapshots of disks of other sizes, have no place in version 2; beside
    /// a data file nothing is compressed.
    #[must_use]
    pub fn may_be_refused(self, row: Row, change: Change, facts: Facts, said: &str) -> bool {
        let mut texts = Vec::new();
        let downgrade = [
            Self::StreamsOfSnapshotsLost,
            Self::SharedZerosOverwritten,
            Self::PlainZeros,
            Self::VoidBitmaps,
        ];
        if downgrade.contains(&self) && facts.sizes_differ {
            texts.push("version 2 cannot tell the size of a snapshot's disk");
            texts.push("Internal snapshots prevent downgrade of image");
        }
        if let (Self::EmptyTablesKept, Change::Width(_)) = (self, change) {
            texts.push(TOO_NARROW);
            texts.push("has a refcount of");
        }
        if self == Self::VoidBitmaps {
            texts.push("version 2 has no bitmaps");
        }
        if self == Self::StreamsOfSnapshotsLost {
            texts.push("existing compressed clusters");
        }
        if let Change::Rebase { to, compress } = change {
            if compress && row.encryption.is_some() {
                texts.push("compressed clusters of an encrypted disk would not be encrypted");
            }
            if compress && row.data.is_some() {
                texts.push("an image with an external data file has no compressed clusters");
            }
            if to.is_some() && row.data == Some(DataRow::Raw) {
                texts.push("a raw data file and a backing file exclude each other");
                if said.contains("Could not change the backing file to ") {
                    texts.push(OVERFLOW);
                }
            }
        }
        texts.iter().any(|text| said.contains(text))
    }

    /// The known fault for which they refuse what Holstein does, with what they `said`.
    #[must_use]
    pub fn refuses_alone(row: Row, op: Op, said: &str) -> Option<Self> {
        let narrow = row.refcount_bits <= 2 && matches!(op, Op::Snapshot(_));
        (narrow && said.contains("Could not create snapshot") && said.contains(OVERFLOW))
            .then_some(Self::EmptyTablesKept)
    }

    /// The known fault for which they refuse a change, with what they `said`, that Holstein may make. Ours is
    /// made of a copy then, and judged alone.
    #[must_use]
    pub fn refuses_change(row: Row, change: Change, said: &str) -> Option<Self> {
        match change {
            Change::Width(1 | 2) if said.contains(TOO_NARROW) => Some(Self::EmptyTablesKept),
            Change::Rebase { compress: true, .. }
                if row.data.is_some() && said.contains("Operation not supported") =>
            {
                Some(Self::ZerosBesideDataFile)
            }
            _ => None,
        }
    }

    /// The known fault that a request which both refused, they with what they `said`, changes the size of their
    /// disk. Their image becomes a copy of ours.
    #[must_use]
    pub fn resizes(row: Row, op: Op, said: &str) -> Option<Self> {
        Self::refuses_to_apply(row, op, said).map(|_| Self::SizeOfRefusedSnapshot)
    }

    /// The known fault for which they refuse a snapshot to be applied, with what they `said`. Their image
    /// becomes a copy of ours.
    #[must_use]
    pub fn refuses_to_apply(row: Row, op: Op, said: &str) -> Option<Self> {
        let narrow = row.refcount_bits <= 8 && matches!(op, Op::Apply(_));
        (narrow && said.contains("Failed to load snapshot: ") && said.contains(OVERFLOW))
            .then_some(Self::ApplyNeedsRoom)
    }

    /// The known fault of an image that they wrote, for which Holstein refuses what they do with
    /// another one.
    #[must_use]
    pub fn refused_alone(row: Row, op: Op, written_by_them: bool) -> Option<Self> {
        let narrow = row.refcount_bits <= 2 && matches!(op, Op::Snapshot(_));
        (narrow && written_by_them).then_some(Self::EmptyTablesKept)
    }

    /// The known fault that a request which they refused, with what they `said`, leaves leaks.
    #[must_use]
    pub fn leaves_leaks(row: Row, op: Op, said: &str) -> Option<Self> {
        let asked = matches!(op, Op::Snapshot(_) | Op::Apply(_)) && row.refcount_bits <= 8;
        (asked && said.contains(OVERFLOW)).then_some(Self::LeaksAfterRefusal)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::Lower;

    #[test]
    fn refusals_are_excused_for_the_right_words_alone() {
        let row = |name: &str| Row::by_name(name).expect("a row");
        let create = "qemu-img: Could not create snapshot 'a': Invalid argument";
        let apply =
            "qemu-img: Could not apply snapshot 'b': Failed to load snapshot: Invalid argument";
        let bitmaps = "qemu-img: Could not apply snapshot 's': Device has active dirty bitmaps";
        let (narrow, wide) = (row("v3-512-1"), row("v3-512-16"));
        let (make, go) = (Op::Snapshot(1), Op::Apply(1));
        assert!(Known::refuses_alone(narrow, make, create).is_some());
        assert!(Known::refuses_alone(wide, make, create).is_none());
        assert!(Known::refuses_alone(narrow, make, "no space left").is_none());
        assert!(Known::refuses_to_apply(narrow, go, apply).is_some());
        assert!(Known::refuses_to_apply(wide, go, apply).is_none());
        assert!(Known::refuses_to_apply(narrow, go, bitmaps).is_none());
        assert!(Known::leaves_leaks(narrow, go, apply).is_some());
        assert!(Known::leaves_leaks(narrow, go, bitmaps).is_none());
        assert!(Known::leaves_leaks(wide, go, apply).is_none());
    }

    #[test]
    fn changes_are_excused_for_the_right_words_alone() {
        let row = |name: &str| Row::by_name(name).expect("a row");
        let width = "qemu-img: Cannot decrease refcount entry width to 1 bits: Cluster at offset \
                     0x1600 has a refcount of 2";
        let data = "qemu-img: Error while writing to COW image: Operation not supported";
        let (wide, beside) = (row("v3-512-16"), row("v3-2m-data-1"));
        let refuses = |row, change, said| Known::refuses_change(row, change, said).is_some();
        assert!(refuses(wide, Change::Width(1), width));
        assert!(!refuses(wide, Change::Width(4), width));
        assert!(!refuses(wide, Change::Width(1), data));
        let compressed = Change::Rebase { to: None, compress: true };
        assert!(refuses(beside, compressed, data));
        assert!(!refuses(wide, compressed, data));
        assert!(!refuses(beside, compressed, width));
        assert!(!refuses(beside, Change::Rebase { to: None, compress: false }, data));
        let facts = Facts::default();
        let kept = Known::EmptyTablesKept;
        assert!(kept.may_be_refused(wide, Change::Width(1), facts, width));
        assert!(!kept.may_be_refused(wide, Change::Lazy(true), facts, width));
        let program = "qemu-img: Internal snapshots prevent downgrade of image";
        let differ = Facts { sizes_differ: true, ..facts };
        let downgrade = Change::Version(Version::V2);
        assert!(Known::PlainZeros.may_be_refused(wide, downgrade, differ, program));
        assert!(!Known::PlainZeros.may_be_refused(wide, downgrade, facts, program));
    }

    #[test]
    fn ours_may_refuse_what_is_barred_with_the_right_words_alone() {
        let row = Row::by_name("v3-16k-plain-extended").expect("a row");
        let facts = Facts::default();
        let change = Change::Version(Version::V2);
        let differ = Facts { sizes_differ: true, ..facts };
        let size = "version 2 cannot tell the size of a snapshot's disk or of its VM state";
        for known in [Known::StreamsOfSnapshotsLost, Known::SharedZerosOverwritten] {
            assert!(known.may_be_refused(row, change, differ, size));
            assert!(!known.may_be_refused(row, change, facts, size));
            assert!(!known.may_be_refused(row, change, differ, "no space left"));
        }
        let raw = "a raw data file and a backing file exclude each other";
        let change = Change::Rebase { to: Some(Lower::Raw), compress: true };
        let partial = Known::RebaseOfPartialClusters;
        assert!(partial.may_be_refused(row, change, facts, raw));
        let mapped = Row { data: Some(DataRow::Mapped), ..row };
        assert!(!partial.may_be_refused(mapped, change, facts, raw));
        let change = Change::Rebase { to: None, compress: true };
        assert!(!partial.may_be_refused(row, change, facts, raw));
    }
}
