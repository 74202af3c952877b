//! What one L2 entry says, of either kind.

use holstein_format::{ClusterState, EntryError, EntryRules, ExtendedState};
use holstein_format::{SubclusterBitmap, SubclusterKind};
use holstein_units::{Geometry, HostOffset, SUBCLUSTERS};

use crate::{Extent, ExtentKind};

/// The state of a guest cluster: of all of it, or, with extended L2 entries, of each subcluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterEntry {
    /// Where the cluster is. With extended entries `Data` means that there is host space, and `Zero`
    /// does not occur.
    pub cluster: ClusterState,
    /// With extended entries: what each subcluster reads as.
    pub bitmap: Option<SubclusterBitmap>,
}

impl ClusterEntry {
    /// Reads the entry whose words are `raw` and, with extended entries, `bits()`.
    ///
    /// # Errors
    /// As for [`ClusterState::decode`] and [`ExtendedState::decode`].
    #[inline]
    pub(crate) fn decode(
        raw: u64,
        bits: impl FnOnce() -> u64,
        rules: &EntryRules,
    ) -> Result<Self, EntryError> {
        if rules.geometry.extended_l2() {
            let ExtendedState { cluster, bitmap } = ExtendedState::decode(raw, bits(), rules)?;
            Ok(Self { cluster, bitmap: Some(bitmap) })
        } else {
            Ok(Self { cluster: ClusterState::decode(raw, rules)?, bitmap: None })
        }
    }

    /// What the cluster's bytes from `skip` on are, as far as they are alike and at most `len`.
    ///
    /// * `skip`: below the cluster size; `len`: at least 1, not past the end of the cluster.
    #[inline]
    #[must_use]
    pub fn extent(&self, geometry: Geometry, skip: u64, len: u64) -> Extent {
        let whole = |kind| Extent { len, kind };
        let at = match (self.cluster, self.bitmap) {
            (ClusterState::Compressed(run), _) => {
                return whole(ExtentKind::Compressed { run, skip });
            }
            (ClusterState::Unallocated, None) => {
                return whole(ExtentKind::Unallocated { at: None });
            }
            (ClusterState::Zero { at, .. }, _) => {
                return whole(ExtentKind::Zero { at: at.map(|at| at + skip) });
            }
            (ClusterState::Data { at, .. }, None) => {
                return whole(ExtentKind::Data { at: at + skip });
            }
            (ClusterState::Unallocated, Some(_)) => None,
            (ClusterState::Data { at, .. }, Some(_)) => Some(at + skip),
        };
        let bitmap = self.bitmap.unwrap_or_default();
        let (first, size) = (subcluster(geometry, skip), geometry.subcluster_size());
        let end = u64::from(first + bitmap.run(first)) * size;
        let kind = match (bitmap.kind(first), at) {
            (SubclusterKind::Data, Some(at)) => ExtentKind::Data { at },
            // Data without host space is in no valid entry.
            (SubclusterKind::Unallocated | SubclusterKind::Data, at) => {
                ExtentKind::Unallocated { at }
            }
            (SubclusterKind::Zero, at) => ExtentKind::Zero { at },
        };
        Extent { len: len.min(end - skip), kind }
    }

    /// Whether the bytes `from..to` of the cluster have data, all of them, in `cluster`'s host
    /// cluster; a zero cluster with space has not.
    pub(crate) fn is_data(&self, geometry: Geometry, from: u64, to: u64) -> bool {
        match (self.cluster, self.bitmap) {
            (ClusterState::Data { .. }, None) => true,
            (ClusterState::Data { .. }, Some(bitmap)) => {
                let mask = SubclusterBitmap::mask(&subclusters(geometry, from, to));
                bitmap.data() & mask == mask
            }
            _ => false,
        }
    }

    /// Whether any of the bytes `from..to` of the cluster has data, compressed or not.
    pub(crate) fn has_data(&self, geometry: Geometry, from: u64, to: u64) -> bool {
        match (self.cluster, self.bitmap) {
            (ClusterState::Compressed(_), _) | (ClusterState::Data { .. }, None) => true,
            (ClusterState::Data { .. }, Some(bitmap)) => {
                bitmap.data() & SubclusterBitmap::mask(&subclusters(geometry, from, to)) != 0
            }
            _ => false,
        }
    }

    /// Where copying must begin if bytes from `skip` on are written: in the old host cluster, if
    /// `kept`, or else in a new one.
    pub(crate) fn copy_from(&self, geometry: Geometry, skip: u64, kept: bool) -> u64 {
        let Some(bitmap) = self.bitmap else { return 0 };
        let (size, touched) = (geometry.subcluster_size(), subcluster(geometry, skip));
        let start = u64::from(touched) * size;
        match self.cluster {
            ClusterState::Compressed(_) => 0,
            _ if kept && bitmap.kind(touched) == SubclusterKind::Data => skip,
            ClusterState::Data { .. } if !kept => {
                start.min(u64::from(bitmap.data().trailing_zeros()) * size)
            }
            _ => start,
        }
    }

