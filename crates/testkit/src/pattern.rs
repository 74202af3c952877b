//! Content that says where it belongs.

use holstein_units::SECTOR;

/// Marks the first byte of each group of 16.
const TAG: u64 = 0xa7 << 56;

/// The content of one write: each 16 bytes name the write and the sector, so that a sector which
/// turns up in the wrong place, or of the wrong age, is recognised. Never zero.
///
/// ```
/// use holstein_testkit::Pattern;
///
/// let mut sectors = [0; 1024];
/// Pattern::new(7).fill(512, &mut sectors);
/// assert_eq!(Pattern::identify(&sectors[512..]), Some((7, 2)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    id: u64,
}

impl Pattern {
    /// The content of write number `id`, of which 56 bits count.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self { id: id & !(0xff << 56) }
    }

    /// Fills `into` with what belongs at byte `at` of the disk, at any alignment.
    pub fn fill(self, at: u64, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let here = at + done as u64;
            let group = self.group(here / SECTOR);
            let inside = usize::try_from(here % 16).expect("less than 16");
            let n = (16 - inside).min(into.len() - done);
            into[done..done + n].copy_from_slice(&group[inside..inside + n]);
            done += n;
        }
    }

    /// `len` bytes of what belongs at byte `at` of the disk.
    #[must_use]
    pub fn bytes(self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(at, &mut bytes);
        bytes
    }

    /// The write and the sector that the first 16 bytes name; they start at a multiple of 16 on the
    /// disk. `None` if they are not of a pattern.
    #[must_use]
    pub fn identify(bytes: &[u8]) -> Option<(u64, u64)> {
        let group = u128::from_be_bytes(*bytes.first_chunk()?);
        let high = u64::try_from(group >> 64).expect("the upper half of 128 bits");
        let low = u64::try_from(group & u128::from(u64::MAX)).expect("the lower half of 128 bits");
        (high & (0xff << 56) == TAG).then_some((high & !TAG, low))
    }

    fn group(self, sector: u64) -> [u8; 16] {
        ((u128::from(TAG | self.id) << 64) | u128::from(sector)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fit_together() {
        let whole = Pattern::new(9).bytes(0, 4096);
        for (at, len) in [(0, 1), (511, 2), (17, 1000), (4095, 1)] {
            let end = at + len;
            assert_eq!(Pattern::new(9).bytes(at as u64, len), whole[at..end], "{at}+{len}");
        }
    }

    #[test]
    fn ids_of_56_bits_come_back() {
        for id in [0, 1, 0x80 << 48, u64::MAX >> 8] {
            let bytes = Pattern::new(id).bytes(u64::MAX / 512 * 512, 16);
            assert_eq!(Pattern::identify(&bytes), Some((id, u64::MAX / 512)));
        }
        assert_eq!(Pattern::identify(&[0; 16]), None);
        assert_eq!(Pattern::identify(&[0xa7; 15]), None);
    }
}
