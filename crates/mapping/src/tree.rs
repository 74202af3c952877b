//! Whole trees of tables, walked table by table in the order of the file.
//!
//! For operations that own the image: nothing is dirty and no request is in flight, so the file is
//! the truth. Tables that are written are forgotten by the cache. A table is read once in each walk
//! and written at most once, however often L1 entries name it.

use std::sync::MutexGuard;

use holstein_cache::RunGuard;
use holstein_format::limits::MAX_L1_BYTES;
use holstein_format::{COPIED, ClusterState, L1Entry, Sharing};
use holstein_guard::{ImageFile, Intent, Region};
use holstein_refcount::{ClusterRuns, Tally};
use holstein_units::{Geometry, GuestCluster, GuestOffset, HostOffset, SECTOR};

use crate::l1_table::L1Layout;
use crate::mapping::Inner;
use crate::{MapError, Mapping};

/// Bytes of neighbouring tables that are read at once.
const CHUNK: u64 = 1 << 20;

/// Changed parts of neighbouring tables are written together where no more than this lies between.
const GAP: u64 = 4096;

/// The L1 entries of a disk or of a snapshot, and with them all tables below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<u64>,
}

/// Keeps L2 tables from being made while it lives.
#[derive(Debug)]
pub struct TablesHeld<'a> {
    _lock: MutexGuard<'a, ()>,
}

impl Tree {
    /// How many L1 entries there are.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The table as bytes of the file, no entry of which says that it is not shared.
    #[must_use]
    pub fn to_shared_bytes(&self) -> Vec<u8> {
        self.entries.iter().flat_map(|raw| (raw & !COPIED).to_be_bytes()).collect()
    }

    /// Appends unallocated entries until there are `entries`.
    pub fn extend_to(&mut self, entries: u64) {
        let entries = usize::try_from(entries).expect("at most 2^22 entries");
        if entries > self.entries.len() {
            self.entries.resize(entries, 0);
        }
    }

    /// The entries from `first` on, with nothing below.
    #[must_use]
    pub fn from_entry(&self, first: u64) -> Self {
        let keep = |(n, raw): (u64, &u64)| if n < first { 0 } else { *raw };
        Self { entries: (0..).zip(&self.entries).map(keep).collect() }
    }

    /// The entries that name other tables than the same entries of `other`.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Self {
        let table = |raw: u64| raw & L1Entry::OFFSET_MASK;
        let theirs = other.entries.iter().chain(std::iter::repeat(&0));
        let keep = |(raw, their): (&u64, &u64)| if table(*raw) == table(*their) { 0 } else { *raw };
        Self { entries: self.entries.iter().zip(theirs).map(keep).collect() }
    }

    /// The tables in the order of the file, each with the first L1 entry that names it and whether
    /// it is the only one.
    fn tables(&self, inner: &Inner) -> Result<Vec<(HostOffset, u64, u64)>, MapError> {
        let mut tables = Vec::new();
        for index in 0..self.entries() {
            if let Some(at) = self.table(index, inner.geometry)? {
                tables.push((at, index, 1_u64));
            }
        }
        tables.sort_unstable();
        tables.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.2 += 1;
            }
            same
        });
        Ok(tables)
    }

    /// The table that entry `index` names, if it names one.
    ///
    /// # Errors
    /// [`MapError::L1Entry`].
    pub fn table(&self, index: u64, geometry: Geometry) -> Result<Option<HostOffset>, MapError> {
        let raw = usize::try_from(index).ok().and_then(|n| self.entries.get(n)).copied();
        match L1Entry::decode(raw.unwrap_or(0), geometry) {
            Ok(L1Entry::Table { at, .. }) => Ok(Some(at)),
            Ok(L1Entry::Unallocated) => Ok(None),
            Err(source) => Err(MapError::L1Entry { index, source }),
        }
    }

    /// How many different tables the entries name; broken entries count as none.
    #[must_use]
    pub fn table_count(&self) -> u64 {
        self.entries.iter().filter(|raw| **raw & L1Entry::OFFSET_MASK != 0).count() as u64
    }
}

