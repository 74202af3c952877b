//! Spreading a key over stripes, so that losing any of them loses the key.

use zeroize::Zeroizing;

use crate::header::STRIPES;
use crate::{Hash, LuksError, random};

/// Replaces each piece of the block, as long as a digest, by the digest of its number and itself.
fn diffuse(hash: Hash, block: &mut [u8]) {
    for (number, piece) in (0_u32..).zip(block.chunks_mut(hash.len())) {
        let mut digest = Zeroizing::new([0; 64]);
        hash.digest(&[&number.to_be_bytes(), piece], &mut digest[..]);
        let len = piece.len();
        piece.copy_from_slice(&digest[..len]);
    }
}

fn add(into: &mut [u8], stripe: &[u8]) {
    into.iter_mut().zip(stripe).for_each(|(byte, other)| *byte ^= other);
}

/// Bytes of all stripes of a key.
pub(crate) fn spread_bytes(key: usize) -> usize {
    key * STRIPES as usize
}

/// Spreads `key` over the stripes that fill `into`.
pub(crate) fn split(hash: Hash, key: &[u8], into: &mut [u8]) -> Result<(), LuksError> {
    let (stripes, last) = into.split_at_mut(spread_bytes(key.len()) - key.len());
    random::fill(stripes)?;
    let mut sum = Zeroizing::new(vec![0; key.len()]);
    for stripe in stripes.chunks_exact(key.len()) {
        add(&mut sum, stripe);
        diffuse(hash, &mut sum);
    }
    last.copy_from_slice(key);
    add(last, &sum);
    Ok(())
}

/// The key that is spread over the stripes of `from`.
pub(crate) fn merge(hash: Hash, from: &[u8], key: &mut [u8]) {
    let (stripes, last) = from.split_at(spread_bytes(key.len()) - key.len());
    key.fill(0);
    for stripe in stripes.chunks_exact(key.len()) {
        add(key, stripe);
        diffuse(hash, key);
    }
    add(key, last);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_and_no_stripe_may_be_missing() {
        for hash in Hash::ALL {
            for len in [16, 24, 32, 48, 64] {
                let key: Vec<u8> = (0..len).collect();
                let mut spread = vec![0; spread_bytes(key.len())];
                split(hash, &key, &mut spread).expect("there are random bytes");
                let mut back = vec![0; key.len()];
                merge(hash, &spread, &mut back);
                assert_eq!(back, key, "{hash:?} {len}");
                spread[1000] ^= 1;
                merge(hash, &spread, &mut back);
                assert_ne!(back, key, "{hash:?} {len}");
            }
        }
    }
}
