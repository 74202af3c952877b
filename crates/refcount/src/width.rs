//! The same counts in counters of another width.
//!
//! ```text
//!   every old counter looked at -> new blocks and table behind the last used cluster -> header -> old ones freed
//! ```
//!
//! The new structures count themselves and all that the old ones count, the old ones included. Until the
//! header names them nothing does: a crash leaves no trace of them but bytes behind the used part of the
//! file. One old and one new block are in memory at a time.

use std::collections::BTreeSet;
use std::ops::Range;

use holstein_cache::RunGuard;
use holstein_format::limits::MAX_REFCOUNT_TABLE_BYTES;
use holstein_format::{RefcountOrder, RefcountTableEntry};
use holstein_guard::{Intent, Region};
use holstein_units::{HostCluster, HostOffset};

use crate::refcounts::Inner;
use crate::{RefcountError, RefcountLayout, Refcounts};

/// Hears how many of how many steps are done.
pub type Steps<'a> = &'a mut dyn FnMut(u64, u64);

/// Refcount structures that the file holds whole and nothing names yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWidth {
    /// Where they are.
    pub layout: RefcountLayout,
    /// Runs of clusters of the structures that they replace: first cluster and count.
    pub replaced: Vec<(HostCluster, u64)>,
}

impl Refcounts {
    /// Writes all counts again, in counters of another width.
    ///
    /// The caller holds the run lock, no request is in flight, and no count in memory differs from the
    /// file. When the header names the new structures, these refcounts are of no use any more.
    ///
    /// # Errors
    /// [`RefcountError::Narrow`] for a count that does not fit and [`RefcountError::Full`] where the
    /// table would exceed its limit, with nothing written; I/O.
    ///
    /// # Spec
    /// "Version change and amend"; rule C9.
    pub fn write_as(
        &self,
        run: &RunGuard<'_>,
        order: RefcountOrder,
        steps: Steps<'_>,
    ) -> Result<NewWidth, RefcountError> {
        let inner = &self.0;
        inner.load_table()?;
        let start = self.used_end()?.get();
        let mut reader = OldCounts { inner, block: Vec::new(), index: None };
        let old_blocks = inner.blocks()?;
        let work = 2 * old_blocks.len() as u64;
        let used = reader.judge(&old_blocks, order, &mut |done| steps(done, work))?;
        let plan = Plan::new(inner, order, start, used)?;
        // If that fails, what was written is in clusters that are free still.
        inner.lock().fresh_from = u64::MAX;
        plan.write(run, &mut reader, &mut |part, of| {
            steps(work / 2 + work / 2 * part / of.max(1), work);
        })?;
        Ok(NewWidth { layout: plan.layout(inner), replaced: inner.structures(&old_blocks) })
    }
}

impl Inner {
    /// Index and place of every block.
    fn blocks(&self) -> Result<Vec<(u64, HostOffset)>, RefcountError> {
        let mut blocks = Vec::new();
        for index in 0..self.table_entries() {
            if let Some(at) = self.block_at(index)? {
                blocks.push((index, at));
            }
        }
        Ok(blocks)
    }

    /// The clusters of the table and of its blocks.
    fn structures(&self, blocks: &[(u64, HostOffset)]) -> Vec<(HostCluster, u64)> {
        let layout = self.lock().layout;
        let mut runs =
            vec![(self.geometry.host_cluster(layout.table), u64::from(layout.table_clusters))];
        for (_, at) in blocks {
            let cluster = self.geometry.host_cluster(*at);
            match runs.last_mut() {
                Some((first, count)) if first.get() + *count == cluster.get() => *count += 1,
                _ => runs.push((cluster, 1)),
            }
        }
        runs
    }
}

/// Reads old counters, one block in memory.
struct OldCounts<'a> {
    inner: &'a Inner,
    block: Vec<u8>,
    index: Option<u64>,
}

impl OldCounts<'_> {
    /// Brings the block of table entry `index` into memory; false if there is none.
    fn load(&mut self, index: u64) -> Result<bool, RefcountError> {
        if self.index == Some(index) {
            return Ok(true);
        }
        let Some(at) = self.inner.block_at(index)? else { return Ok(false) };
        let len = usize::try_from(self.inner.geometry.cluster_size()).expect("at most 2 MiB");
        self.block.resize(len, 0);
        self.index = None;
        self.inner.file.read(at, &mut self.block)?;
        self.index = Some(index);
        Ok(true)
    }

    /// Looks at every counter; the indices of the new blocks that will hold some.
    fn judge(
        &mut self,
        blocks: &[(u64, HostOffset)],
        order: RefcountOrder,
        steps: &mut dyn FnMut(u64),
    ) -> Result<BTreeSet<u64>, RefcountError> {
        let old = self.inner.order;
        let per_old = 1_u64 << self.inner.block_bits();
        let new_bits = order.block_bits(self.inner.geometry.cluster_bits());
        let mut used = BTreeSet::new();
        for (done, (index, _)) in (1..).zip(blocks) {
            self.load(*index)?;
            let mut last = None;
            for (slot, count) in counted(old, &self.block, 0..per_old) {
                let cluster = HostCluster::new(index * per_old + slot);
                if count > order.max() {
                    let at = self.inner.geometry.host_offset(cluster);
                    return Err(RefcountError::Narrow { at, count, bits: order.bits() });
                }
                let needed = cluster.get() >> new_bits;
                if last != Some(needed) {
                    used.insert(needed);
                    last = Some(needed);
                }
            }
            steps(done);
        }
        Ok(used)
    }

    /// Adds the old counts of the clusters of one new block to it.
    fn copy(
        &mut self,
        index: u64,
        order: RefcountOrder,
        to: &mut [u8],
    ) -> Result<(), RefcountError> {
        let (old, old_bits) = (self.inner.order, self.inner.block_bits());
        let new_bits = order.block_bits(self.inner.geometry.cluster_bits());
        let (mut at, end) = (index << new_bits, (index + 1) << new_bits);
        while at < end {
            let stop = (((at >> old_bits) + 1) << old_bits).min(end);
            if self.load(at >> old_bits)? {
                let first = at >> old_bits << old_bits;
                for (slot, count) in counted(old, &self.block, at - first..stop - first) {
                    order.write(to, (first + slot) & ((1 << new_bits) - 1), count);
                }
            }
            at = stop;
        }
        Ok(())
    }
}

