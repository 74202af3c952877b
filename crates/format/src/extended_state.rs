//! L2 entries of 16 bytes, with a bitmap of subclusters.

use crate::cluster_state::{ClusterState, EntryRules};
use crate::entry::EntryError;
use core::ops::Range;

/// What a subcluster reads as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubclusterKind {
    /// The backing file, or zeros.
    Unallocated,
    /// Zeros; the backing file is hidden.
    Zero,
    /// The bytes in the host cluster.
    Data,
}

/// The second half of an extended entry: bits 0..=31 say which subclusters have data, bits 32..=63
/// which read as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SubclusterBitmap(u64);

impl SubclusterBitmap {
    /// Subclusters in a cluster.
    pub const COUNT: u32 = 32;
    /// All subclusters unallocated.
    pub const EMPTY: Self = Self(0);
    /// All subclusters have data.
    pub const ALL_DATA: Self = Self(0x0000_0000_ffff_ffff);
    /// All subclusters read as zeros.
    pub const ALL_ZERO: Self = Self(0xffff_ffff_0000_0000);

    /// The bitmap with these bits.
    #[inline]
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// All 64 bits.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Bit s: subcluster s has data.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub const fn data(self) -> u32 {
        self.0 as u32
    }

    /// Bit s: subcluster s reads as zeros.
    #[inline]
    #[must_use]
    pub const fn zero(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Bits of the subclusters in `range`; ends past 32 count as 32.
    #[inline]
    #[must_use]
    pub const fn mask(range: &Range<u32>) -> u32 {
        Self::below(range.end) & !Self::below(range.start)
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are set")]
    const fn below(n: u32) -> u32 {
        if n >= 32 { u32::MAX } else { ((1_u64 << n) - 1) as u32 }
    }

    /// Marks the subclusters as having data.
    #[inline]
    #[must_use]
    pub const fn with_data(self, range: &Range<u32>) -> Self {
        let mask = Self::mask(range) as u64;
        Self((self.0 | mask) & !(mask << 32))
    }

    /// Marks the subclusters as reading zeros.
    #[inline]
    #[must_use]
    pub const fn with_zero(self, range: &Range<u32>) -> Self {
        let mask = Self::mask(range) as u64;
        Self((self.0 | mask << 32) & !mask)
    }

    /// Marks the subclusters as unallocated.
    #[inline]
    #[must_use]
    pub const fn without(self, range: &Range<u32>) -> Self {
        let mask = Self::mask(range) as u64;
        Self(self.0 & !(mask | mask << 32))
    }

    /// What subcluster `index` (0..=31) reads as, in a valid bitmap.
    #[inline]
    #[must_use]
    pub const fn kind(self, index: u32) -> SubclusterKind {
        let bit = index % Self::COUNT;
        if self.data() >> bit & 1 != 0 {
            SubclusterKind::Data
        } else if self.zero() >> bit & 1 != 0 {
            SubclusterKind::Zero
        } else {
            SubclusterKind::Unallocated
        }
    }

    /// How many subclusters from `index` (0..=31) on are of the same kind as that one: 1..=32.
    #[inline]
    #[must_use]
    pub const fn run(self, index: u32) -> u32 {
        let bit = index % Self::COUNT;
        let same = match self.kind(bit) {
            SubclusterKind::Data => self.data(),
            SubclusterKind::Zero => self.zero(),
            SubclusterKind::Unallocated => !(self.data() | self.zero()),
        };
        let run = (same >> bit).trailing_ones();
        if run > Self::COUNT - bit { Self::COUNT - bit } else { run }
    }

    /// Whether the bitmap fits a cluster that has host space, or has none. Looks at all of it.
    #[inline]
    #[must_use]
    pub const fn is_valid(self, host_space: bool) -> bool {
        if host_space { self.data() & self.zero() == 0 } else { self.data() == 0 }
    }
}

/// A whole extended entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtendedState {
    /// `Unallocated`, `Data` (host space is there) or `Compressed`, never `Zero`.
    pub cluster: ClusterState,
    /// What each subcluster reads as; without meaning where the cluster is compressed.
    pub bitmap: SubclusterBitmap,
}

