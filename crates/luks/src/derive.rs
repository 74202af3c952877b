//! How much work a derivation is.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::{Hash, LuksError};

/// The fewest iterations of a slot or digest that is made here.
pub(crate) const MIN_ITERATIONS: u32 = 1000;

/// How much work a header may ask for.
///
/// A derivation makes as many digests as it has iterations, for each piece of the key that is as long as a
/// digest. A processor makes some millions in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Digests that are made for one passphrase, over all slots.
    pub digests: u64,
}

impl Default for Limits {
    /// 2^29: some two minutes.
    fn default() -> Self {
        Self { digests: 1 << 29 }
    }
}

/// Digests that deriving `len` bytes makes.
fn digests(hash: Hash, len: usize, iterations: u32) -> u64 {
    u64::from(iterations) * len.div_ceil(hash.len()) as u64
}

/// Work that is left.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { left: limits.digests }
    }

    /// Derives a key, if there is work left for it.
    pub(crate) fn derive(
        &mut self,
        hash: Hash,
        secret: &[u8],
        salt: &[u8],
        iterations: u32,
        out: &mut [u8],
    ) -> Result<(), LuksError> {
        let work = digests(hash, out.len(), iterations);
        let past = || LuksError::TooMuchWork { iterations: iterations.into() };
        self.left = self.left.checked_sub(work).ok_or_else(past)?;
        hash.derive(secret, salt, iterations, out);
        Ok(())
    }
}

/// Iterations with which deriving `len` bytes takes about `time` here.
///
/// What the limits refuse to read is not made: eight slots of it, with the digest, stay within.
pub(crate) fn iterations_for(hash: Hash, len: usize, time: Duration) -> Result<u32, LuksError> {
    let millis = time.as_millis();
    let wrong = || LuksError::IterTime { millis: u64::try_from(millis).unwrap_or(u64::MAX) };
    if time.is_zero() {
        return Ok(MIN_ITERATIONS);
    }
    // Long enough to be measured, and short beside what it is for.
    let enough = time.clamp(Duration::from_millis(1), Duration::from_millis(50));
    let mut out = Zeroizing::new(vec![0; len]);
    let mut iterations = MIN_ITERATIONS;
    let taken = loop {
        let start = Instant::now();
        hash.derive(b"password", &[7; 32], iterations, &mut out);
        let taken = start.elapsed();
        if taken >= enough || iterations > u32::MAX / 4 {
            break taken;
        }
        iterations *= 2;
    };
    let wanted = u128::from(iterations) * time.as_nanos() / taken.as_nanos().max(1);
    let most = Limits::default().digests / 16 / len.div_ceil(hash.len()) as u64;
    match u64::try_from(wanted) {
        Ok(wanted) if wanted <= most => {
            Ok(u32::try_from(wanted).unwrap_or(u32::MAX).max(MIN_ITERATIONS))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_time_is_more_iterations_from_the_fewest_on() {
        let of = |millis| iterations_for(Hash::Sha256, 32, Duration::from_millis(millis));
        assert_eq!(of(0).expect("the least"), MIN_ITERATIONS);
        assert!(of(1).expect("a short time") >= MIN_ITERATIONS);
        // Other programs may take the processor away meanwhile, but not that often.
        assert!(of(1000).expect("a second") > of(10).expect("a short time"));
        assert!(of(u64::MAX).is_err());
    }
}
