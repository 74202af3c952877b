//! Widths of refcounts and where a counter is in its block.

use holstein_units::ClusterBits;

/// The binary logarithm of the width of a refcount in bits: 0..=6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefcountOrder(u8);

/// A counter within a block that is kept as 64-bit words, each converted from big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterPlace {
    /// The index of the word.
    pub word: usize,
    /// How far the counter is shifted to the left in it: 0..=63.
    pub shift: u32,
}

impl RefcountOrder {
    /// 16 bits: the default, and the only width of version 2.
    pub const DEFAULT: Self = Self(4);

    /// `None` above 6.
    #[must_use]
    pub const fn new(order: u32) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be at most 6")]
        if order <= 6 { Some(Self(order as u8)) } else { None }
    }

    /// The order of counters of `bits` bits: `None` unless 1, 2, 4, 8, 16, 32 or 64.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits.is_power_of_two() { Self::new(bits.trailing_zeros()) } else { None }
    }

    /// 0..=6.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// The width in bits: 1..=64.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u32 {
        1 << self.0
    }

    /// The largest count.
    #[inline]
    #[must_use]
    pub const fn max(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// The bits of a counter, shifted to the right end: the same number as [`Self::max`].
    #[inline]
    #[must_use]
    pub const fn mask(self) -> u64 {
        self.max()
    }

    /// The binary logarithm of the number of counters in a block, which is one cluster.
    #[inline]
    #[must_use]
    pub const fn block_bits(self, cluster: ClusterBits) -> u32 {
        cluster.get() + 3 - self.get()
    }

    /// Counters in a block.
    #[inline]
    #[must_use]
    pub const fn counters_per_block(self, cluster: ClusterBits) -> u64 {
        1 << self.block_bits(cluster)
    }

    /// Where the counter `slot` is among words that were read big-endian.
    ///
    /// Widths below a byte fill each byte from its least significant bit, wider ones are big-endian
    /// numbers; so the shift is the position with the bytes, or counters, of a word reversed.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a block has at most 2^18 words")]
    pub const fn locate(self, slot: u64) -> CounterPlace {
        let counters_bits = 6 - self.get();
        let bit = ((slot as u32) & ((1 << counters_bits) - 1)) << self.0;
        let unit = if self.bits() < 8 { 8 } else { self.bits() };
        CounterPlace { word: (slot >> counters_bits) as usize, shift: bit ^ (64 - unit) }
    }

    /// The counter `slot` of a block; 0 past its end.
    #[inline]
    #[must_use]
    pub fn read(self, block: &[u8], slot: u64) -> u64 {
        let Some((at, bytes)) = self.bytes_of(slot) else { return 0 };
        let Some(field) = at.checked_add(bytes).and_then(|end| block.get(at..end)) else {
            return 0;
        };
        let number = field.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        number >> self.shift_in_byte(slot) & self.mask()
    }

    /// Stores a counter; false, and nothing is done, past the end of the block or above
    /// [`Self::max`].
    #[inline]
    pub fn write(self, block: &mut [u8], slot: u64, value: u64) -> bool {
        if value > self.max() {
            return false;
        }
        let Some((at, bytes)) = self.bytes_of(slot) else { return false };
        let Some(field) = at.checked_add(bytes).and_then(|end| block.get_mut(at..end)) else {
            return false;
        };
        let shift = self.shift_in_byte(slot);
        let mask = self.mask() << shift;
        let mut number = value << shift;
        for byte in field.iter_mut().rev() {
            let [.., low] = number.to_be_bytes();
            let [.., keep] = (!mask).to_be_bytes();
            *byte = if self.bits() < 8 { *byte & keep | low } else { low };
            number >>= 8;
        }
        true
    }

    /// First byte of a counter and how many it touches.
    fn bytes_of(self, slot: u64) -> Option<(usize, usize)> {
        if self.bits() < 8 {
            Some((usize::try_from(slot >> (3 - self.get())).ok()?, 1))
        } else {
            let bytes = self.bits() / 8;
            let at = usize::try_from(slot.checked_mul(u64::from(bytes))?).ok()?;
            Some((at, usize::try_from(bytes).ok()?))
        }
    }

    /// How far a counter narrower than a byte is shifted in it.
    #[expect(clippy::cast_possible_truncation, reason = "masked to at most 7")]
    const fn shift_in_byte(self, slot: u64) -> u32 {
        if self.bits() < 8 { ((slot as u32) << self.0) & 7 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(bits: u32) -> RefcountOrder {
        RefcountOrder::from_bits(bits).expect("a width of the format")
    }

    fn block(bits: u32, counters: &[u64]) -> [u8; 8] {
        let mut block = [0; 8];
        for (slot, value) in (0_u64..).zip(counters) {
            assert!(order(bits).write(&mut block, slot, *value));
        }
        block
    }

    /// Blocks dumped from images.
    #[test]
    fn narrow_counters_fill_bytes_from_the_least_significant_bit() {
        let counters = [1, 1, 1, 1, 2, 2, 2, 2, 1, 1];
        assert_eq!(block(2, &counters)[..3], [0x55, 0xaa, 0x05]);
        assert_eq!(block(4, &counters)[..5], [0x11, 0x11, 0x22, 0x22, 0x11]);
        assert_eq!(block(1, &[1; 9])[..2], [0xff, 0x01]);
        assert_eq!(block(16, &[0x1234, 0x5678])[..4], [0x12, 0x34, 0x56, 0x78]);
        assert_eq!(block(64, &[0x0102_0304_0506_0708]), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    /// Cluster bits, order, cluster; counters in a block, index in the table, slot, byte.
    #[test]
    fn places_match_the_worked_examples() {
        for (bits, ro, cluster, counters, index, slot, byte) in [
            (9, 6, 1000_u64, 64, 15, 40, 320_usize),
            (12, 1, 20_000, 16_384, 1, 3616, 904),
            (16, 0, 600_000, 524_288, 1, 75_712, 9464),
            (16, 4, 100_000, 32_768, 3, 1696, 3392),
        ] {
            let order = RefcountOrder::new(ro).expect("an order of the format");
            let bits = ClusterBits::new(bits).expect("a cluster size");
            assert_eq!(order.counters_per_block(bits), counters);
            assert_eq!((cluster / counters, cluster % counters), (index, slot));
            assert_eq!(order.bytes_of(slot).map(|(at, _)| at), Some(byte));
            assert_eq!(order.locate(slot).word, byte / 8);
        }
    }

    #[test]
    fn maxima_of_all_widths() {
        for (bits, max) in [(1, 1), (2, 3), (4, 15), (8, 255), (16, 65_535), (64, u64::MAX)] {
            assert_eq!(order(bits).max(), max);
        }
        assert_eq!(order(32).max(), u64::from(u32::MAX));
        assert_eq!(RefcountOrder::from_bits(3), None);
        assert_eq!(RefcountOrder::from_bits(0), None);
        assert_eq!(RefcountOrder::from_bits(128), None);
        assert_eq!(RefcountOrder::new(7), None);
    }

    #[test]
    fn a_slot_past_the_block_reads_as_0_and_is_not_written() {
        let mut block = [0xff; 8];
        assert_eq!(order(16).read(&block, 4), 0);
        assert_eq!(order(16).read(&block, u64::MAX), 0);
        assert!(!order(16).write(&mut block, 4, 1));
        assert!(!order(4).write(&mut block, 0, 16));
        assert_eq!(block, [0xff; 8]);
    }
}
