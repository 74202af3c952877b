//! New refcount blocks and a larger refcount table.
//!
//! A new block is memory only: it counts itself where it can, and the next run writes it, and after
//! a barrier the table entry that names it. A new table is a run of its own: while it is under way
//! nothing else writes metadata.
//!
//! ```text
//!   block:  block, its count elsewhere if not in itself -> barrier -> table entry -> barrier -> L2
//!   table:  new blocks, new table, their counts -> barrier -> header -> barrier -> old table freed
//! ```

use holstein_cache::{Hold, RunGuard};
use holstein_format::limits::MAX_REFCOUNT_TABLE_BYTES;
use holstein_format::{RefcountTableEntry, field_offset};
use holstein_guard::{Event, Intent, Region};
use holstein_units::{HostCluster, HostOffset};

use crate::refcounts::{Inner, change_slots};
use crate::{Freed, Provenance, RefcountError};

impl Inner {
    /// Makes sure that table entry `index` has a block, placed at `after` or later.
    pub(crate) fn grow(&self, index: u64, after: HostCluster) -> Result<(), RefcountError> {
        self.load_table()?;
        let guard = self.sequencer.lock();
        self.grow_locked(&guard, index, after.get())
    }

    fn grow_locked(&self, run: &RunGuard<'_>, index: u64, after: u64) -> Result<(), RefcountError> {
        // Ends after a few rounds: each makes a block or a larger table, and a block made for
        // another range counts itself there.
        let mut wanted = vec![(index, after)];
        while let Some(&(index, after)) = wanted.last() {
            if self.has_block(index)? {
                wanted.pop();
                continue;
            }
            if index >= self.table_entries() {
                self.grow_table(run, index, after)?;
                continue;
            }
            let (block, _) = self.reserve_now(Some(run), 1, after)?;
            let counted_in = block >> self.block_bits();
            if counted_in != index && !self.has_block(counted_in)? {
                self.unreserve(block);
                wanted.push((counted_in, block));
                continue;
            }
            self.make_block(run, index, block, counted_in == index)?;
        }
        Ok(())
    }

    fn has_block(&self, index: u64) -> Result<bool, RefcountError> {
        Ok(self.block_at(index)?.is_some())
    }

    pub(crate) fn table_entries(&self) -> u64 {
        self.lock().table.as_ref().map_or(0, |t| t.len() as u64)
    }

    /// Reserves and counts a run of any length.
    pub(crate) fn allocate(&self, want: u64) -> Result<(HostCluster, Provenance), RefcountError> {
        let hint = self.lock().hint;
        let (first, provenance) = self.reserve_now(None, want, hint)?;
        let result = self.count_run(first, want);
        let mut state = self.lock();
        state.reserved.remove(first);
        state.hint = first + want;
        result.map(|()| (HostCluster::new(first), provenance))
    }

    fn count_run(&self, first: u64, want: u64) -> Result<(), RefcountError> {
        for index in first >> self.block_bits()..=(first + want - 1) >> self.block_bits() {
            if !self.has_block(index)? {
                self.grow(index, HostCluster::new(first + want))?;
            }
        }
        self.count_once(None, first, want)
    }