/// The counts above 0 of some slots of a block, which begin and end with whole words. Most of a block is
/// zeros, and eight bytes of them are one look.
fn counted(
    order: RefcountOrder,
    block: &[u8],
    slots: Range<u64>,
) -> impl Iterator<Item = (u64, u64)> {
    let per_word = 64 / u64::from(order.bits());
    let words = block.as_chunks::<8>().0;
    let end = usize::try_from(slots.end / per_word).map_or(words.len(), |end| end.min(words.len()));
    let begin = usize::try_from(slots.start / per_word).map_or(end, |begin| begin.min(end));
    (slots.start / per_word..)
        .zip(&words[begin..end])
        .filter(|(_, word)| **word != [0; 8])
        .flat_map(move |(word, _)| word * per_word..(word + 1) * per_word)
        .map(move |slot| (slot, order.read(block, slot)))
        .filter(|(_, count)| *count != 0)
}

/// Where the new structures go: the blocks in the order of their indices, then the table.
struct Plan {
    order: RefcountOrder,
    start: u64,
    blocks: Vec<u64>,
    table_clusters: u64,
}

impl Plan {
    /// Finds out which blocks are needed, those that count the new clusters included.
    fn new(
        inner: &Inner,
        order: RefcountOrder,
        start: u64,
        used: BTreeSet<u64>,
    ) -> Result<Self, RefcountError> {
        let bits = order.block_bits(inner.geometry.cluster_bits());
        let cluster = inner.geometry.cluster_size();
        let mut clusters = 1;
        loop {
            let mut blocks = used.clone();
            blocks.extend(start >> bits..=(start + clusters - 1) >> bits);
            let entries = blocks.last().map_or(0, |last| last + 1);
            let table_clusters = (entries * 8).div_ceil(cluster);
            if table_clusters * cluster > MAX_REFCOUNT_TABLE_BYTES.max(cluster) {
                let limit = (MAX_REFCOUNT_TABLE_BYTES / 8) << bits;
                return Err(RefcountError::Full { want: clusters, limit });
            }
            let needed = blocks.len() as u64 + table_clusters;
            if needed <= clusters {
                let blocks = blocks.into_iter().collect();
                return Ok(Self { order, start, blocks, table_clusters });
            }
            clusters = needed;
        }
    }

    fn end(&self) -> u64 {
        self.start + self.blocks.len() as u64 + self.table_clusters
    }

    fn write(
        &self,
        run: &RunGuard<'_>,
        old: &mut OldCounts<'_>,
        steps: Steps<'_>,
    ) -> Result<(), RefcountError> {
        let geometry = old.inner.geometry;
        let bits = self.order.block_bits(geometry.cluster_bits());
        let at = |n: u64| geometry.host_offset(HostCluster::new(self.start + n));
        let size = |n: u64| usize::try_from(n).expect("at most 8 MiB of table");
        let mut table = vec![0_u8; size(self.table_clusters * geometry.cluster_size())];
        let mut content = vec![0_u8; size(geometry.cluster_size())];
        let total = self.blocks.len() as u64;
        for (n, &index) in (0_u64..).zip(&self.blocks) {
            content.fill(0);
            old.copy(index, self.order, &mut content)?;
            let (first, end) = (index << bits, (index + 1) << bits);
            for own in self.start.max(first)..self.end().min(end) {
                self.order.write(&mut content, own - first, 1);
            }
            let intent = Intent::Metadata(Region::RefcountBlock);
            run.file().write(intent, at(n), &content)?;
            let entry = RefcountTableEntry::Block(at(n)).encode().to_be_bytes();
            table[size(index * 8)..size(index * 8) + 8].copy_from_slice(&entry);
            steps(n + 1, total);
        }
        run.file().write(Intent::Metadata(Region::RefcountTable), at(total), &table)?;
        Ok(())
    }

    fn layout(&self, inner: &Inner) -> RefcountLayout {
        let table = HostCluster::new(self.start + self.blocks.len() as u64);
        RefcountLayout {
            order: self.order,
            table: inner.geometry.host_offset(table),
            table_clusters: u32::try_from(self.table_clusters).expect("at most 2^14"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_in_every_width_and_range() {
        for order in (0..=6).map(|order| RefcountOrder::new(order).expect("a width")) {
            let mut block = vec![0; 512];
            let slots = 512 * 8 / u64::from(order.bits());
            let mut set: Vec<u64> = vec![0, 1, 7, 8, 9, 31, 33, slots / 2 - 1, slots - 1];
            set.retain(|slot| *slot < slots);
            for slot in &set {
                order.write(&mut block, *slot, (slot + 1).min(order.max()));
            }
            // Ranges begin and end where blocks of the other width do.
            for range in [0..slots, 0..slots / 2, slots / 2..slots, slots / 2..slots / 2] {
                let plain: Vec<_> = range
                    .clone()
                    .map(|slot| (slot, order.read(&block, slot)))
                    .filter(|(_, count)| *count != 0)
                    .collect();
                let found: Vec<_> = counted(order, &block, range).collect();
                assert_eq!(found, plain, "{} bits", order.bits());
            }
        }
    }
}
