//! The refcounts on disk.

use std::collections::HashMap;

use holstein_format::{Header, MAX_FILE_BYTES, RefcountTableEntry};
use holstein_units::HostOffset;

use crate::check::Check;
use crate::error::CheckError;
use crate::finding::Corruption;
use crate::source::Source;

/// Bytes of refcount blocks that are kept for single look-ups.
const CACHE_BYTES: u64 = 32 << 20;

/// Where the refcounts of a block's clusters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// All are 0.
    Absent,
    /// At this offset.
    At(u64),
    /// At an impossible offset: unaligned, or past 2^63.
    Unreadable,
}

/// Reads refcounts.
pub(crate) struct RefcountReader<'a> {
    source: &'a Source<'a>,
    header: &'a Header,
    /// Index and raw entry of what is not 0 in the table, ascending: at most 2^20.
    pub(crate) table: Vec<(u64, u64)>,
    /// Blocks by their offset.
    cache: HashMap<u64, Vec<u8>>,
}

impl<'a> RefcountReader<'a> {
    pub(crate) fn new(source: &'a Source<'a>, header: &'a Header) -> Self {
        Self { source, header, table: Vec::new(), cache: HashMap::new() }
    }

    /// Indices of table entries that are not 0, ascending.
    pub(crate) fn block_indices(&self) -> impl Iterator<Item = u64> {
        self.table.iter().map(|(index, _)| *index)
    }

    /// Where a block is; reserved bits are ignored, as readers do.
    pub(crate) fn block(&self, index: u64) -> Block {
        let Ok(place) = self.table.binary_search_by_key(&index, |(index, _)| *index) else {
            return Block::Absent;
        };
        let Some((_, raw)) = self.table.get(place) else { return Block::Absent };
        match RefcountTableEntry::decode(*raw, self.header.geometry) {
            Ok(RefcountTableEntry::Absent) => Block::Absent,
            Ok(RefcountTableEntry::Block(at)) if at.get() <= MAX_FILE_BYTES => Block::At(at.get()),
            _ => Block::Unreadable,
        }
    }

    /// Reads a block into `into`, which is one cluster long.
    pub(crate) fn read_block(&self, at: u64, into: &mut Vec<u8>) -> Result<(), CheckError> {
        let bytes = usize::try_from(self.header.geometry.cluster_size()).expect("at most 2 MiB");
        into.resize(bytes, 0);
        self.source.read("a refcount block", at, into)
    }

    /// The refcount of one cluster; `None` where its block is at an impossible place.
    pub(crate) fn refcount(&mut self, cluster: u64) -> Result<Option<u64>, CheckError> {
        let order = self.header.refcount_order;
        let bits = order.block_bits(self.header.geometry.cluster_bits());
        let slot = cluster & ((1 << bits) - 1);
        let at = match self.block(cluster >> bits) {
            Block::Absent => return Ok(Some(0)),
            Block::Unreadable => return Ok(None),
            Block::At(at) => at,
        };
        if let Some(block) = self.cache.get(&at) {
            return Ok(Some(order.read(block, slot)));
        }
        let cluster_size = self.header.geometry.cluster_size();
        if (self.cache.len() as u64 + 1) * cluster_size > CACHE_BYTES {
            self.cache.clear();
        }
        let mut block = Vec::new();
        self.read_block(at, &mut block)?;
        let refcount = order.read(&block, slot);
        self.cache.insert(at, block);
        Ok(Some(refcount))
    }
}

impl Check<'_> {
    /// Reads the refcount table, judges its entries and counts the blocks.
    pub(crate) fn count_refcount_blocks(&mut self) -> Result<(), CheckError> {
        let at = self.header.refcount_table_offset.get();
        let entries = self.header.refcount_table_bytes() / 8;
        if at == 0 {
            return Ok(());
        }
        let mut table = Vec::new();
        self.source.for_each_entry("the refcount table", at, entries, |index, raw| {
            table.push((index, raw));
            Ok(())
        })?;
        for (index, raw) in &table {
            self.count_refcount_block(*index, *raw)?;
        }
        self.refcounts.table = table;
        Ok(())
    }

    fn count_refcount_block(&mut self, index: u64, raw: u64) -> Result<(), CheckError> {
        let geometry = self.header.geometry;
        if RefcountTableEntry::reserved_bits(raw) != 0 {
            self.bad_refcount_block(Corruption::RefcountTableReserved { index });
            return Ok(());
        }
        let at = HostOffset::new(raw);
        if !geometry.is_aligned(at) {
            self.bad_refcount_block(Corruption::RefcountBlockUnaligned { index });
            return Ok(());
        }
        let cluster = geometry.host_cluster(at).get();
        if cluster >= self.clusters && !self.plan_growth_for_block(index, raw) {
            return Ok(());
        }
        self.count_old_refcounts(raw, geometry.cluster_size())?;
        let references = self.counters.count(cluster);
        if references != 1 {
            self.bad_refcount_block(Corruption::RefcountBlockShared { index, references });
        }
        Ok(())
    }

    /// What makes the refcount structures unfit to be repaired in place.
    pub(crate) fn bad_refcount_block(&mut self, corruption: Corruption) {
        self.corruption(corruption);
        if let Some(planner) = self.all_planner() {
            planner.corruptions_fixed += 1;
        }
        self.need_rebuild();
    }
}
