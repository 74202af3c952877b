//! Making a plan.

use holstein_format::{Header, IncompatibleFeatures, Version};
use holstein_storage::Storage;

use super::count_fixes::{self, CountRun};
use super::error::RepairError;
use super::note::RepairNote;
use super::planner::Planner;
use super::rebuild::Rebuild;
use super::snapshot_table;
use super::steps::{Counts, RepairStep, Words};
use super::word_fixes::{self, WordFix};
use crate::check::{Check, read_header};
use crate::counters::Counters;
use crate::error::CheckError;
use crate::finding::{Corruption, Finding};
use crate::options::{CheckOptions, Progress};
use crate::report::Report;
use crate::snapshots::Snapshots;
use crate::source::Source;

/// What a repair may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairKind {
    /// Refcounts that are too high; COPIED flags where nothing else is wrong.
    Leaks,
    /// Everything.
    All,
}

/// How a repair is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairOptions {
    /// What it may change.
    pub kind: RepairKind,
    /// Bounds of the check that it begins with.
    pub check: CheckOptions,
}

impl RepairOptions {
    /// A repair within the bounds of a default check.
    #[must_use]
    pub fn new(kind: RepairKind) -> Self {
        Self { kind, check: CheckOptions::default() }
    }
}

/// What is wrong with an image, and all that a repair would write.
///
/// Takes as much memory as the check, and some 50 bytes for each entry or run of refcounts that is
/// wrong, within the same limit.
#[derive(Debug)]
pub struct RepairPlan {
    /// What the check counted. Its findings are in the notes.
    pub report: Report,
    /// What was found and what is done about it, in order, up to the limit of the options.
    pub notes: Vec<RepairNote>,
    /// Corruptions that the plan puts right.
    pub corruptions_fixed: u64,
    /// Leaked clusters that the plan gives back.
    pub leaks_fixed: u64,
    pub(crate) header: Header,
    pub(crate) refuses: bool,
    pub(crate) grow: Option<u64>,
    pub(crate) entries: Vec<WordFix>,
    pub(crate) raises: Vec<CountRun>,
    pub(crate) lowers: Vec<CountRun>,
    pub(crate) owned: Vec<WordFix>,
    pub(crate) snapshots: Option<NewSnapshots>,
    pub(crate) rebuild: Option<Rebuild>,
    pub(crate) clear_marks: bool,
    pub(crate) counters: Counters,
    /// Index and raw entry of what is not 0 in the refcount table.
    pub(crate) blocks: Vec<(u64, u64)>,
}

/// The list of snapshots after a repair.
#[derive(Debug)]
pub(crate) struct NewSnapshots {
    pub(crate) count: u32,
    pub(crate) at: u64,
    /// The table, if it is written anew.
    pub(crate) table: Option<Vec<u8>>,
}

/// Checks an image and plans its repair; writes nothing.
///
/// # Errors
/// [`RepairError::Check`] if the image could not be checked to the end, [`RepairError::TableTooLarge`].
pub fn plan_repair(
    storage: &dyn Storage,
    options: &RepairOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<RepairPlan, RepairError> {
    let source = Source::new(storage)?;
    let header = read_header(&source)?;
    let mut check = Check::new(&source, &header, &options.check, progress);
    check.planner = Some(Planner::new(options.kind));
    check.claim_header_structures();
    let mut snapshots = Snapshots::read(&mut check)?;
    check.claim_snapshots(&snapshots);
    check.count_references(&mut snapshots)?;
    check.settle_entries();
    check.compare_refcounts()?;
    let (refuses, mut rebuilds) = check.plan_counts()?;
    if refuses {
        return Ok(check.finish_plan(None, refuses, None));
    }
    let list = check.plan_snapshots(&snapshots, &mut rebuilds)?;
    let rebuild = if rebuilds { Some(check.plan_rebuild()?) } else { None };
    if list.as_ref().is_some_and(|list| list.table.is_some()) {
        check.drop_old_snapshot_table(snapshots.bytes(), rebuilds);
    }
    check.judge_copied_flags()?;
    Ok(check.finish_plan(list, refuses, rebuild))
}

impl RepairPlan {
    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps().is_empty()
    }

    /// Whether refcounts would have to be written anew, which a repair of leaks does not do. Such
    /// a plan has no steps.
    #[must_use]
    pub const fn needs_rebuild(&self) -> bool {
        self.refuses
    }

    /// What is written, in order.
    #[must_use]
    pub fn steps(&self) -> Vec<RepairStep<'_>> {
        let mut steps = Vec::new();
        if self.refuses {
            return steps;
        }
        if self.header.version == Version::V3 && self.header.autoclear.unknown() != 0 {
            steps.push(RepairStep::ClearAutoclear);
        }
        if let Some(to) = self.grow {
            steps.push(RepairStep::Grow { to });
        }
        if !self.entries.is_empty() {
            steps.push(RepairStep::Entries(Words(&self.entries)));
        }
        if !self.raises.is_empty() {
            steps.push(RepairStep::Raise(Counts(&self.raises)));
        }
        if let Some(NewSnapshots { at, table: Some(table), .. }) = &self.snapshots {
            steps.push(RepairStep::SnapshotTable { at: *at, bytes: table.len() as u64 });
        }
        if let Some(rebuild) = &self.rebuild {
            steps.push(RepairStep::Refcounts {
                blocks: rebuild.blocks.len() as u64,
                table: rebuild.table << self.header.geometry.cluster_bits().get(),
                table_clusters: rebuild.table_clusters,
            });
        }
        if self.rebuild.is_some() || self.snapshots.is_some() {
            steps.push(RepairStep::NameTables {
                refcounts: self.rebuild.is_some(),
                snapshots: self.snapshots.as_ref().map(|list| list.count),
            });
        }
        if !self.lowers.is_empty() {
            steps.push(RepairStep::Lower(Counts(&self.lowers)));
        }
        if !self.owned.is_empty() {
            steps.push(RepairStep::GiveCopied(Words(&self.owned)));
        }
        if self.clear_marks {
            steps.push(RepairStep::ClearMarks);
        }
        steps
    }
}