impl ExtendedState {
    /// Reads both halves, each converted from big-endian; reserved bits are ignored.
    ///
    /// The bitmap of a compressed cluster means nothing to a reader and is returned as found, so
    /// that a check can report one that is not empty.
    ///
    /// # Errors
    /// As [`ClusterState::decode`], and [`EntryError::InvalidBitmap`] where any subcluster, not
    /// only one of interest, is both allocated and zero, or is allocated in no host cluster.
    #[inline]
    pub const fn decode(raw: u64, bitmap: u64, rules: &EntryRules) -> Result<Self, EntryError> {
        let cluster = match ClusterState::decode(raw, rules) {
            Ok(cluster) => cluster,
            Err(error) => return Err(error),
        };
        let map = SubclusterBitmap::new(bitmap);
        let valid = match cluster {
            ClusterState::Data { .. } => map.is_valid(true),
            ClusterState::Compressed(_) => true,
            ClusterState::Unallocated | ClusterState::Zero { .. } => map.is_valid(false),
        };
        if valid {
            Ok(Self { cluster, bitmap: map })
        } else {
            Err(EntryError::InvalidBitmap { raw, bitmap })
        }
    }

    /// Both halves as numbers, to be stored big-endian; `None` for a state that cannot be stored,
    /// a compressed one with a bitmap among them.
    #[inline]
    #[must_use]
    pub const fn encode(self, rules: &EntryRules) -> Option<(u64, u64)> {
        let valid = match self.cluster {
            ClusterState::Data { .. } => self.bitmap.is_valid(true),
            ClusterState::Compressed(_) => self.bitmap.bits() == 0,
            ClusterState::Unallocated => self.bitmap.is_valid(false),
            ClusterState::Zero { .. } => false,
        };
        match self.cluster.encode(rules) {
            Some(raw) if valid => Some((raw, self.bitmap.bits())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{COMPRESSED, Sharing};
    use crate::version::Version;
    use holstein_units::{ClusterBits, Geometry, HostOffset};

    fn rules() -> EntryRules {
        let bits = ClusterBits::new(16).expect("16 is a cluster size");
        EntryRules { geometry: Geometry::new(bits, true), version: Version::V3, data_file: false }
    }

    /// Entries dumped from images whose subclusters were written and zeroed.
    #[test]
    fn dumped_entries_come_out_as_they_were_made() {
        let at = HostOffset::new(0x5_0000);
        let data = ClusterState::Data { at, sharing: Sharing::Exclusive };
        for (entry, cluster, bitmap) in [
            (
                (0x8000_0000_0005_0000, 0x0000_0030_0000_0002),
                data,
                SubclusterBitmap::EMPTY.with_data(&(1..2)).with_zero(&(4..6)),
            ),
            (
                (0, 0x0000_0003_0000_0000),
                ClusterState::Unallocated,
                SubclusterBitmap::EMPTY.with_zero(&(0..2)),
            ),
            (
                (0, 0xffff_ffff_0000_0000),
                ClusterState::Unallocated,
                SubclusterBitmap::EMPTY.with_zero(&(0..32)),
            ),
            (
                (0x8000_0000_0005_0000, 0x0000_0000_ffff_ffff),
                data,
                SubclusterBitmap::EMPTY.with_data(&(0..32)),
            ),
        ] {
            let state = ExtendedState { cluster, bitmap };
            assert_eq!(ExtendedState::decode(entry.0, entry.1, &rules()), Ok(state));
            assert_eq!(state.encode(&rules()), Some(entry));
        }
    }

    #[test]
    fn a_conflict_anywhere_makes_the_entry_invalid() {
        for (raw, bitmap, valid) in [
            (0x8000_0000_0005_0000, 1 << 28 | 1 << 60, false),
            (0x8000_0000_0005_0000, 1 << 27 | 1 << 60, true),
            (0, 1, false),
            (0, 1 << 32, true),
            (0, 1 | 1 << 32, false),
            (COMPRESSED | 0x5_0000, 0, true),
            (COMPRESSED | 0x5_0000, u64::MAX, true),
        ] {
            let state = ExtendedState::decode(raw, bitmap, &rules());
            assert_eq!(state.is_ok(), valid, "{raw:#x} {bitmap:#x}");
        }
    }

    #[test]
    fn runs_of_one_kind_end_at_the_cluster() {
        let map = SubclusterBitmap::EMPTY.with_data(&(0..3)).with_zero(&(3..30));
        assert_eq!((map.kind(0), map.run(0)), (SubclusterKind::Data, 3));
        assert_eq!((map.kind(4), map.run(4)), (SubclusterKind::Zero, 26));
        assert_eq!((map.kind(30), map.run(30)), (SubclusterKind::Unallocated, 2));
        assert_eq!(SubclusterBitmap::ALL_DATA.run(0), 32);
        assert_eq!(map.without(&(0..32)), SubclusterBitmap::EMPTY);
        assert_eq!(SubclusterBitmap::mask(&(0..99)), u32::MAX);
    }
}
