//! A bitmap in memory.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::chunk::{CHUNK_BITS, Chunk};
use crate::runs::Runs;
use crate::{BitmapError, Granularity};

/// Which parts of a disk were written.
///
/// Takes memory for what is set: nothing where all is clean, next to nothing where long stretches are
/// dirty, 4 KiB for each 32768 bits of a mixture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtyBitmap {
    size: u64,
    granularity: Granularity,
    /// Chunks all of whose bits are set; in the last one all bits that there are.
    full: Runs,
    /// Chunks that have bits of both kinds.
    mixed: BTreeMap<u64, Box<Chunk>>,
}

/// The bits of one cluster of a stored bitmap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterBits {
    /// None is set.
    Zeros,
    /// All are set, and the cluster is full of bits.
    Ones,
    /// The bytes of the cluster, zeros behind the last bit.
    Data(Vec<u8>),
}

impl DirtyBitmap {
    /// A clean bitmap for a disk of `size` bytes.
    #[must_use]
    pub fn new(size: u64, granularity: Granularity) -> Self {
        Self { size, granularity, full: Runs::default(), mixed: BTreeMap::new() }
    }

    /// The size of the disk in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What a bit stands for.
    #[must_use]
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// How many bits there are.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.granularity.bits_for(self.size)
    }

    /// The bit that stands for byte `at`.
    fn bit(&self, at: u64) -> u64 {
        at >> self.granularity.bits()
    }

    /// The first byte that a bit stands for, or the end of the disk.
    fn byte(&self, bit: u64) -> u64 {
        bit.checked_mul(self.granularity.bytes()).map_or(self.size, |byte| byte.min(self.size))
    }

    /// The bits that stand for a range of bytes, as far as it is within the disk.
    fn bits_of(&self, at: u64, len: u64) -> Range<u64> {
        let end = at.saturating_add(len).min(self.size);
        if at >= end {
            return 0..0;
        }
        self.bit(at)..self.bit(end - 1) + 1
    }

    /// Marks the bytes from `at` on as dirty; what lies past the end of the disk does not count.
    pub fn set(&mut self, at: u64, len: u64) {
        self.set_bits(self.bits_of(at, len));
    }

    /// Marks all of it as clean.
    pub fn clear(&mut self) {
        self.full.clear();
        self.mixed.clear();
    }

    /// Whether the byte at `at` is dirty; past the end nothing is.
    #[must_use]
    pub fn is_dirty(&self, at: u64) -> bool {
        at < self.size && self.is_set(self.bit(at))
    }

    /// Whether all bytes of a range within the disk are dirty.
    #[must_use]
    pub fn is_all_dirty(&self, at: u64, len: u64) -> bool {
        let bits = self.bits_of(at, len);
        bits.is_empty() || self.next(bits.start, false).is_none_or(|clean| clean >= bits.end)
    }

    /// The first dirty byte at `at` or later.
    #[must_use]
    pub fn next_dirty(&self, at: u64) -> Option<u64> {
        self.next_byte(at, true)
    }

    /// The first clean byte at `at` or later.
    #[must_use]
    pub fn next_clean(&self, at: u64) -> Option<u64> {
        self.next_byte(at, false)
    }

    fn next_byte(&self, at: u64, wanted: bool) -> Option<u64> {
        if at >= self.size {
            return None;
        }
        self.next(self.bit(at), wanted).map(|bit| self.byte(bit).max(at))
    }

    /// Whether the byte at `at` is dirty, and for how many bytes that stays so: at most `len`, and
    /// at most to the end of the disk. Nothing past the end.
    #[must_use]
    pub fn extent_at(&self, at: u64, len: u64) -> Option<(bool, u64)> {
        let end = at.saturating_add(len).min(self.size);
        if at >= end {
            return None;
        }
        let dirty = self.is_dirty(at);
        let change = self.next_byte(at, !dirty).unwrap_or(end).min(end);
        Some((dirty, change - at))
    }

    /// The dirty stretches in order, each as its first byte and its length.
    pub fn extents(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next_dirty(at)?;
            at = self.next_clean(start).unwrap_or(self.size);
            Some((start, at - start))
        })
    }

    /// How many bytes are dirty.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.extents().map(|(_, len)| len).sum()
    }

    /// Follows the disk to another size. New bytes are clean; dirt past the end is gone for good.
    pub fn resize(&mut self, size: u64) {
        let old = self.bits();
        self.size = size;
        let new = self.bits();
        let last = old / CHUNK_BITS;
        if new > old && !old.is_multiple_of(CHUNK_BITS) && self.full.row_at(last).is_some() {
            // What was all there is becomes a part.
            self.full.remove(last..last + 1);
            let mut chunk = Chunk::empty();
            chunk.set(0..old % CHUNK_BITS);
            self.mixed.insert(last, chunk);
        }
        if new < old {
            let chunks = new.div_ceil(CHUNK_BITS);
            self.full.remove(chunks..u64::MAX);
            drop(self.mixed.split_off(&chunks));
            let left = new % CHUNK_BITS;
            if left != 0
                && let Some(chunk) = self.mixed.get_mut(&(chunks - 1))
            {
                chunk.clear(left..CHUNK_BITS);
                self.settle(chunks - 1);
            }
        }
    }

    /// Marks as dirty what is dirty in `other` too, whatever its granularity.
    ///
    /// # Errors
    /// [`BitmapError::Sizes`] if the two are for disks of different sizes.
    pub fn merge(&mut self, other: &Self) -> Result<(), BitmapError> {
        if self.size != other.size {
            return Err(BitmapError::Sizes { destination: self.size, source_size: other.size });
        }
        if self.granularity != other.granularity {
            for (at, len) in other.extents() {
                self.set(at, len);
            }
            return Ok(());
        }
        for run in other.full.rows() {
            self.fill(run);
        }
        for (&number, bits) in &other.mixed {
            if self.full.row_at(number).is_none() {
                self.mixed.entry(number).or_insert_with(Chunk::empty).merge(bits);
                self.settle(number);
            }
        }
        Ok(())
    }

    /// The bits of cluster `index` of `cluster` bytes, as they are stored.
    #[must_use]
    pub fn cluster(&self, index: u64, cluster: u64) -> ClusterBits {
        let capacity = cluster * 8;
        let start = index * capacity;
        let end = (start + capacity).min(self.bits());
        match self.next(start, true) {
            Some(dirty) if dirty < end => {}
            _ => return ClusterBits::Zeros,
        }
        if end == start + capacity && self.next(start, false).is_none_or(|clean| clean >= end) {
            return ClusterBits::Ones;
        }
        let mut bytes = vec![0; usize::try_from(cluster).expect("a cluster is at most 2 MiB")];
        for (n, byte) in bytes.iter_mut().enumerate() {
            let bit = start + n as u64 * 8;
            if bit >= end {
                break;
            }
            *byte = self.bits_in_byte(bit, (end - bit).min(8));
        }
        ClusterBits::Data(bytes)
    }

    /// Eight bits, or the last `n`, as a byte; `bit` is a multiple of 8.
    fn bits_in_byte(&self, bit: u64, n: u64) -> u8 {
        let chunk = bit / CHUNK_BITS;
        if self.full.row_at(chunk).is_some() {
            return u8::MAX >> (8 - n);
        }
        let byte = usize::try_from(bit % CHUNK_BITS / 8).expect("a byte of a chunk");
        self.mixed.get(&chunk).map_or(0, |chunk| chunk.byte(byte))
    }

    /// Adds the stored bits of cluster `index`; bits past the end of the disk do not count.
    pub fn add_cluster(&mut self, index: u64, cluster: u64, bits: &ClusterBits) {
        let start = index * cluster * 8;
        let end = (start + cluster * 8).min(self.bits());
        if start >= end {
            return;
        }
        let bytes = match bits {
            ClusterBits::Zeros => return,
            ClusterBits::Ones => return self.set_bits(start..end),
            ClusterBits::Data(bytes) => bytes,
        };
        for (n, byte) in bytes.iter().enumerate() {
            let bit = start + n as u64 * 8;
            if *byte == 0 || bit >= end {
                continue;
            }
            let kept = u8::MAX >> (8 - (end - bit).min(8));
            let number = bit / CHUNK_BITS;
            if self.full.row_at(number).is_none() {
                let chunk = self.mixed.entry(number).or_insert_with(Chunk::empty);
                let at = usize::try_from(bit % CHUNK_BITS / 8).expect("a byte of a chunk");
                chunk.add_byte(at, byte & kept);
            }
        }
        for number in start / CHUNK_BITS..end.div_ceil(CHUNK_BITS) {
            self.settle(number);
        }
    }

    /// Bits that chunk `number` has.
    fn chunk_bits(&self, number: u64) -> u64 {
        (self.bits() - number * CHUNK_BITS).min(CHUNK_BITS)
    }

    /// Keeps a chunk that has become of one kind as such.
    fn settle(&mut self, number: u64) {
        let Some(chunk) = self.mixed.get(&number) else { return };
        let count = chunk.count();
        if count == 0 || count == self.chunk_bits(number) {
            self.mixed.remove(&number);
        }
        if count != 0 && count == self.chunk_bits(number) {
            self.full.insert(number..number + 1);
        }
    }

    /// Sets all bits of whole chunks.
    fn fill(&mut self, chunks: Range<u64>) {
        if chunks.is_empty() {
            return;
        }
        let mut later = self.mixed.split_off(&chunks.start);
        self.mixed.append(&mut later.split_off(&chunks.end));
        self.full.insert(chunks);
    }

    fn set_bits(&mut self, bits: Range<u64>) {
        if bits.is_empty() {
            return;
        }
        let first_whole = bits.start.div_ceil(CHUNK_BITS);
        let end_whole = if bits.end == self.bits() {
            bits.end.div_ceil(CHUNK_BITS)
        } else {
            bits.end / CHUNK_BITS
        };
        if first_whole < end_whole {
            self.fill(first_whole..end_whole);
        }
        let mut parts = vec![bits.start / CHUNK_BITS, (bits.end - 1) / CHUNK_BITS];
        parts.dedup();
        for number in parts {
            if self.full.row_at(number).is_some() {
                continue;
            }
            let base = number * CHUNK_BITS;
            let from = bits.start.max(base) - base;
            let to = bits.end.min(base + CHUNK_BITS) - base;
            self.mixed.entry(number).or_insert_with(Chunk::empty).set(from..to);
            self.settle(number);
        }
    }

    fn is_set(&self, bit: u64) -> bool {
        let number = bit / CHUNK_BITS;
        let mixed = || self.mixed.get(&number).is_some_and(|chunk| chunk.get(bit % CHUNK_BITS));
        self.full.row_at(number).is_some() || mixed()
    }

    /// The first bit at `from` or later that is `wanted`.
    fn next(&self, from: u64, wanted: bool) -> Option<u64> {
        let mut at = from;
        while at < self.bits() {
            let number = at / CHUNK_BITS;
            if let Some(row) = self.full.row_at(number) {
                if wanted {
                    return Some(at);
                }
                at = row.end.checked_mul(CHUNK_BITS)?;
            } else if let Some(chunk) = self.mixed.get(&number) {
                let base = number * CHUNK_BITS;
                let within = at - base..self.chunk_bits(number);
                if let Some(found) = chunk.find(within, wanted) {
                    return Some(base + found);
                }
                at = base + CHUNK_BITS;
            } else if !wanted {
                return Some(at);
            } else {
                let full = self.full.next_row(number).map(|row| row.start);
                let mixed = self.mixed.range(number..).next().map(|(&number, _)| number);
                at = full.into_iter().chain(mixed).min()? * CHUNK_BITS;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine(size: u64) -> DirtyBitmap {
        DirtyBitmap::new(size, Granularity::new(512).expect("a granularity"))
    }

    #[test]
    fn ranges_are_widened_to_bits_and_cut_at_the_end() {
        let mut bitmap = fine(10_000);
        bitmap.set(600, 1);
        bitmap.set(9_999, 5_000);
        bitmap.set(20_000, 5);
        bitmap.set(0, 0);
        assert_eq!(bitmap.extents().collect::<Vec<_>>(), [(512, 512), (9_728, 272)]);
        assert_eq!(bitmap.extent_at(0, 5_000), Some((false, 512)));
        assert_eq!(bitmap.extent_at(600, 100), Some((true, 100)));
        assert_eq!(bitmap.extent_at(9_990, 100), Some((true, 10)));
        assert_eq!(bitmap.extent_at(10_000, 100), None);
        assert_eq!((bitmap.next_dirty(601), bitmap.next_clean(601)), (Some(601), Some(1_024)));
        assert_eq!(bitmap.dirty_bytes(), 784);
        assert!(bitmap.is_all_dirty(512, 512) && !bitmap.is_all_dirty(512, 513));
    }

    #[test]
    fn dirt_past_a_new_end_does_not_come_back() {
        let chunk = CHUNK_BITS * 512;
        for (size, small) in [(chunk + 4_096, 1_024), (2 * chunk, chunk + 512), (chunk, chunk / 2)]
        {
            let mut bitmap = fine(size);
            bitmap.set(0, size);
            bitmap.resize(small);
            assert_eq!(bitmap.extents().collect::<Vec<_>>(), [(0, small)]);
            bitmap.resize(3 * chunk);
            assert_eq!(bitmap.extents().collect::<Vec<_>>(), [(0, small)]);
        }
    }

    #[test]
    fn a_huge_dirty_disk_takes_no_memory() {
        let mut bitmap = fine(1 << 62);
        bitmap.set(0, 1 << 62);
        assert_eq!(bitmap.cluster(7, 65_536), ClusterBits::Ones);
        assert!(bitmap.mixed.is_empty());
        assert_eq!(bitmap.extents().collect::<Vec<_>>(), [(0, 1 << 62)]);
        bitmap.clear();
        assert_eq!(bitmap, fine(1 << 62));
    }

    #[test]
    fn a_last_cluster_that_is_not_full_of_bits_is_never_all_ones() {
        let mut bitmap = fine(512 * 8 * 512 + 512);
        bitmap.set(0, u64::MAX);
        assert_eq!(bitmap.cluster(0, 512), ClusterBits::Ones);
        let ClusterBits::Data(bytes) = bitmap.cluster(1, 512) else { panic!("a part") };
        assert_eq!((bytes[0], bytes[1..].iter().max()), (1, Some(&0)));
    }
}