impl Mapping {
    /// Keeps L2 tables from being made. To be taken after admission was closed and before a run.
    #[must_use]
    pub fn hold_tables(&self) -> TablesHeld<'_> {
        TablesHeld { _lock: self.0.making_table.lock().expect("no maker of a table panics") }
    }

    /// The tree of the disk as it is now.
    #[must_use]
    pub fn active_tree(&self) -> Tree {
        let l1 = &self.0.l1;
        Tree { entries: (0..l1.entries()).map(|index| l1.get(index)).collect() }
    }

    /// Reads the tree of a snapshot whose L1 table was found to be within the limits.
    ///
    /// # Errors
    /// [`MapError::L1TooLarge`]; [`MapError::Guard`] if it cannot be read.
    pub fn read_tree(&self, layout: L1Layout) -> Result<Tree, MapError> {
        if layout.entries > MAX_L1_BYTES / 8 {
            return Err(MapError::L1TooLarge { entries: layout.entries });
        }
        let mut bytes = vec![0; usize::try_from(layout.entries * 8).expect("at most 32 MiB")];
        if !bytes.is_empty() {
            self.0.file.read(layout.at, &mut bytes)?;
        }
        Ok(Tree { entries: bytes.chunks_exact(8).map(word).collect() })
    }

    /// Counts all references that a tree holds: to L2 tables, and to what these name.
    ///
    /// * `step`: told how many tables were just done.
    ///
    /// # Errors
    /// Entries that are in no state; I/O.
    pub fn count_tree(
        &self,
        tree: &Tree,
        tally: &mut Tally,
        step: &mut dyn FnMut(u64),
    ) -> Result<(), MapError> {
        let inner = &self.0;
        let mut times = Vec::new();
        inner.walk(tree, None, |table, bytes| {
            for _ in 0..table.2 {
                tally.add(inner.geometry.host_cluster(table.0), 1);
            }
            times.clear();
            for (n, entry) in (0_u64..).zip(bytes.chunks_exact(inner.entry_bytes())) {
                let raw = word(entry);
                if raw == 0 {
                    continue;
                }
                times.extend(inner.clusters_of(inner.decode_in(table.1, n, raw)?));
            }
            // In one go for each reference to the table, so that neighbours join.
            for _ in 0..table.2 {
                for (first, count) in &times {
                    tally.add(*first, *count);
                }
            }
            step(1);
            Ok(None)
        })
    }

    /// Clears COPIED in all L2 tables of a tree; `region` is what they are. Those that change are
    /// written, and durable after the next barrier.
    ///
    /// # Errors
    /// As for [`Self::count_tree`].
    pub fn clear_copied_below(
        &self,
        run: &RunGuard<'_>,
        tree: &Tree,
        region: Region,
        step: &mut dyn FnMut(u64),
    ) -> Result<(), MapError> {
        let inner = &self.0;
        inner.walk(tree, Some((run.file(), region)), |table, bytes| {
            step(1);
            let mut dirty = Dirty::default();
            for (n, entry) in (0_u64..).zip(bytes.chunks_exact_mut(inner.entry_bytes())) {
                let raw = word(entry);
                if raw & COPIED != 0 {
                    inner.decode_in(table.1, n, raw)?;
                    set_word(entry, raw & !COPIED);
                    dirty.note(n);
                }
            }
            Ok(dirty.0)
        })
    }

    /// Clears COPIED in the L1 table of the disk and writes what changed.
    ///
    /// # Errors
    /// I/O.
    pub fn clear_copied_in_l1(&self, run: &RunGuard<'_>) -> Result<(), MapError> {
        self.0.change_l1(run, |_, raw| raw & !COPIED)
    }

    /// Makes the entries of the disk's L1 table from `first` on unallocated and writes what changed.
    ///
    /// # Errors
    /// I/O.
    pub fn clear_l1_from(&self, run: &RunGuard<'_>, first: u64) -> Result<(), MapError> {
        let inner = &self.0;
        let regions = inner.file.regions();
        let dropped = self.active_tree().from_entry(first);
        inner.change_l1(run, |index, raw| if index < first { raw } else { 0 })?;
        for (at, ..) in dropped.tables(inner)? {
            inner.forget_table(at);
            regions.remove(Region::ActiveL2, inner.cluster_of(at), 1);
        }
        Ok(())
    }

    /// Sets COPIED in the disk's tables where an entry names one of the clusters in `sole`, which have
    /// one reference each, and writes what changed.
    ///
    /// # Errors
    /// As for [`Self::count_tree`].
    pub fn set_copied(&self, run: &RunGuard<'_>, sole: &ClusterRuns) -> Result<(), MapError> {
        if sole.is_empty() {
            return Ok(());
        }
        let inner = &self.0;
        let tree = self.active_tree();
        let mut own = vec![false; tree.entries.len()];
        for (at, index, times) in tree.tables(inner)? {
            let slot = usize::try_from(index).expect("an index of the vector");
            let raw = tree.entries.get(slot).copied().unwrap_or(0);
            // Nothing in a table that others share is the disk's alone.
            let copied = Sharing::of(raw) == Sharing::Exclusive;
            own[slot] = times == 1 && (copied || sole.contains(inner.cluster_of(at)));
        }
        let mut candidates = tree.clone();
        for (entry, own) in candidates.entries.iter_mut().zip(&own) {
            if !own {
                *entry = 0;
            }
        }
        inner.walk(&candidates, Some((run.file(), Region::ActiveL2)), |table, bytes| {
            let mut dirty = Dirty::default();
            for (n, entry) in (0_u64..).zip(bytes.chunks_exact_mut(inner.entry_bytes())) {
                let raw = word(entry);
                if raw == 0 || raw & COPIED != 0 {
                    continue;
                }
                if let ClusterState::Data { at, .. } | ClusterState::Zero { at: Some(at), .. } =
                    inner.decode_in(table.1, n, raw)?
                    && sole.contains(inner.cluster_of(at))
                {
                    set_word(entry, raw | COPIED);
                    dirty.note(n);
                }
            }
            Ok(dirty.0)
        })?;
        inner.change_l1(run, |index, raw| {
            let own = usize::try_from(index).ok().and_then(|n| own.get(n)).copied();
            if own == Some(true) && raw & L1Entry::OFFSET_MASK != 0 { raw | COPIED } else { raw }
        })
    }

    /// The disk's tree is `tree` from now on, whose L1 table the file has at `layout`.
    ///
    /// No request is in flight. Tables of the old tree are forgotten, and unprotected.
    pub fn switch_tree(&self, layout: L1Layout, tree: &Tree) {
        let inner = &self.0;
        let regions = inner.file.regions();
        let old_layout = inner.l1.layout();
        for raw in self.active_tree().entries.iter().chain(&tree.entries) {
            if let Ok(L1Entry::Table { at, .. }) = L1Entry::decode(*raw, inner.geometry) {
                inner.forget_table(at);
                regions.remove(Region::ActiveL2, inner.cluster_of(at), 1);
            }
        }
        let clusters = inner.geometry.clusters_for(old_layout.entries * 8);
        regions.remove(Region::ActiveL1, inner.cluster_of(old_layout.at), clusters);
        inner.l1.replace(layout, tree.entries.iter().map(|raw| raw & !COPIED));
        self.register_regions();
    }

    /// Notes that the L2 tables of a tree are tables of a snapshot, or not any more.
    pub fn note_snapshot_tables(&self, tree: &Tree, kept: bool) {
        let inner = &self.0;
        let regions = inner.file.regions();
        for raw in &tree.entries {
            if let Ok(L1Entry::Table { at, .. }) = L1Entry::decode(*raw, inner.geometry) {
                let cluster = inner.cluster_of(at);
                if kept {
                    regions.insert(Region::InactiveL2, cluster, 1);
                } else {
                    regions.remove(Region::InactiveL2, cluster, 1);
                }
            }
        }
    }
}

