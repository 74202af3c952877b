//! How much of the disk a bit stands for.

use std::fmt;

use holstein_format::limits::{MAX_BITMAP_GRANULARITY_BITS, MIN_BITMAP_GRANULARITY_BITS};

/// The bytes of the disk that one bit stands for: a power of two from 512 to 2 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Granularity(u8);

impl Granularity {
    /// So many bytes; `None` unless a power of two from 512 to 2^31.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
        if !bytes.is_power_of_two() {
            return None;
        }
        u8::try_from(bytes.trailing_zeros()).ok().and_then(Self::from_bits)
    }

    /// 2 to the power of `bits` bytes; `None` outside 9..=31.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits < MIN_BITMAP_GRANULARITY_BITS || bits > MAX_BITMAP_GRANULARITY_BITS {
            return None;
        }
        Some(Self(bits))
    }

    /// The usual one for an image with clusters of so many bytes: a cluster, but 4 KiB at least and
    /// 64 KiB at most.
    #[must_use]
    pub fn for_clusters(cluster_size: u64) -> Self {
        let bits = cluster_size.max(1).ilog2().clamp(12, 16);
        Self(u8::try_from(bits).expect("12 to 16"))
    }

    /// Its binary logarithm: 9..=31.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.0
    }

    /// Bits that cover a disk of `size` bytes.
    #[must_use]
    pub const fn bits_for(self, size: u64) -> u64 {
        (size >> self.0) + if size & (self.bytes() - 1) != 0 { 1 } else { 0 }
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granularities_are_powers_of_two_within_the_limits() {
        for (bytes, bits) in [(512, Some(9)), (65_536, Some(16)), (1 << 31, Some(31))] {
            assert_eq!(Granularity::new(bytes).map(Granularity::bits), bits);
        }
        for bytes in [0, 1, 256, 513, 1 << 32, 1 << 63, u64::MAX] {
            assert_eq!(Granularity::new(bytes), None, "{bytes}");
        }
        let usual = [512, 4096, 8192, 65_536, 2 << 20].map(Granularity::for_clusters);
        assert_eq!(usual.map(Granularity::bits), [12, 12, 13, 16, 16]);
    }

    #[test]
    fn bits_are_counted_without_wrapping() {
        let fine = Granularity::new(512).expect("a granularity");
        assert_eq!(fine.bits_for(0), 0);
        assert_eq!(fine.bits_for(1), 1);
        assert_eq!(fine.bits_for(513), 2);
        assert_eq!(fine.bits_for(u64::MAX), 1 << 55);
    }
}
