//! Clusters whose content is something else than an L2 table.

use holstein_units::Geometry;

/// Ranges of host clusters, to be searched.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// First cluster and the cluster behind the last; sorted and disjoint once it is closed.
    ranges: Vec<(u64, u64)>,
    /// Where two structures claim the same; sorted.
    contested: Vec<(u64, u64)>,
}

impl Claims {
    /// Claims the clusters that `bytes` bytes at `at` touch.
    pub(crate) fn add(&mut self, geometry: Geometry, at: u64, bytes: u64) {
        let bits = geometry.cluster_bits().get();
        if bytes > 0 {
            self.ranges.push((at >> bits, (at.saturating_add(bytes - 1) >> bits) + 1));
        }
    }

    /// Makes the ranges fit to be searched.
    pub(crate) fn close(&mut self) {
        self.ranges.sort_unstable();
        let mut closed: Vec<(u64, u64)> = Vec::with_capacity(self.ranges.len());
        for (first, end) in self.ranges.drain(..) {
            if let Some(last) = closed.last()
                && first < last.1
            {
                self.contested.push((first, end.min(last.1)));
            }
            match closed.last_mut() {
                Some(last) if first <= last.1 => last.1 = last.1.max(end),
                _ => closed.push((first, end)),
            }
        }
        self.ranges = closed;
    }

    /// Whether any of the clusters `first..end` is claimed.
    pub(crate) fn touches(&self, first: u64, end: u64) -> bool {
        let next = self.ranges.partition_point(|range| range.1 <= first);
        self.ranges.get(next).is_some_and(|range| range.0 < end)
    }

    /// Whether something else claims a part of a structure that is claimed itself.
    pub(crate) fn is_contested(&self, geometry: Geometry, at: u64, bytes: u64) -> bool {
        let bits = geometry.cluster_bits().get();
        let end = at.saturating_add(bytes.max(1) - 1) >> bits;
        self.contested.iter().any(|range| range.0 <= end && range.1 > at >> bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holstein_units::ClusterBits;

    #[test]
    fn touching_ranges_are_joined_and_found() {
        let geometry = Geometry::new(ClusterBits::new(9).expect("a size"), false);
        let mut claims = Claims::default();
        for (at, bytes) in [(5 * 512, 512), (512, 1), (2 * 512 - 1, 2), (9 * 512, 0)] {
            claims.add(geometry, at, bytes);
        }
        claims.close();
        assert_eq!(claims.ranges, [(1, 3), (5, 6)]);
        for (first, end, expected) in
            [(0, 1, false), (0, 2, true), (2, 3, true), (3, 5, false), (4, 6, true), (6, 99, false)]
        {
            assert_eq!(claims.touches(first, end), expected, "{first}..{end}");
        }
        assert!(claims.is_contested(geometry, 512, 512));
        assert!(!claims.is_contested(geometry, 5 * 512, 512));
    }
}
