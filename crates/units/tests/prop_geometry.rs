//! Split and join of addresses are inverse for every geometry.
#![forbid(unsafe_code)]

use holstein_units::{ClusterBits, Geometry, GuestOffset, GuestRange, HostOffset};
use proptest::prelude::*;

fn geometries() -> impl Strategy<Value = Geometry> {
    (9_u32..=21, any::<bool>()).prop_map(|(bits, extended)| {
        let bits = ClusterBits::new(bits).expect("the strategy stays in range");
        Geometry::new(bits, extended && bits.get() >= 14)
    })
}

proptest! {
    #[test]
    fn a_guest_offset_is_its_three_parts(g in geometries(), at in 0_u64..1 << 62) {
        let offset = GuestOffset::new(at);
        let back = g.l1_index(offset) * g.bytes_per_l2()
            + g.l2_index(offset) * g.cluster_size()
            + g.in_cluster(offset);
        prop_assert_eq!(back, at);
        let start = g.guest_offset(g.guest_cluster(offset));
        prop_assert_eq!(offset - start, g.in_cluster(offset));
    }

    #[test]
    fn a_host_offset_is_its_cluster_and_the_rest(g in geometries(), at in 0_u64..1 << 62) {
        let offset = HostOffset::new(at);
        let start = g.host_offset(g.host_cluster(offset));
        prop_assert_eq!(start + g.in_host_cluster(offset), offset);
        prop_assert!(g.is_aligned(start));
    }

    #[test]
    fn the_parts_of_a_range_make_the_range(start in 0_u64..1 << 60, len in 0_u64..1 << 40, n in 0_u64..1 << 41) {
        let range = GuestRange::new(GuestOffset::new(start), len).expect("far from 63 bits");
        let (a, b) = range.split_at(n);
        prop_assert_eq!(a.len + b.len, range.len);
        prop_assert_eq!(a.end(), b.start);
        prop_assert_eq!(b.end(), range.end());
        prop_assert!(!a.overlaps(b));
    }

    #[test]
    fn clusters_cover_the_bytes_and_no_more(g in geometries(), bytes in any::<u64>()) {
        let n = u128::from(g.clusters_for(bytes)) * u128::from(g.cluster_size());
        prop_assert!(n >= u128::from(bytes));
        prop_assert!(n < u128::from(bytes) + u128::from(g.cluster_size()));
    }
}
