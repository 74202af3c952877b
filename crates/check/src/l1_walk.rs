//! Walking an L1 table, the disk's or a snapshot's.

use holstein_format::{COPIED, L1Entry};

use crate::check::Check;
use crate::counters;
use crate::error::CheckError;
use crate::finding::Corruption;
use crate::options::Phase;

/// L1 entries between two calls of the progress function.
const PROGRESS: u64 = 1024;

impl Check<'_> {
    /// Counts an L1 table, its L2 tables and what they refer to.
    pub(crate) fn walk_l1(
        &mut self,
        at: u64,
        entries: u32,
        phase: Phase,
    ) -> Result<(), CheckError> {
        let entries = u64::from(entries);
        if at == 0 && entries != 0 {
            self.corruption(Corruption::TableAtHeader { table: "L1 table" });
            return Ok(());
        }
        self.count_structure(at, entries * 8)?;
        let source = self.source;
        source.for_each_entry("an L1 table", at, entries, |index, entry| {
            if phase == Phase::ActiveTables && index % PROGRESS == 0 {
                self.progress(phase, index, entries);
            }
            let fixed = self.plan_l1_entry((at, entries * 8), index, entry)?;
            self.visit_l1_entry(index, fixed, phase == Phase::ActiveTables)
        })
    }

    /// Judges an entry, and counts what is below it.
    pub(crate) fn visit_l1_entry(
        &mut self,
        index: u64,
        entry: u64,
        active: bool,
    ) -> Result<(), CheckError> {
        if L1Entry::reserved_bits(entry) != 0 {
            self.corruption(Corruption::L1Reserved { entry });
        }
        let offset = entry & L1Entry::OFFSET_MASK;
        if offset == 0 {
            if entry & COPIED != 0 {
                self.corruption(Corruption::L2AtHeader { index, entry });
            }
            return Ok(());
        }
        let cluster_size = self.header.geometry.cluster_size();
        self.count_weighted(offset, cluster_size, 1, copied_flag(entry, active))?;
        let aligned = offset.is_multiple_of(cluster_size);
        if !aligned {
            self.corruption(Corruption::L2Unaligned { offset });
        }
        if offset >= self.source.len() || self.is_judging() {
            // All zeros, and reported above.
            return Ok(());
        }
        if aligned {
            self.visit_l2_table(offset, index, active)
        } else if self.findings_are_full() {
            // Tables at each sector of a file could otherwise be walked without end.
            Ok(())
        } else {
            self.walk_l2_table(offset, index, active)
        }
    }

    /// Walks a table unless it was walked twice already and another walk would say nothing new.
    fn visit_l2_table(&mut self, offset: u64, index: u64, active: bool) -> Result<(), CheckError> {
        let cluster = offset >> self.header.geometry.cluster_bits().get();
        if !self.tables.mark(&mut self.budget, cluster)? {
            return self.walk_l2_table(offset, index, active);
        }
        let full = self.findings_are_full();
        if let Some(shared) = self.tables.get_mut(cluster) {
            let outcome = shared.outcome;
            if outcome.corruptions == 0 || full {
                shared.owed += 1;
                self.report.corruptions += outcome.corruptions;
                self.report.findings_dropped += outcome.corruptions;
                if active {
                    self.report.allocated_clusters += outcome.allocated;
                    self.report.fragmented_clusters += outcome.fragmented;
                    self.report.compressed_clusters += outcome.compressed;
                }
                return Ok(());
            }
            return self.walk_l2_table(offset, index, active);
        }
        let before = self.outcome();
        self.walk_l2_table(offset, index, active)?;
        let after = self.outcome();
        let outcome = crate::shared_tables::WalkOutcome {
            corruptions: after.corruptions - before.corruptions,
            allocated: after.allocated - before.allocated,
            fragmented: after.fragmented - before.fragmented,
            compressed: after.compressed - before.compressed,
        };
        self.tables.insert(&mut self.budget, cluster, outcome)
    }

    /// Counts what shared tables refer to for the visits that were skipped.
    pub(crate) fn settle_shared_tables(&mut self) -> Result<(), CheckError> {
        let bits = self.header.geometry.cluster_bits().get();
        for (cluster, visits) in self.tables.take_owed() {
            self.count_l2_targets(cluster << bits, visits)?;
        }
        Ok(())
    }
}

/// The flag of a cluster that an entry of the active tables names; none for other tables.
pub(crate) const fn copied_flag(entry: u64, active: bool) -> u8 {
    match (active, entry & COPIED != 0) {
        (false, _) => 0,
        (true, true) => counters::COPIED,
        (true, false) => counters::NOT_COPIED,
    }
}
