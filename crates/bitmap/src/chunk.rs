//! A stretch of bits that are neither all 0 nor all 1.

use std::ops::Range;

/// Bits in a chunk: 4 KiB of them.
pub(crate) const CHUNK_BITS: u64 = 1 << 15;
const WORDS: usize = 512;

/// The bits of a chunk; bit `n` is bit `n % 64` of word `n / 64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk([u64; WORDS]);

/// The place of a bit, and the bit in its word.
fn place(bit: u64) -> (usize, u32) {
    let word = usize::try_from(bit / 64).expect("a bit of a chunk");
    (word, u32::try_from(bit % 64).expect("below 64"))
}

impl Chunk {
    pub(crate) fn empty() -> Box<Self> {
        Box::new(Self([0; WORDS]))
    }

    pub(crate) fn get(&self, bit: u64) -> bool {
        let (word, shift) = place(bit);
        self.0[word] >> shift & 1 == 1
    }

    /// Applies `f(word, mask)` to the words that `bits` touches.
    fn masked(&mut self, bits: Range<u64>, f: impl Fn(&mut u64, u64)) {
        let mut at = bits.start;
        while at < bits.end {
            let (word, shift) = place(at);
            let n = (64 - u64::from(shift)).min(bits.end - at);
            let mask = if n == 64 { u64::MAX } else { ((1 << n) - 1) << shift };
            f(&mut self.0[word], mask);
            at += n;
        }
    }

    pub(crate) fn set(&mut self, bits: Range<u64>) {
        self.masked(bits, |word, mask| *word |= mask);
    }

    pub(crate) fn clear(&mut self, bits: Range<u64>) {
        self.masked(bits, |word, mask| *word &= !mask);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// The first bit of `bits` that is `wanted`.
    pub(crate) fn find(&self, bits: Range<u64>, wanted: bool) -> Option<u64> {
        let mut at = bits.start;
        while at < bits.end {
            let (word, shift) = place(at);
            let word = if wanted { self.0[word] } else { !self.0[word] };
            let found = at + u64::from((word >> shift).trailing_zeros());
            let next = at - u64::from(shift) + 64;
            if found < next {
                return (found < bits.end).then_some(found);
            }
            at = next;
        }
        None
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The byte with the number `byte`, the first bit in its lowest place.
    pub(crate) fn byte(&self, byte: usize) -> u8 {
        self.0[byte / 8].to_be_bytes()[7 - byte % 8]
    }

    /// Sets the bits of one byte more.
    pub(crate) fn add_byte(&mut self, byte: usize, bits: u8) {
        self.0[byte / 8] |= u64::from(bits) << (8 * (byte % 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_found_set_and_cleared_across_words() {
        let mut chunk = Chunk::empty();
        chunk.set(60..200);
        assert_eq!(chunk.find(0..CHUNK_BITS, true), Some(60));
        assert_eq!(chunk.find(60..CHUNK_BITS, false), Some(200));
        assert_eq!(chunk.find(60..200, false), None);
        chunk.clear(64..128);
        assert_eq!((chunk.find(61..CHUNK_BITS, false), chunk.find(64..99, true)), (Some(64), None));
        assert_eq!(chunk.count(), 4 + 72);
        chunk.set(CHUNK_BITS - 1..CHUNK_BITS);
        assert!(chunk.get(CHUNK_BITS - 1) && !chunk.get(CHUNK_BITS - 2));
        // The published example: bits 0 and 3 are the byte 0x09.
        let mut chunk = Chunk::empty();
        chunk.set(8..9);
        chunk.set(11..12);
        assert_eq!((chunk.byte(1), chunk.byte(0)), (9, 0));
        let mut again = Chunk::empty();
        again.add_byte(1, 9);
        assert_eq!(again, chunk);
    }
}