/// The first and last entry that changed.
#[derive(Default)]
struct Dirty(Option<(u64, u64)>);

impl Dirty {
    fn note(&mut self, n: u64) {
        self.0 = Some(self.0.map_or((n, n), |(first, _)| (first, n)));
    }
}

impl Inner {
    /// Reads each table of a tree once, in the order of the file, and hands it to `f`, which may
    /// change it and then says which entries it changed. Changes are written to `target`.
    fn walk(
        &self,
        tree: &Tree,
        target: Option<(&ImageFile, Region)>,
        mut f: impl FnMut(&(HostOffset, u64, u64), &mut [u8]) -> Result<Option<(u64, u64)>, MapError>,
    ) -> Result<(), MapError> {
        let tables = tree.tables(self)?;
        let cluster = self.geometry.cluster_size();
        let entry = self.geometry.l2_entry_size();
        let size = |n: u64| usize::try_from(n).expect("at most a chunk or a cluster");
        let mut bytes = Vec::new();
        let mut rest = tables.as_slice();
        while let Some(first) = rest.first() {
            let most = (CHUNK / cluster).max(1);
            let count = (0..most)
                .zip(rest)
                .take_while(|(n, table)| first.0.get() + n * cluster == table.0.get())
                .count();
            let (group, after) = rest.split_at(count);
            rest = after;
            bytes.resize(size(cluster) * count, 0);
            self.file.read(first.0, &mut bytes)?;
            // Whole sectors that changed, from the start of the group.
            let mut changed: Vec<(u64, u64)> = Vec::new();
            let mut failed = None;
            for ((n, table), part) in
                (0_u64..).zip(group).zip(bytes.chunks_exact_mut(size(cluster)))
            {
                match f(table, part) {
                    Ok(None) => {}
                    Ok(Some((from, to))) => {
                        let from = n * cluster + from * entry / SECTOR * SECTOR;
                        let to = n * cluster + (to * entry / SECTOR + 1) * SECTOR;
                        match changed.last_mut() {
                            Some((_, end)) if from <= *end + GAP => *end = to,
                            _ => changed.push((from, to)),
                        }
                    }
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            let Some((file, region)) = target.filter(|_| !changed.is_empty()) else { continue };
            let written = changed.iter().try_for_each(|(from, to)| {
                let part = bytes.get(size(*from)..size(*to)).unwrap_or_default();
                file.write(Intent::Metadata(region), first.0 + *from, part)
            });
            // Afterwards: a fetch that began before has read what was there before.
            group.iter().for_each(|table| self.forget_table(table.0));
            written?;
        }
        Ok(())
    }

    /// Bytes of an L2 entry; the first 8 of them tell what it refers to.
    fn entry_bytes(&self) -> usize {
        usize::try_from(self.geometry.l2_entry_size()).expect("8 or 16")
    }

    /// Drops what the cache has of a table.
    pub(crate) fn forget_table(&self, table: HostOffset) {
        for slice in self.slices.of_table(table) {
            self.l2.retire(slice);
        }
    }

    /// Decodes entry `n` of the table of L1 entry `l1_index`.
    fn decode_in(&self, l1_index: u64, n: u64, raw: u64) -> Result<ClusterState, MapError> {
        ClusterState::decode(raw, &self.rules).map_err(|source| {
            let per_table = self.geometry.bytes_per_l2() / self.geometry.cluster_size();
            let at = GuestCluster::new(l1_index.saturating_mul(per_table).saturating_add(n));
            let at = GuestOffset::new(at.get().saturating_mul(self.geometry.cluster_size()));
            MapError::L2Entry { at, source }
        })
    }

    /// Changes entries of the L1 table in memory, then writes the part of the file that changed.
    fn change_l1(&self, run: &RunGuard<'_>, f: impl Fn(u64, u64) -> u64) -> Result<(), MapError> {
        let Some((from, bytes)) = self.l1.change(f) else { return Ok(()) };
        let at = self.l1.layout().at + from;
        let write = || run.file().write(Intent::Metadata(Region::ActiveL1), at, &bytes);
        let written = write();
        if written.is_err() {
            // Memory has changed already; the caller hears of it whether or not this works.
            let _ = write();
        }
        Ok(written?)
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn set_word(bytes: &mut [u8], word: u64) {
    if let Some(first) = bytes.first_chunk_mut::<8>() {
        *first = word.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[u64]) -> Tree {
        Tree { entries: entries.to_vec() }
    }

    #[test]
    fn trees_differ_where_they_name_other_tables() {
        let old = tree(&[COPIED | 0x1_0000, 0x2_0000, 0, 0x4_0000]);
        let new = tree(&[0x1_0000, 0x3_0000, 0x5_0000]);
        assert_eq!(new.differing(&old), tree(&[0, 0x3_0000, 0x5_0000]));
        assert_eq!(old.differing(&new), tree(&[0, 0x2_0000, 0, 0x4_0000]));
        assert_eq!(old.from_entry(3), tree(&[0, 0, 0, 0x4_0000]));
        assert_eq!(old.table_count(), 3);
    }

    #[test]
    fn a_shared_l1_table_has_no_copied_flag() {
        let bytes = tree(&[COPIED | 0x1_0000, 7]).to_shared_bytes();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    }
}
