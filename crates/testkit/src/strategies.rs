//! Images to try things on.

use std::ops::Range;

use holstein_units::{ClusterBits, Geometry, MAX_CLUSTER_BITS, MIN_CLUSTER_BITS};
use proptest::prelude::*;

/// Any cluster size that the format has; shrinks towards 512 bytes.
pub fn any_cluster_bits() -> impl Strategy<Value = ClusterBits> {
    cluster_bits(MIN_CLUSTER_BITS..MAX_CLUSTER_BITS + 1)
}

/// Any geometry that the format has: extended L2 entries only from clusters of 16 KiB on.
pub fn any_geometry() -> impl Strategy<Value = Geometry> {
    geometry(any_cluster_bits())
}

/// A geometry with clusters of 512 bytes to 4 KiB, where few bytes reach many tables.
pub fn small_geometry() -> impl Strategy<Value = Geometry> {
    geometry(cluster_bits(MIN_CLUSTER_BITS..13))
}

/// A range on a disk of `size` bytes, at least 1 byte and at most `longest`, as start and length.
/// Most of them begin or end at a multiple of `edge`, or next to one.
///
/// # Panics
/// If one of the three is 0.
pub fn any_range_in(size: u64, longest: u64, edge: u64) -> impl Strategy<Value = (u64, u64)> {
    assert!(size > 0 && longest > 0 && edge > 0, "there is no range");
    let near = move |at: u64, nudge: u64| match nudge {
        0 => at / edge * edge,
        1 => (at / edge * edge).saturating_sub(1),
        2 => at / edge * edge + 1,
        _ => at,
    };
    (0..size, 0..4_u64, 0..=longest, 0..4_u64).prop_map(move |(start, nudge, len, end_nudge)| {
        let start = near(start, nudge).min(size - 1);
        let most = longest.min(size - start);
        let end = near(start.saturating_add(len), end_nudge);
        (start, end.saturating_sub(start).clamp(1, most))
    })
}

fn cluster_bits(bits: Range<u32>) -> impl Strategy<Value = ClusterBits> {
    bits.prop_map(|bits| ClusterBits::new(bits).expect("within 9..=21"))
}

fn geometry(bits: impl Strategy<Value = ClusterBits>) -> impl Strategy<Value = Geometry> {
    (bits, any::<bool>())
        .prop_map(|(bits, extended)| Geometry::new(bits, extended && bits.get() >= 14))
}
