//! The pieces that disk images are made of.

use std::sync::Arc;

/// Bytes of one chunk.
pub(crate) const CHUNK: usize = 4096;

static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// A piece of an image with the hash of its place and content.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Box<[u8; CHUNK]>,
    /// 0 for a chunk of zeros, so that it counts like one that is not there.
    pub(crate) hash: u128,
}

impl Chunk {
    /// The chunk with this number in its image; `None` if all its bytes are zero.
    pub(crate) fn new(number: u64, bytes: Box<[u8; CHUNK]>) -> Option<Arc<Self>> {
        if *bytes == ZEROS {
            return None;
        }
        let hash = hash(number, &bytes[..]);
        Some(Arc::new(Self { bytes, hash }))
    }
}

/// A chunk of zeros.
pub(crate) fn blank() -> Box<[u8; CHUNK]> {
    Box::new([0; CHUNK])
}

/// The chunk of a byte and where in it.
pub(crate) fn place(at: u64) -> (u64, usize) {
    let size = CHUNK as u64;
    (at / size, usize::try_from(at % size).expect("less than a chunk"))
}

/// A 128-bit hash of `bytes` under `key`; not for use against an adversary. Never 0.
pub(crate) fn hash(key: u64, bytes: &[u8]) -> u128 {
    const A: u64 = 0x2d35_8dcc_aa6c_78a5;
    const B: u64 = 0x8bb8_4b93_962e_acc9;
    const C: u64 = 0x4b33_a62e_d433_d4a3;
    let mut low = mix(key ^ A, B);
    let mut high = mix(key ^ C, A);
    let (words, rest) = bytes.as_chunks::<16>();
    for word in words {
        let word = u128::from_be_bytes(*word);
        let (x, y) = halves(word);
        low = mix(x ^ low, y ^ B);
        high = mix(y ^ high.rotate_left(23), x ^ C);
    }
    for &byte in rest {
        low = mix(low ^ u64::from(byte), C);
        high = mix(high ^ u64::from(byte), B);
    }
    let length = bytes.len() as u64;
    let low = mix(low ^ length, A);
    let high = mix(high ^ length, low ^ C);
    let sum = (u128::from(high) << 64) | u128::from(low);
    if sum == 0 { 1 } else { sum }
}

fn mix(a: u64, b: u64) -> u64 {
    let (high, low) = halves(u128::from(a) * u128::from(b));
    // The factors come back in so that a zero factor does not forget the other.
    high ^ low ^ a.rotate_left(32) ^ b
}

fn halves(wide: u128) -> (u64, u64) {
    let mask = u128::from(u64::MAX);
    let take = |n: u128| u64::try_from(n & mask).expect("64 bits are left");
    (take(wide >> 64), take(wide))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn single_bits_and_places_change_the_hash() {
        let mut seen = HashSet::new();
        for number in 0..4 {
            assert!(seen.insert(hash(number, &[0; CHUNK])));
            for bit in 0..CHUNK * 8 {
                let mut bytes = [0; CHUNK];
                bytes[bit / 8] = 1 << (bit % 8);
                assert!(seen.insert(hash(number, &bytes)), "bit {bit} of chunk {number}");
            }
        }
    }

    #[test]
    fn zeros_are_no_chunk() {
        assert!(Chunk::new(3, blank()).is_none());
    }
}