impl Check<'_> {
    fn claim_snapshots(&mut self, snapshots: &Snapshots) {
        let (header, geometry) = (self.header, self.header.geometry);
        let Some(planner) = &mut self.planner else { return };
        planner.claims.add(geometry, header.snapshots_offset.get(), snapshots.bytes());
        for record in snapshots.records() {
            let bytes = u64::from(record.l1_size) * 8;
            planner.claims.add(geometry, record.l1_table_offset.get(), bytes);
        }
        planner.claims.close();
    }

    fn settle_entries(&mut self) {
        if let Some(planner) = &mut self.planner {
            word_fixes::settle(&mut planner.entries);
        }
    }

    /// Decides about refcounts: whether the repair must be refused, and whether they are rebuilt.
    fn plan_counts(&mut self) -> Result<(bool, bool), RepairError> {
        let limit = self.budget.limit();
        let report = &self.report;
        let wrong = report.leaks > 0 || report.corruptions > 0;
        let Some(planner) = &mut self.planner else { return Ok((false, false)) };
        if planner.out_of_memory {
            return Err(CheckError::MemoryLimit { limit }.into());
        }
        // Counts that were cut off hide that something else is where the refcounts are.
        let hidden = planner.lost.iter().filter(|(lost, _)| {
            let holds = |(first, clusters): &(u64, u64)| (*first..first + clusters).contains(*lost);
            planner.old_refcounts.iter().any(holds)
        });
        let hidden: u64 = hidden.map(|(_, times)| *times).sum();
        planner.rebuild |= hidden > 0;
        if planner.kind == RepairKind::All {
            planner.corruptions_fixed += hidden;
        }
        let (high, low) = planner.wrong_counts;
        let all = planner.kind == RepairKind::All;
        if planner.rebuild && !all {
            self.note(RepairNote::RebuildNeeded);
            return Ok((true, false));
        }
        planner.leaks_fixed = high;
        if all {
            planner.corruptions_fixed += low;
        }
        if planner.rebuild {
            planner.raises.clear();
            planner.lowers.clear();
            // Those that could not be had are had now.
            self.report.check_errors = 0;
            self.note(RepairNote::Rebuilding);
            self.note_what_stays();
            return Ok((false, true));
        }
        if wrong {
            for finding in std::mem::take(&mut planner.mismatches) {
                let fixed = all || matches!(finding, Finding::Leak { .. });
                self.note(if fixed {
                    RepairNote::Repairing(finding)
                } else {
                    RepairNote::Found(finding)
                });
            }
        }
        Ok((false, false))
    }

    /// What the list of snapshots becomes, with a place for it. `rebuild` is set if none is counted
    /// by a block that is there.
    fn plan_snapshots(
        &mut self,
        snapshots: &Snapshots,
        rebuild: &mut bool,
    ) -> Result<Option<NewSnapshots>, RepairError> {
        if self.all_planner().is_none() {
            return Ok(None);
        }
        let kept = snapshots.kept();
        let count = u32::try_from(kept.len()).unwrap_or(self.header.nb_snapshots);
        if !snapshots.changes().rewrite {
            let at = self.header.snapshots_offset.get();
            let changed = count != self.header.nb_snapshots;
            return Ok(changed.then_some(NewSnapshots { count, at, table: None }));
        }
        let table = snapshot_table::encode(&kept, self.header.size);
        let clusters = self.header.geometry.clusters_for(table.len() as u64);
        let first = match self.counted_free_run(clusters)? {
            Some(first) if !*rebuild => {
                self.raise_new(first, clusters);
                first
            }
            _ => {
                if !*rebuild {
                    self.start_rebuild();
                    *rebuild = true;
                }
                self.free_run(1, clusters, &self.old_refcount_clusters())
            }
        };
        self.count_clusters(first, clusters, 1, 0)?;
        let at = if table.is_empty() { 0 } else { first * self.header.geometry.cluster_size() };
        Ok(Some(NewSnapshots { count, at, table: Some(table) }))
    }

    /// The first of `clusters` clusters in a row that nothing names and that blocks count as free.
    fn counted_free_run(&mut self, clusters: u64) -> Result<Option<u64>, CheckError> {
        let order = self.header.refcount_order;
        let per_block = order.counters_per_block(self.header.geometry.cluster_bits());
        let indices: Vec<u64> = self.refcounts.block_indices().collect();
        let (mut first, mut end) = (0, 0);
        for index in indices {
            for cluster in index * per_block..(index + 1) * per_block {
                let free = self.counters.count(cluster) == 0
                    && self.refcounts.refcount(cluster)? == Some(0);
                if !free || cluster != end {
                    first = if free { cluster } else { cluster + 1 };
                }
                end = cluster + 1;
                if end - first.min(end) >= clusters {
                    return Ok(Some(first));
                }
            }
        }
        Ok(None)
    }

    fn raise_new(&mut self, first: u64, clusters: u64) {
        if let Some(planner) = &mut self.planner {
            for cluster in first..first + clusters {
                count_fixes::push(&mut planner.raises, cluster, 0, 1);
            }
        }
    }

    fn start_rebuild(&mut self) {
        if let Some(planner) = &mut self.planner {
            planner.raises.clear();
            planner.lowers.clear();
        }
        self.note(RepairNote::Rebuilding);
        self.note_what_stays();
    }

    /// Says again what new refcounts do not put right, as QEMU does, which counts references anew.
    fn note_what_stays(&mut self) {
        let Some(planner) = &self.planner else { return };
        let stays = |note: &&RepairNote| match note {
            RepairNote::Found(Finding::Corruption(corruption)) => {
                !matches!(corruption, Corruption::RefcountTooLow { .. })
            }
            _ => false,
        };
        let again: Vec<RepairNote> = planner.notes.iter().filter(stays).cloned().collect();
        for note in again {
            self.note(note);
        }
    }

    /// Takes the old snapshot table out of the counts, once its successor is named.
    fn drop_old_snapshot_table(&mut self, bytes: u64, rebuild: bool) {
        let at = self.header.snapshots_offset.get();
        if bytes == 0 || !self.is_countable(at, bytes) {
            return;
        }
        let bits = self.header.geometry.cluster_bits().get();
        let max = self.header.refcount_order.max();
        for cluster in at >> bits..=(at + bytes - 1) >> bits {
            let from = self.counters.count(cluster);
            let Some(planner) = &mut self.planner else { return };
            let lost = planner.lost.get(&cluster).copied().unwrap_or(0);
            let to = (from + lost).saturating_sub(1).min(max);
            if !rebuild {
                count_fixes::push(&mut planner.lowers, cluster, from, to);
            }
            self.counters.lower(cluster, to);
        }
    }

    fn finish_plan(
        self,
        snapshots: Option<NewSnapshots>,
        refuses: bool,
        rebuild: Option<Rebuild>,
    ) -> RepairPlan {
        let planner = self.planner.unwrap_or_else(|| Planner::new(RepairKind::All));
        let mut report = self.report;
        report.findings_dropped += planner.notes_dropped;
        let mut entries = planner.entries;
        entries.extend(planner.shared);
        entries.retain(|fix| fix.old != fix.new);
        word_fixes::settle(&mut entries);
        let mut owned = planner.owned;
        word_fixes::settle(&mut owned);
        let marks = IncompatibleFeatures::new(
            IncompatibleFeatures::DIRTY.bits() | IncompatibleFeatures::CORRUPT.bits(),
        );
        let is_marked = self.header.version == Version::V3
            && self.header.incompatible.bits() & marks.bits() != 0;
        let is_sound = report.corruptions == planner.corruptions_fixed && report.check_errors == 0;
        RepairPlan {
            notes: planner.notes,
            corruptions_fixed: if refuses { 0 } else { planner.corruptions_fixed },
            leaks_fixed: planner.leaks_fixed,
            header: self.header.clone(),
            refuses,
            grow: (self.len > self.source.len()).then_some(self.len),
            entries,
            raises: planner.raises,
            lowers: planner.lowers,
            owned,
            snapshots,
            rebuild,
            clear_marks: is_marked && is_sound,
            counters: self.counters,
            blocks: self.refcounts.table,
            report,
        }
    }
}
