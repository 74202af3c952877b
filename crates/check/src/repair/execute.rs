//! Doing what a plan says.

use std::sync::Arc;

use holstein_format::{IncompatibleFeatures, field_offset};
use holstein_guard::planted::{Bug, is_planted};
use holstein_guard::{ImageFile, Intent, Region, RegionMask};
use holstein_storage::Storage;
use holstein_units::{HostCluster, HostOffset, SECTOR};

use super::count_fixes::CountRun;
use super::error::RepairError;
use super::plan::{RepairOptions, RepairPlan, plan_repair};
use super::rebuild::Rebuild;
use super::steps::RepairStep;
use super::word_fixes::WordFix;
use crate::check::check;
use crate::options::Progress;
use crate::report::Report;

/// Bytes of a table that are written at once.
const SPAN: u64 = 64 << 10;

/// The outcome of a repair.
#[derive(Debug)]
pub struct RepairOutcome {
    /// What was found and done.
    pub plan: RepairPlan,
    /// What a check found afterwards; `None` if nothing was written.
    pub after: Option<Report>,
}

impl RepairOutcome {
    /// What the image is like now.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.after.as_ref().unwrap_or(&self.plan.report)
    }
}

/// Checks an image, repairs it, and checks it again if anything was put right.
///
/// The caller has the file to itself. If this fails, or is cut short, the image is as readable as
/// before and can be repaired again.
///
/// # Errors
/// [`RepairError`]. A repair of leaks that finds refcounts to be rebuilt writes nothing.
pub fn repair(
    storage: &Arc<dyn Storage>,
    options: &RepairOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<RepairOutcome, RepairError> {
    let plan = plan_repair(&**storage, options, progress)?;
    plan.execute(storage)?;
    let after =
        if plan.is_empty() { None } else { Some(check(&**storage, &options.check, progress)?) };
    Ok(RepairOutcome { plan, after })
}

impl RepairPlan {
    /// Does what the plan says, to the storage that it was made for.
    ///
    /// # Errors
    /// [`RepairError::RebuildNeeded`]; [`RepairError::Changed`] if the file is not what it was;
    /// [`RepairError::File`].
    pub fn execute(&self, storage: &Arc<dyn Storage>) -> Result<(), RepairError> {
        if self.refuses {
            return Err(RepairError::RebuildNeeded);
        }
        let file = ImageFile::new(Arc::clone(storage), self.header.geometry, RegionMask::ALL);
        self.protect(&file);
        let marked = |step: &RepairStep<'_>| matches!(step, RepairStep::ClearMarks);
        if is_planted(Bug::MarksClearedFirst) && self.steps().iter().any(marked) {
            self.clear_marks(&file)?;
            file.barrier()?;
        }
        for step in self.steps() {
            match step {
                RepairStep::ClearAutoclear => self.clear_autoclear(&file)?,
                RepairStep::Grow { to } => file.set_len(to)?,
                RepairStep::Entries(words) | RepairStep::GiveCopied(words) => {
                    write_words(&file, words.0)?;
                }
                RepairStep::Raise(counts) | RepairStep::Lower(counts) => {
                    self.write_counts(&file, counts.0)?;
                }
                RepairStep::SnapshotTable { at, .. } => self.write_snapshots(&file, at)?,
                RepairStep::Refcounts { .. } => {
                    if let Some(rebuild) = &self.rebuild {
                        self.write_refcounts(&file, rebuild)?;
                    }
                }
                RepairStep::NameTables { .. } => self.name_tables(&file)?,
                RepairStep::ClearMarks => self.clear_marks(&file)?,
            }
            file.barrier()?;
        }
        Ok(())
    }

    /// Names what new tables must not hit: everything that has a reference is metadata to them.
    fn protect(&self, file: &ImageFile) {
        let (header, geometry) = (&self.header, self.header.geometry);
        let regions = file.regions();
        regions.insert(Region::MainHeader, HostCluster::new(0), 1);
        let protect = |region, at: HostOffset, bytes| {
            let clusters = geometry.clusters_for(bytes);
            if at.get() != 0 && clusters > 0 {
                regions.insert(region, geometry.host_cluster(at), clusters);
            }
        };
        protect(Region::ActiveL1, header.l1_table_offset, header.l1_bytes());
        let table = header.refcount_table_offset;
        protect(Region::RefcountTable, table, header.refcount_table_bytes());
    }

    fn write_snapshots(&self, file: &ImageFile, at: u64) -> Result<(), RepairError> {
        let table = self.snapshots.as_ref().and_then(|list| list.table.as_deref());
        if let Some(table) = table
            && !table.is_empty()
        {
            let intent = Intent::Metadata(Region::SnapshotTable);
            file.write(intent, HostOffset::new(at), table)?;
        }
        Ok(())
    }

    /// Replaces the fields of the header that name tables, which lie in one sector.
    fn name_tables(&self, file: &ImageFile) -> Result<(), RepairError> {
        let bits = self.header.geometry.cluster_bits().get();
        let (mut table, mut clusters) =
            (self.header.refcount_table_offset.get(), self.header.refcount_table_clusters);
        let (mut count, mut list) = (self.header.nb_snapshots, self.header.snapshots_offset.get());
        if let Some(rebuild) = &self.rebuild {
            table = rebuild.table << bits;
            clusters = u32::try_from(rebuild.table_clusters).expect("at most 8 MiB of table");
        }
        if let Some(snapshots) = &self.snapshots {
            (count, list) = (snapshots.count, snapshots.at);
        }
        let fields = |table: u64, clusters: u32, count: u32, list: u64| {
            let mut bytes = [0; 24];
            let parts = [&table.to_be_bytes()[..], &clusters.to_be_bytes(), &count.to_be_bytes()];
            for (byte, value) in
                bytes.iter_mut().zip(parts.concat().iter().chain(&list.to_be_bytes()))
            {
                *byte = *value;
            }
            bytes
        };
        let header = &self.header;
        let old = fields(
            header.refcount_table_offset.get(),
            header.refcount_table_clusters,
            header.nb_snapshots,
            header.snapshots_offset.get(),
        );
        let new = fields(table, clusters, count, list);
        let at = HostOffset::new(field_offset::REFCOUNT_TABLE);
        Ok(file.replace(Intent::Metadata(Region::MainHeader), at, &old, &new)?)
    }

    fn clear_marks(&self, file: &ImageFile) -> Result<(), RepairError> {
        let mut bits = self.header.incompatible;
        bits.remove(IncompatibleFeatures::DIRTY);
        bits.remove(IncompatibleFeatures::CORRUPT);
        write_features(file, field_offset::INCOMPATIBLE, bits.bits())
    }

    fn clear_autoclear(&self, file: &ImageFile) -> Result<(), RepairError> {
        let bits = self.header.autoclear;
        write_features(file, field_offset::AUTOCLEAR, bits.bits() & !bits.unknown())
    }

    /// Writes all new blocks, then the table.
    fn write_refcounts(&self, file: &ImageFile, rebuild: &Rebuild) -> Result<(), RepairError> {
        let geometry = self.header.geometry;
        let order = self.header.refcount_order;
        let (bits, size) = (geometry.cluster_bits().get(), geometry.cluster_size());
        let per_block = order.counters_per_block(geometry.cluster_bits());
        let intent = Intent::Metadata(Region::RefcountBlock);
        let mut block = vec![0; usize::try_from(size).expect("at most 2 MiB")];
        for (index, cluster) in &rebuild.blocks {
            block.fill(0);
            let first = index * per_block;
            for slot in 0..per_block {
                let count = self.counters.count(first + slot);
                if count > 0 {
                    order.write(&mut block, slot, count);
                }
            }
            file.write(intent, HostOffset::new(cluster << bits), &block)?;
        }
        let bytes = rebuild.table_clusters * size;
        let mut table = vec![0; usize::try_from(bytes).expect("at most 8 MiB")];
        let (entries, _) = table.as_chunks_mut::<8>();
        for (index, cluster) in &rebuild.blocks {
            let entry = usize::try_from(*index).ok().and_then(|index| entries.get_mut(index));
            if let Some(entry) = entry {
                *entry = (cluster << bits).to_be_bytes();
            }
        }
        let intent = Intent::Metadata(Region::RefcountTable);
        Ok(file.write(intent, HostOffset::new(rebuild.table << bits), &table)?)
    }

    /// Changes refcounts where they are; in new structures they are right already.
    fn write_counts(&self, file: &ImageFile, runs: &[CountRun]) -> Result<(), RepairError> {
        let geometry = self.header.geometry;
        let order = self.header.refcount_order;
        let per_block = order.counters_per_block(geometry.cluster_bits());
        let mut open: Option<OpenBlock> = None;
        for run in runs {
            let end = run.first + run.clusters;
            let mut at = run.first;
            while at < end {
                let index = at / per_block;
                let stop = end.min((index + 1) * per_block);
                if open.as_ref().is_none_or(|block| block.index != index) {
                    if let Some(block) = open.take() {
                        block.write(file)?;
                    }
                    open = Some(self.open_block(file, index)?);
                }
                if let Some(block) = &mut open {
                    for cluster in at..stop {
                        let slot = cluster % per_block;
                        let found = order.read(&block.bytes, slot);
                        if found != run.from {
                            let at = block.at + slot * u64::from(order.bits()) / 8;
                            return Err(RepairError::Changed { at, found, planned: run.from });
                        }
                        order.write(&mut block.bytes, slot, run.to);
                        let byte = slot * u64::from(order.bits()) / 8;
                        block.first = block.first.min(byte);
                        block.last = block.last.max(byte);
                    }
                }
                at = stop;
            }
        }
        open.map_or(Ok(()), |block| block.write(file))
    }

    fn open_block(&self, file: &ImageFile, index: u64) -> Result<OpenBlock, RepairError> {
        let size = self.header.geometry.cluster_size();
        let place = self.blocks.binary_search_by_key(&index, |(index, _)| *index).ok();
        // Counts are changed in place only where their blocks were found good.
        let at = place.and_then(|place| self.blocks.get(place)).map_or(0, |(_, raw)| *raw);
        let mut bytes = vec![0; usize::try_from(size).expect("at most 2 MiB")];
        file.read_payload(HostOffset::new(at), &mut bytes)?;
        Ok(OpenBlock { index, at, bytes, first: size, last: 0 })
    }
}

/// A refcount block that is being changed.
struct OpenBlock {
    index: u64,
    at: u64,
    bytes: Vec<u8>,
    /// The first and the last byte that changed.
    first: u64,
    last: u64,
}

impl OpenBlock {
    /// Writes the sectors that changed.
    fn write(self, file: &ImageFile) -> Result<(), RepairError> {
        let start = self.first / SECTOR * SECTOR;
        let end = (self.last / SECTOR + 1) * SECTOR;
        let range = usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
        let intent = Intent::Metadata(Region::RefcountBlock);
        let bytes = self.bytes.get(range).unwrap_or_default();
        Ok(file.write(intent, HostOffset::new(self.at + start), bytes)?)
    }
}

fn write_features(file: &ImageFile, field: u64, bits: u64) -> Result<(), RepairError> {
    let intent = Intent::Metadata(Region::MainHeader);
    Ok(file.write(intent, HostOffset::new(field), &bits.to_be_bytes())?)
}

/// Replaces words, those near to each other in one write. Words of one entry are in one sector.
fn write_words(file: &ImageFile, fixes: &[WordFix]) -> Result<(), RepairError> {
    let geometry = file.geometry();
    // What lies between two tables is not touched.
    let span = SPAN.min(geometry.cluster_size());
    let mut rest = fixes;
    while let Some(first) = rest.first() {
        let start = first.at / SECTOR * SECTOR;
        let near = rest.partition_point(|fix| fix.at < (start / span + 1) * span);
        let (group, after) = rest.split_at(near);
        rest = after;
        let last = group.last().map_or(first.at, |fix| fix.at);
        let len = (last / SECTOR + 1) * SECTOR - start;
        let mut bytes = vec![0; usize::try_from(len).expect("at most 64 KiB")];
        let at = HostOffset::new(start);
        file.read_payload(at, &mut bytes)?;
        for fix in group {
            let place = usize::try_from(fix.at - start).expect("at most 64 KiB");
            let Some(word) = bytes.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<8>) else {
                continue;
            };
            let found = u64::from_be_bytes(*word);
            if found != fix.old {
                return Err(RepairError::Changed { at: fix.at, found, planned: fix.old });
            }
            *word = fix.new.to_be_bytes();
        }
        let hit = file.regions().lookup(geometry.host_cluster(at), 1);
        let region = hit.first().unwrap_or(Region::ActiveL2);
        file.write(Intent::Metadata(region), at, &bytes)?;
    }
    Ok(())
}
