//! Where requests go: the same places on both sides, from fixed seeds.

/// Numbers without a pattern, the same each time.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (splitmix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fills a buffer.
    pub(crate) fn fill(&mut self, into: &mut [u8]) {
        for chunk in into.chunks_mut(8) {
            let bytes = self.next().to_be_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// `count` random multiples of `step` below `size`.
pub(crate) fn random(seed: u64, count: usize, step: u64, size: u64) -> Vec<u64> {
    let mut numbers = Numbers::new(seed);
    (0..count).map(|_| numbers.next() % (size / step) * step).collect()
}

/// The offsets that `qemu-img bench -S step` sends its requests to, one by one: each is the one
/// before plus `step`, from 0 on, modulo the size of the disk.
pub(crate) fn strided(count: usize, step: u64, size: u64) -> Vec<u64> {
    let mut at = 0;
    (0..count)
        .map(|_| {
            let this = at;
            at = (at + step) % size;
            this
        })
        .collect()
}

/// A step of about the golden ratio of the size, below the 2^31 that qemu-img takes, and an odd
/// multiple of `unit`: of a disk with a power of two of units it meets each unit once before it meets
/// one again, far from its neighbours.
pub(crate) fn long_step(unit: u64, size: u64) -> u64 {
    let units = size.min(1 << 31) / unit;
    ((units * 618 / 1000) | 1) * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_long_step_meets_every_unit_once() {
        for (unit, size, units) in [(65_536, 64 << 20, 1024), (1 << 20, 8 << 30, 8192)] {
            let step = long_step(unit, size);
            assert!(step < 1 << 31);
            let seen: HashSet<u64> = strided(units, step, size).into_iter().collect();
            assert_eq!(seen.len(), units);
            assert!(seen.iter().all(|at| at % unit == 0 && at + unit <= size));
        }
    }

    #[test]
    fn random_offsets_repeat_and_stay_inside() {
        let a = random(7, 1000, 4096, 1 << 20);
        assert_eq!(a, random(7, 1000, 4096, 1 << 20));
        assert!(a.iter().all(|at| at % 4096 == 0 && at + 4096 <= 1 << 20));
    }
}
