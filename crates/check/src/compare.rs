//! References that were counted against refcounts on disk.

use holstein_format::RefcountOrder;

use crate::check::Check;
use crate::counters::{CHUNK, COPIED, Chunk, NOT_COPIED};
use crate::error::CheckError;
use crate::finding::{Corruption, Finding};
use crate::options::Phase;
use crate::refcounts::Block;

impl Check<'_> {
    /// Compares every cluster that is referenced or counted, in ascending order.
    ///
    /// Steps through windows, each a whole number of chunks and of refcount blocks; windows with
    /// neither do not exist.
    pub(crate) fn compare_refcounts(&mut self) -> Result<(), CheckError> {
        let order = self.header.refcount_order;
        let per_block = order.counters_per_block(self.header.geometry.cluster_bits());
        let window = per_block.max(CHUNK);
        let blocks = self.refcounts.block_indices().map(|index| index.saturating_mul(per_block));
        let chunks = self.counters.chunk_numbers().map(|number| number * CHUNK);
        let mut starts: Vec<u64> = blocks
            .chain(chunks)
            .filter(|start| *start < self.clusters)
            .map(|start| start / window * window)
            .collect();
        starts.sort_unstable();
        starts.dedup();

        let mut highest = 0;
        let mut block = Vec::new();
        let total = starts.len() as u64;
        for (done, start) in (0..).zip(starts) {
            self.progress(Phase::Refcounts, done, total);
            let end = start.saturating_add(window).min(self.clusters);
            let mut first = start;
            while first < end {
                let stop = first.saturating_add(per_block).min(end);
                let place = self.refcounts.block(first / per_block);
                match place {
                    Block::At(at) => self.refcounts.read_block(at, &mut block)?,
                    Block::Absent => block.clear(),
                    Block::Unreadable => {}
                }
                let unit = per_block.min(CHUNK);
                let mut at = first;
                while at < stop {
                    let unit_end = at.saturating_add(unit).min(stop);
                    if place == Block::Unreadable {
                        (at..unit_end).for_each(|cluster| self.no_refcount(cluster));
                    } else if let Some(last) =
                        self.compare_unit(&block, at % per_block, at, unit_end)
                    {
                        highest = last;
                    }
                    at = unit_end;
                }
                first = stop;
            }
        }
        let cluster_size = self.header.geometry.cluster_size();
        self.report.image_end_offset = (highest + 1).saturating_mul(cluster_size);
        Ok(())
    }

    /// Compares the clusters `first..end`, which lie in one chunk and whose refcounts begin at
    /// `slot` of `block`, all 0 if that is empty. Returns the last cluster that is in use or counted
    /// as such.
    fn compare_unit(&mut self, block: &[u8], slot: u64, first: u64, end: u64) -> Option<u64> {
        let order = self.header.refcount_order;
        let length = usize::try_from(end - first).expect("at most a chunk");
        let place = usize::try_from(first % CHUNK).expect("below 4096");
        let chunk = self.counters.chunk(first / CHUNK);
        let refcounts = bytes_of(order, block, slot, length);
        match (chunk, refcounts) {
            (None, Some(bytes)) if is_zero(bytes) => return None,
            (None, _) if block.is_empty() => return None,
            (Some(Chunk::Narrow(cells)), Some(bytes)) if order == RefcountOrder::DEFAULT => {
                let cells = cells.get(place..place + length).unwrap_or_default();
                if agree_16(cells, bytes) {
                    let last = cells.iter().rposition(|cell| *cell != 0)?;
                    return Some(first + last as u64);
                }
            }
            _ => {}
        }
        let pairs: Vec<(u64, u64, u8)> = (0..length as u64)
            .map(|i| {
                let refcount = order.read(block, slot + i);
                let at = place + usize::try_from(i).expect("below 4096");
                let (references, flags) = chunk.map_or((0, 0), |chunk| chunk.get(at));
                (refcount, references, flags)
            })
            .collect();
        let mut last = None;
        for (cluster, (refcount, references, flags)) in (first..).zip(pairs) {
            if refcount != 0 || references != 0 {
                last = Some(cluster);
            }
            if refcount > references {
                self.leak(cluster, refcount, references);
            } else if refcount < references {
                let low = Corruption::RefcountTooLow { cluster, refcount, references };
                self.plan_mismatch(&Finding::Corruption(low.clone()));
                self.corruption(low);
            }
            let wrong = if refcount == 1 { NOT_COPIED } else { COPIED };
            if flags & wrong != 0 {
                self.suspect_flags = true;
            }
        }
        last
    }
}

/// The bytes that hold `length` refcounts from `slot` on; `None` if they do not begin and end at
/// bytes.
fn bytes_of(order: RefcountOrder, block: &[u8], slot: u64, length: usize) -> Option<&[u8]> {
    let bits = usize::try_from(order.bits()).ok()?;
    let start = usize::try_from(slot).ok()?.checked_mul(bits)?;
    let end = start.checked_add(length.checked_mul(bits)?)?;
    if start % 8 != 0 || end % 8 != 0 {
        return None;
    }
    block.get(start / 8..end / 8)
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<32>();
    words.iter().all(|word| *word == [0; 32]) && rest.iter().all(|byte| *byte == 0)
}

/// Whether 16-bit refcounts equal the counts in the cells, and no flag contradicts them. Without
/// branches, so that many are compared at a time.
fn agree_16(cells: &[u8], refcounts: &[u8]) -> bool {
    let (refcounts, rest) = refcounts.as_chunks::<2>();
    if refcounts.len() != cells.len() || !rest.is_empty() {
        return false;
    }
    let mut wrong = 0_u16;
    for (cell, refcount) in cells.iter().zip(refcounts) {
        let refcount = u16::from_be_bytes(*refcount);
        let count = u16::from(cell & !(COPIED | NOT_COPIED));
        let is_one = u16::from(refcount == 1).wrapping_neg();
        wrong |= refcount ^ count;
        wrong |= u16::from(cell & COPIED) & !is_one;
        wrong |= u16::from(cell & NOT_COPIED) & is_one;
    }
    wrong == 0
}