    /// Counts clusters once each, however many blocks that takes: a full cache is written back.
    fn count_once(
        &self,
        run: Option<&RunGuard<'_>>,
        first: u64,
        count: u64,
    ) -> Result<(), RefcountError> {
        let per_block = 1_u64 << self.block_bits();
        let (mut at, end) = (first, first + count);
        while at < end {
            let stop = ((at / per_block + 1) * per_block).min(end);
            match self.change(HostCluster::new(at), stop - at, |_, _| 1) {
                Ok(()) => at = stop,
                Err(RefcountError::Cache(_)) => self.make_room(run)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes back what is dirty, so that the cache has room again; `run` if the caller is in one.
    pub(crate) fn make_room(&self, run: Option<&RunGuard<'_>>) -> Result<(), RefcountError> {
        match run {
            Some(run) => run.flush()?,
            None => self.sequencer.flush()?,
        }
        Ok(())
    }

    fn unreserve(&self, first: u64) {
        self.lock().reserved.remove(first);
    }

    /// Makes the block of table entry `index` at `cluster` and hooks it in, in memory: a run writes
    /// the block, and after a barrier the entry.
    fn make_block(
        &self,
        run: &RunGuard<'_>,
        index: u64,
        cluster: u64,
        counts_itself: bool,
    ) -> Result<(), RefcountError> {
        let at = self.geometry.host_offset(HostCluster::new(cluster));
        self.file.note(Event::RefcountBlockAllocWrite);
        let hold = loop {
            if self.cache.install_zeros(at).is_ok()
                && let Some(hold) = self.cache.hold(at)
            {
                break hold;
            }
            run.flush()?;
        };
        // The file has none of it yet.
        let words = usize::try_from(self.geometry.cluster_size() / 8).expect("at most 2^18");
        hold.update(0, words, |_, _| 0);
        let counted = self.change_now(run, cluster, counts_itself.then_some(&hold));
        if let Err(error) = counted {
            drop(hold);
            self.cache.retire(at);
            self.unreserve(cluster);
            return Err(error);
        }
        self.file.regions().insert(Region::RefcountBlock, HostCluster::new(cluster), 1);
        let mut guard = self.lock();
        let state = &mut *guard;
        let slot = usize::try_from(index).expect("the entry is within the table");
        if let Some(entry) = state.table.as_mut().and_then(|t| t.get_mut(slot)) {
            *entry = RefcountTableEntry::Block(at).encode();
            state.dirty_entries.insert(index);
        }
        state.reserved.remove(cluster);
        Ok(())
    }

    /// Counts a new block once: in itself, or in the block that has its counter.
    fn change_now(
        &self,
        run: &RunGuard<'_>,
        cluster: u64,
        itself: Option<&Hold>,
    ) -> Result<(), RefcountError> {
        if let Some(hold) = itself {
            let slot = cluster & ((1 << self.block_bits()) - 1);
            change_slots(hold, self.order, slot, 1, |_, _| 1);
            return Ok(());
        }
        self.count_once(Some(run), cluster, 1)
    }

    fn zeroed_cluster(&self) -> Vec<u8> {
        let len = usize::try_from(self.geometry.cluster_size()).expect("at most 2 MiB");
        vec![0; len]
    }

    /// Moves the table to a larger one that has an entry `index`, together with the blocks that
    /// the new place and `index` need.
    fn grow_table(&self, run: &RunGuard<'_>, index: u64, after: u64) -> Result<(), RefcountError> {
        let cluster = self.geometry.cluster_size();
        let file_end = self.geometry.clusters_for(self.file.len()?);
        let old = self.table_entries();
        let mut clusters = 1;
        let (start, plan) = loop {
            let (start, _) = self.reserve_now(Some(run), clusters, after.max(file_end))?;
            let mut plan = self.plan_table(start, clusters, index, old)?;
            if plan.clusters() <= clusters {
                // No cluster of the run is left over: the table takes them all.
                plan.table_clusters += clusters - plan.clusters();
                break (start, plan);
            }
            self.unreserve(start);
            clusters = plan.clusters();
        };
        let at = |n: u64| self.geometry.host_offset(HostCluster::new(start + n));
        let bits = self.block_bits();
        let (first, end) = (start, start + clusters);

        // Counts of the new clusters in blocks that exist already.
        for n in first..end {
            if !plan.new_blocks.contains(&(n >> bits)) {
                self.count_once(Some(run), n, 1)?;
            }
        }
        let mut table = {
            let state = self.lock();
            state.table.clone().unwrap_or_default()
        };
        let entries = plan.table_clusters * cluster / 8;
        table.resize(usize::try_from(entries).expect("at most 2^20 entries"), 0);
        let regions = self.file.regions();
        let mut contents = Vec::new();
        for (n, &index) in (0_u64..).zip(&plan.new_blocks) {
            let mut content = self.zeroed_cluster();
            for counted in first.max(index << bits)..end.min((index + 1) << bits) {
                self.order.write(&mut content, counted & ((1 << bits) - 1), 1);
            }
            regions.insert(Region::RefcountBlock, HostCluster::new(start + n), 1);
            self.file.note(Event::RefcountGrowBlocks);
            self.file.write(Intent::Metadata(Region::RefcountBlock), at(n), &content)?;
            let slot = usize::try_from(index).expect("at most 2^20 entries");
            table[slot] = RefcountTableEntry::Block(at(n)).encode();
            contents.push((at(n), content));
        }
        let table_at = at(plan.new_blocks.len() as u64);
        let mut bytes = Vec::with_capacity(table.len() * 8);
        for entry in &table {
            bytes.extend_from_slice(&entry.to_be_bytes());
        }
        let place = self.geometry.host_cluster(table_at);
        regions.insert(Region::RefcountTable, place, plan.table_clusters);
        self.file.note(Event::RefcountGrowTable);
        self.file.write(Intent::Metadata(Region::RefcountTable), table_at, &bytes)?;
        run.flush()?;
        let table_clusters =
            u32::try_from(plan.table_clusters).expect("a table of 8 MiB has at most 2^14 clusters");
        let fields = |table: HostOffset, clusters: u32| {
            let mut fields = table.get().to_be_bytes().to_vec();
            fields.extend_from_slice(&clusters.to_be_bytes());
            fields
        };
        let old_layout = self.lock().layout;
        self.file.note(Event::RefcountGrowSwitch);
        self.file.replace(
            Intent::Metadata(Region::MainHeader),
            HostOffset::new(field_offset::REFCOUNT_TABLE),
            &fields(old_layout.table, old_layout.table_clusters),
            &fields(table_at, table_clusters),
        )?;
        self.file.barrier()?;

        {
            let mut state = self.lock();
            state.layout.table = table_at;
            state.layout.table_clusters = table_clusters;
            state.table = Some(table);
            state.dirty_entries.clear();
            state.reserved.remove(start);
        }
        for (at, content) in contents {
            let _ = self.cache.install_bytes(at, &content);
        }
        let old_first = self.geometry.host_cluster(old_layout.table);
        let old_count = u64::from(old_layout.table_clusters);
        regions.remove(Region::RefcountTable, old_first, old_count);
        self.retire(old_first, old_count, Freed::Other);
        Ok(())
    }

    /// Which blocks and how much table are needed when `clusters` clusters from `start` hold them.
    fn plan_table(
        &self,
        start: u64,
        clusters: u64,
        index: u64,
        old_entries: u64,
    ) -> Result<TablePlan, RefcountError> {
        let bits = self.block_bits();
        let per_cluster = self.geometry.cluster_size() / 8;
        let last = index.max((start + clusters - 1) >> bits);
        let mut new_blocks = Vec::new();
        for candidate in
            std::iter::once(index).chain(start >> bits..=(start + clusters - 1) >> bits)
        {
            if !new_blocks.contains(&candidate) && !self.has_block(candidate)? {
                new_blocks.push(candidate);
            }
        }
        // Half as much again as there was, so that growth is rare.
        let entries = (last + 1).max(old_entries + old_entries / 2);
        let max = MAX_REFCOUNT_TABLE_BYTES / self.geometry.cluster_size();
        let table_clusters = entries.div_ceil(per_cluster).min(max.max(1));
        if last >= table_clusters * per_cluster {
            return Err(RefcountError::Full {
                want: 1,
                limit: (table_clusters * per_cluster) << bits,
            });
        }
        Ok(TablePlan { new_blocks, table_clusters })
    }
}

/// A table to be: its new blocks come first, then the table.
struct TablePlan {
    new_blocks: Vec<u64>,
    table_clusters: u64,
}

impl TablePlan {
    fn clusters(&self) -> u64 {
        self.new_blocks.len() as u64 + self.table_clusters
    }
}