    /// Where copying must end if bytes up to `end`, at least 1, are written: see
    /// [`Self::copy_from`].
    pub(crate) fn copy_to(&self, geometry: Geometry, end: u64, kept: bool) -> u64 {
        let cluster = geometry.cluster_size();
        let Some(bitmap) = self.bitmap else { return cluster };
        let (size, touched) = (geometry.subcluster_size(), subcluster(geometry, end - 1));
        let stop = u64::from(touched + 1) * size;
        match self.cluster {
            ClusterState::Compressed(_) => cluster,
            _ if kept && bitmap.kind(touched) == SubclusterKind::Data => end,
            ClusterState::Data { .. } if !kept => {
                stop.max(u64::from(u32::BITS - bitmap.data().leading_zeros()) * size)
            }
            _ => stop,
        }
    }

    /// The bitmap after the bytes `from..to` of the cluster were written, in a new host cluster or
    /// the old one.
    pub(crate) fn bitmap_after(&self, geometry: Geometry, from: u64, to: u64) -> SubclusterBitmap {
        self.kept_bitmap().with_data(&subclusters(geometry, from, to))
    }

    /// The bitmap that a new host cluster begins with.
    pub(crate) fn kept_bitmap(&self) -> SubclusterBitmap {
        match self.cluster {
            // What is there has no meaning.
            ClusterState::Compressed(_) => SubclusterBitmap::EMPTY,
            _ => self.bitmap.unwrap_or_default(),
        }
    }

    /// The host cluster that it is the only owner of, as its flag says.
    pub(crate) fn exclusive_at(&self) -> Option<HostOffset> {
        use holstein_format::Sharing::Exclusive;
        match self.cluster {
            ClusterState::Data { at, sharing: Exclusive }
            | ClusterState::Zero { at: Some(at), sharing: Exclusive } => Some(at),
            _ => None,
        }
    }
}

/// The subcluster of a byte of a cluster.
#[inline]
fn subcluster(geometry: Geometry, skip: u64) -> u32 {
    // Below 32: the byte is within the cluster.
    u32::try_from(skip / geometry.subcluster_size() % SUBCLUSTERS).unwrap_or(0)
}

/// The subclusters that the bytes `from..to` of a cluster touch; there is at least one byte.
pub(crate) fn subclusters(geometry: Geometry, from: u64, to: u64) -> std::ops::Range<u32> {
    subcluster(geometry, from)..subcluster(geometry, to - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use holstein_format::{Sharing, Version};
    use holstein_units::ClusterBits;

    const AT: HostOffset = HostOffset::new(0x5_0000);

    fn rules() -> EntryRules {
        let bits = ClusterBits::new(16).expect("16 is a cluster size");
        EntryRules { geometry: Geometry::new(bits, true), version: Version::V3, data_file: false }
    }

    fn entry(cluster: ClusterState, data: &[u32], zero: &[u32]) -> ClusterEntry {
        let bits = |list: &[u32]| list.iter().fold(0_u64, |bits, n| bits | 1 << n);
        let bitmap = SubclusterBitmap::new(bits(data) | bits(zero) << 32);
        ClusterEntry { cluster, bitmap: Some(bitmap) }
    }

    fn data(sharing: Sharing) -> ClusterState {
        ClusterState::Data { at: AT, sharing }
    }

    /// The table of "Copy-on-write" in the format's rules, with subclusters of 2 KiB.
    #[test]
    fn what_is_copied_follows_the_table() {
        let geometry = rules().geometry;
        let (from, to) = (6 * 2048 + 100, 6 * 2048 + 200);
        let part = |entry: ClusterEntry, kept| {
            (entry.copy_from(geometry, from, kept), entry.copy_to(geometry, to, kept))
        };
        let touched = (6 * 2048, 7 * 2048);
        let new = entry(ClusterState::Unallocated, &[], &[5]);
        assert_eq!(part(new, false), touched);
        let shared = entry(data(Sharing::Shared), &[2, 10], &[5]);
        assert_eq!(part(shared, false), (2 * 2048, 11 * 2048));
        assert_eq!(shared.bitmap_after(geometry, 2 * 2048, 11 * 2048).bits(), 0x7fc);
        let shared = entry(data(Sharing::Shared), &[20], &[]);
        assert_eq!(part(shared, false), (6 * 2048, 21 * 2048));
        let shared = entry(data(Sharing::Shared), &[], &[1]);
        assert_eq!(part(shared, false), touched);
        let own = entry(data(Sharing::Exclusive), &[2, 10], &[]);
        assert_eq!(part(own, true), touched);
        let own = entry(data(Sharing::Exclusive), &[6], &[]);
        assert_eq!(part(own, true), (from, to));
    }

    #[test]
    fn extents_are_runs_of_subclusters() {
        let geometry = rules().geometry;
        let entry = entry(data(Sharing::Exclusive), &[0, 1], &[2, 3]);
        let extent = |skip| entry.extent(geometry, skip, 65536 - skip);
        assert_eq!(extent(100).len, 4096 - 100);
        assert_eq!(extent(100).kind, ExtentKind::Data { at: AT + 100 });
        assert_eq!(extent(4096).len, 4096);
        assert_eq!(extent(4096).kind, ExtentKind::Zero { at: Some(AT + 4096) });
        assert_eq!(extent(9000).len, 65536 - 9000);
        assert_eq!(extent(9000).kind, ExtentKind::Unallocated { at: Some(AT + 9000) });
        assert_eq!(entry.extent(geometry, 10, 5).len, 5);
    }
}
