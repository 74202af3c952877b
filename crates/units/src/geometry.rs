//! How an image divides guest and host addresses.

use crate::{GuestCluster, GuestOffset, HostCluster, HostOffset};

/// The smallest cluster is 2^9 = 512 bytes.
pub const MIN_CLUSTER_BITS: u32 = 9;
/// The largest cluster is 2^21 bytes = 2 MiB.
pub const MAX_CLUSTER_BITS: u32 = 21;
/// Subclusters in a cluster of an image with extended L2 entries.
pub const SUBCLUSTERS: u64 = 32;

/// The binary logarithm of the cluster size: 9..=21.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterBits(u8);

impl ClusterBits {
    /// `None` outside 9..=21.
    #[must_use]
    pub const fn new(bits: u32) -> Option<Self> {
        if bits < MIN_CLUSTER_BITS || bits > MAX_CLUSTER_BITS {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked to be at most 21 above")]
        Some(Self(bits as u8))
    }

    /// The bits of a cluster of `size` bytes; `None` unless a power of two within 512 B..=2 MiB.
    #[must_use]
    pub const fn from_size(size: u64) -> Option<Self> {
        if size.is_power_of_two() { Self::new(size.trailing_zeros()) } else { None }
    }

    /// 9..=21.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// The cluster size in bytes.
    #[must_use]
    pub const fn size(self) -> u64 {
        1 << self.0
    }
}

/// The numbers that turn guest offsets into table indices and host offsets into cluster indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    cluster_bits: ClusterBits,
    extended_l2: bool,
}

impl Geometry {
    /// Clusters of `cluster_bits`; L2 entries of 16 bytes if `extended_l2`, else of 8.
    #[must_use]
    pub const fn new(cluster_bits: ClusterBits, extended_l2: bool) -> Self {
        Self { cluster_bits, extended_l2 }
    }

    /// The binary logarithm of the cluster size.
    #[must_use]
    pub const fn cluster_bits(self) -> ClusterBits {
        self.cluster_bits
    }

    /// The cluster size in bytes.
    #[must_use]
    pub const fn cluster_size(self) -> u64 {
        self.cluster_bits.size()
    }

    /// Whether L2 entries are 16 bytes and clusters have 32 subclusters.
    #[must_use]
    pub const fn extended_l2(self) -> bool {
        self.extended_l2
    }

