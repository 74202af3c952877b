//! New refcount structures.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use holstein_format::{MAX_REFCOUNT_TABLE_BYTES, RefcountTableEntry};

use super::error::RepairError;
use super::note::RepairNote;
use crate::check::Check;
use crate::counters::CHUNK;
use crate::finding::Finding;

/// Where new refcount structures go.
#[derive(Debug)]
pub(crate) struct Rebuild {
    /// The cluster of each block, by the block's index.
    pub(crate) blocks: BTreeMap<u64, u64>,
    /// The first cluster of the table.
    pub(crate) table: u64,
    /// Its clusters.
    pub(crate) table_clusters: u64,
}

impl Check<'_> {
    /// Takes the present refcount structures out of the counts and finds a place for new ones.
    pub(crate) fn plan_rebuild(&mut self) -> Result<Rebuild, RepairError> {
        let taken = self.old_refcount_clusters();
        self.forget_old_refcounts()?;
        let per_block =
            self.header.refcount_order.counters_per_block(self.header.geometry.cluster_bits());
        let cluster_size = self.header.geometry.cluster_size();
        let mut blocks: BTreeMap<u64, u64> = BTreeMap::new();
        let mut wanted = self.blocks_in_use(per_block);
        let mut next = 0;
        loop {
            while let Some(index) = wanted.pop_first() {
                if blocks.contains_key(&index) {
                    continue;
                }
                let cluster = self.free_run(next, 1, &taken);
                next = cluster + 1;
                self.count_new(cluster, 1)?;
                blocks.insert(index, cluster);
                wanted.insert(cluster / per_block);
            }
            let last = blocks.last_key_value().map_or(0, |(index, _)| *index);
            let bytes = (last + 1).saturating_mul(8);
            if bytes > MAX_REFCOUNT_TABLE_BYTES {
                return Err(RepairError::TableTooLarge { cluster: last.saturating_mul(per_block) });
            }
            let table_clusters = bytes.div_ceil(cluster_size);
            let table = self.free_run(0, table_clusters, &taken);
            let end = table + table_clusters - 1;
            wanted = (table / per_block..=end / per_block)
                .filter(|index| !blocks.contains_key(index))
                .collect();
            if wanted.is_empty() {
                self.count_new(table, table_clusters)?;
                return Ok(Rebuild { blocks, table, table_clusters });
            }
        }
    }

    /// Indices of the blocks that have something to count.
    fn blocks_in_use(&self, per_block: u64) -> BTreeSet<u64> {
        let unit = per_block.min(CHUNK);
        let mut used = BTreeSet::new();
        for number in self.counters.chunk_numbers() {
            let start = number * CHUNK;
            for first in (start..start + CHUNK).step_by(usize::try_from(unit).unwrap_or(4096)) {
                if (first..first + unit).any(|cluster| self.counters.count(cluster) > 0) {
                    used.insert(first / per_block);
                }
            }
        }
        used
    }

    /// The first of `clusters` clusters in a row that nothing names, from `from` on.
    pub(crate) fn free_run(&self, from: u64, clusters: u64, taken: &HashSet<u64>) -> u64 {
        let mut first = from;
        loop {
            let used = |cluster: &u64| self.counters.count(*cluster) > 0 || taken.contains(cluster);
            match (first..first + clusters).rev().find(used) {
                Some(cluster) => first = cluster + 1,
                None => return first,
            }
        }
    }

    fn count_new(&mut self, first: u64, clusters: u64) -> Result<(), RepairError> {
        Ok(self.count_clusters(first, clusters, 1, 0)?)
    }

    /// Clusters that the present structures may be in, however wrong the entries that say so.
    pub(crate) fn old_refcount_clusters(&self) -> HashSet<u64> {
        let bits = self.header.geometry.cluster_bits().get();
        let mut taken: HashSet<u64> = HashSet::new();
        let table = self.header.refcount_table_offset.get();
        let bytes = self.header.refcount_table_bytes();
        if bytes > 0 {
            taken.extend(table >> bits..=table.saturating_add(bytes - 1) >> bits);
        }
        for (_, raw) in &self.refcounts.table {
            let at = raw & RefcountTableEntry::OFFSET_MASK;
            let size = self.header.geometry.cluster_size();
            taken.extend([at >> bits, at.saturating_add(size - 1) >> bits]);
        }
        taken
    }

    /// The present structures are not referenced any more; says so as QEMU does.
    fn forget_old_refcounts(&mut self) -> Result<(), RepairError> {
        let max = self.header.refcount_order.max();
        let mut old: BTreeMap<u64, u64> = BTreeMap::new();
        let ranges = match &mut self.planner {
            Some(planner) => std::mem::take(&mut planner.old_refcounts),
            None => Vec::new(),
        };
        for (first, clusters) in ranges {
            for cluster in first..first + clusters {
                self.budget.charge(48)?;
                *old.entry(cluster).or_default() += 1;
            }
        }
        for (cluster, times) in old {
            let refcount = self.counters.count(cluster);
            let lost = self.planner.as_ref().and_then(|p| p.lost.get(&cluster)).copied();
            let references = (refcount + lost.unwrap_or(0)).saturating_sub(times).min(max);
            self.counters.lower(cluster, references);
            self.note(RepairNote::Repairing(Finding::Leak { cluster, refcount, references }));
        }
        Ok(())
    }
}