    /// Bytes of one L2 entry: 8 or 16.
    #[must_use]
    pub const fn l2_entry_size(self) -> u64 {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// Binary logarithm of the number of entries in an L2 table.
    #[must_use]
    pub const fn l2_bits(self) -> u32 {
        self.cluster_bits.get() - if self.extended_l2 { 4 } else { 3 }
    }

    /// Entries in an L2 table, which is one cluster.
    #[must_use]
    pub const fn l2_entries(self) -> u64 {
        1 << self.l2_bits()
    }

    /// Guest bytes that one L2 table maps: at most 2^39.
    #[must_use]
    pub const fn bytes_per_l2(self) -> u64 {
        1 << (self.cluster_bits.get() + self.l2_bits())
    }

    /// The smallest part of a cluster with a state of its own, in bytes.
    #[must_use]
    pub const fn subcluster_size(self) -> u64 {
        if self.extended_l2 { self.cluster_size() / SUBCLUSTERS } else { self.cluster_size() }
    }

    /// The L1 entry that covers `at`.
    #[must_use]
    pub const fn l1_index(self, at: GuestOffset) -> u64 {
        at.get() >> (self.cluster_bits.get() + self.l2_bits())
    }

    /// The entry in its L2 table that covers `at`.
    #[must_use]
    pub const fn l2_index(self, at: GuestOffset) -> u64 {
        (at.get() >> self.cluster_bits.get()) & (self.l2_entries() - 1)
    }

    /// The byte within its cluster.
    #[must_use]
    pub const fn in_cluster(self, at: GuestOffset) -> u64 {
        at.get() & (self.cluster_size() - 1)
    }

    /// The byte within its host cluster.
    #[must_use]
    pub const fn in_host_cluster(self, at: HostOffset) -> u64 {
        at.get() & (self.cluster_size() - 1)
    }

    /// The guest cluster that holds `at`.
    #[must_use]
    pub const fn guest_cluster(self, at: GuestOffset) -> GuestCluster {
        GuestCluster::new(at.get() >> self.cluster_bits.get())
    }

    /// The first byte of a guest cluster.
    #[must_use]
    pub const fn guest_offset(self, cluster: GuestCluster) -> GuestOffset {
        GuestOffset::new(cluster.get() << self.cluster_bits.get())
    }

    /// The host cluster that holds `at`.
    #[must_use]
    pub const fn host_cluster(self, at: HostOffset) -> HostCluster {
        HostCluster::new(at.get() >> self.cluster_bits.get())
    }

    /// The first byte of a host cluster.
    #[must_use]
    pub const fn host_offset(self, cluster: HostCluster) -> HostOffset {
        HostOffset::new(cluster.get() << self.cluster_bits.get())
    }

    /// Whether `at` is the first byte of a host cluster.
    #[must_use]
    pub const fn is_aligned(self, at: HostOffset) -> bool {
        self.in_host_cluster(at) == 0
    }

    /// Clusters that hold `bytes` bytes, rounded up; right for all 64-bit numbers.
    #[must_use]
    pub const fn clusters_for(self, bytes: u64) -> u64 {
        div_ceil_pow2(bytes, self.cluster_bits.get())
    }

    /// L1 entries that a disk of `size` bytes needs.
    #[must_use]
    pub const fn l1_entries_for(self, size: u64) -> u64 {
        div_ceil_pow2(size, self.cluster_bits.get() + self.l2_bits())
    }

    /// Where the VM state of a disk of `size` bytes starts: the first byte that no L1 entry of the
    /// disk maps. `None` if that is past 64 bits.
    #[must_use]
    pub const fn vm_state_offset(self, size: u64) -> Option<GuestOffset> {
        match self.l1_entries_for(size).checked_mul(self.bytes_per_l2()) {
            Some(at) => Some(GuestOffset::new(at)),
            None => None,
        }
    }
}

/// `ceil(n / 2^bits)` without the overflow of `n + 2^bits - 1`.
const fn div_ceil_pow2(n: u64, bits: u32) -> u64 {
    (n >> bits) + if n & ((1 << bits) - 1) != 0 { 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(bits: u32, extended: bool) -> Geometry {
        Geometry::new(ClusterBits::new(bits).expect("test bits are in range"), extended)
    }

    /// Rows of the lookup table in the format's description.
    #[test]
    fn lookups_match_the_published_rows() {
        for (bits, ext, at, l1, l2, inside) in [
            (9, false, 0x0123_4567_u64, 582, 34, 0x167),
            (12, false, 0x1_2345_6789, 2330, 86, 0x789),
            (16, false, 0x1_2345_6789, 9, 837, 0x6789),
            (16, true, 0x1_2345_6789, 18, 837, 0x6789),
            (21, false, 0x123_4567_8901, 2, 72_235, 0x7_8901),
        ] {
            let g = geometry(bits, ext);
            let at = GuestOffset::new(at);
            assert_eq!((g.l1_index(at), g.l2_index(at), g.in_cluster(at)), (l1, l2, inside));
        }
    }

    #[test]
    fn vm_state_starts_at_the_first_unused_l1_entry() {
        let g = geometry(16, false);
        assert_eq!(g.vm_state_offset(8 << 20), Some(GuestOffset::new(0x2000_0000)));
        assert_eq!(g.vm_state_offset(1 << 40), Some(GuestOffset::new(0x100_0000_0000)));
        assert_eq!(g.vm_state_offset((1 << 40) + 512), Some(GuestOffset::new(0x100_2000_0000)));
        let g = geometry(12, false);
        assert_eq!(g.vm_state_offset(10 << 30), Some(GuestOffset::new(0x2_8000_0000)));
    }

    #[test]
    fn counts_near_the_end_of_64_bits_do_not_wrap() {
        for bits in MIN_CLUSTER_BITS..=MAX_CLUSTER_BITS {
            let g = geometry(bits, false);
            assert_eq!(g.clusters_for(u64::MAX), 1 << (64 - bits));
            assert_eq!(g.clusters_for(0), 0);
            assert_eq!(g.clusters_for(1), 1);
            assert!(g.l1_entries_for(u64::MAX) > 0);
        }
    }

    #[test]
    fn cluster_bits_outside_the_format_do_not_exist() {
        assert_eq!(ClusterBits::new(8), None);
        assert_eq!(ClusterBits::new(22), None);
        assert_eq!(ClusterBits::new(u32::MAX), None);
        assert_eq!(ClusterBits::from_size(65_536).map(ClusterBits::get), Some(16));
        assert_eq!(ClusterBits::from_size(65_537), None);
    }
}
