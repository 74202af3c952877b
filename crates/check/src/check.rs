//! The check from top to bottom.

use holstein_format::{DecodePurpose, FormatError, Header};
use holstein_storage::Storage;

use crate::counters::{Budget, Counters};
use crate::error::CheckError;
use crate::finding::{Corruption, Finding};
use crate::options::{CheckOptions, Phase, Progress};
use crate::refcounts::RefcountReader;
use crate::repair::{Planner, RepairNote};
use crate::report::Report;
use crate::shared_tables::{SharedTables, WalkOutcome};
use crate::snapshots::Snapshots;
use crate::source::Source;

/// Checks an image without changing it.
///
/// Dirty and corrupt bits are ignored, no key is needed, and neither backing nor data file is
/// opened. `progress` is called now and then; phases come in their order.
///
/// # Errors
/// [`CheckError`] if the image could not be checked to the end; what is wrong with it is in the
/// report.
pub fn check(
    storage: &dyn Storage,
    options: &CheckOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, CheckError> {
    let source = Source::new(storage)?;
    let header = read_header(&source)?;
    let mut check = Check::new(&source, &header, options, progress);
    let mut snapshots = Snapshots::read(&mut check)?;
    check.count_references(&mut snapshots)?;
    check.compare_refcounts()?;
    check.judge_copied_flags()?;
    Ok(check.report)
}

/// A check under way.
pub(crate) struct Check<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) header: &'a Header,
    pub(crate) report: Report,
    pub(crate) counters: Counters,
    pub(crate) tables: SharedTables,
    pub(crate) budget: Budget,
    pub(crate) refcounts: RefcountReader<'a>,
    /// Clusters that are compared: those of the file, and what was counted just behind it.
    pub(crate) clusters: u64,
    /// Some COPIED flag in the active tables may be wrong.
    pub(crate) suspect_flags: bool,
    /// The length of the file, with what a repair appends.
    pub(crate) len: u64,
    /// Where a repair is planned, what it would do so far.
    pub(crate) planner: Option<Planner>,
    max_findings: usize,
    progress: &'a mut dyn FnMut(Progress),
}

impl<'a> Check<'a> {
    pub(crate) fn new(
        source: &'a Source<'a>,
        header: &'a Header,
        options: &CheckOptions,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        let geometry = header.geometry;
        let report =
            Report { total_clusters: geometry.clusters_for(header.size), ..Report::default() };
        Self {
            source,
            header,
            report,
            counters: Counters::new(header.refcount_order.max()),
            tables: SharedTables::default(),
            budget: Budget::new(options.memory_limit),
            refcounts: RefcountReader::new(source, header),
            clusters: geometry.clusters_for(source.len()),
            suspect_flags: false,
            len: source.len(),
            planner: None,
            max_findings: options.max_findings,
            progress,
        }
    }

    /// Counts all references, in the order in which findings are printed.
    pub(crate) fn count_references(&mut self, snapshots: &mut Snapshots) -> Result<(), CheckError> {
        let cluster_size = self.header.geometry.cluster_size();
        self.count_region(0, cluster_size)?;

        let l1 = self.header.l1_table_offset.get();
        self.walk_l1(l1, self.header.l1_size, Phase::ActiveTables)?;
        snapshots.count(self)?;
        self.settle_shared_tables()?;

        let table = self.header.refcount_table_offset.get();
        let bytes = self.header.refcount_table_bytes();
        if table == 0 && bytes != 0 {
            self.judge_fixed(|check| {
                check.corruption(Corruption::TableAtHeader { table: "Refcount table" });
            });
            self.need_rebuild();
        } else {
            self.count_old_refcounts(table, bytes)?;
        }
        if let Some((at, length)) = self.header.encryption_header() {
            self.count_region(at.get(), length)?;
        }
        self.count_bitmaps()?;
        self.count_refcount_blocks()
    }

    pub(crate) fn corruption(&mut self, corruption: Corruption) {
        self.report.corruptions += 1;
        let finding = Finding::Corruption(corruption);
        match &mut self.planner {
            Some(planner) if planner.judging => {
                planner.corruptions_fixed += 1;
                self.note(RepairNote::Repairing(finding));
            }
            _ => self.keep(finding),
        }
    }

    pub(crate) fn leak(&mut self, cluster: u64, refcount: u64, references: u64) {
        self.report.leaks += 1;
        let finding = Finding::Leak { cluster, refcount, references };
        self.plan_mismatch(&finding);
        self.keep(finding);
    }

    pub(crate) fn no_refcount(&mut self, cluster: u64) {
        self.report.check_errors += 1;
        self.keep(Finding::NoRefcount { cluster });
    }

    /// Whether findings are only counted from here on.
    pub(crate) fn findings_are_full(&self) -> bool {
        let kept = self.planner.as_ref().map_or(0, |planner| planner.notes.len());
        self.report.findings.len() + kept >= self.max_findings
    }

    /// The counts of the report that walks of L2 tables change.
    pub(crate) fn outcome(&self) -> WalkOutcome {
        WalkOutcome {
            corruptions: self.report.corruptions,
            allocated: self.report.allocated_clusters,
            fragmented: self.report.fragmented_clusters,
            compressed: self.report.compressed_clusters,
        }
    }

    pub(crate) fn progress(&mut self, phase: Phase, done: u64, total: u64) {
        (self.progress)(Progress { phase, done, total });
    }

    fn keep(&mut self, finding: Finding) {
        if self.planner.is_some() {
            self.note(RepairNote::Found(finding));
        } else if self.findings_are_full() {
            self.report.findings_dropped += 1;
        } else {
            self.report.findings.push(finding);
        }
    }
}

/// Reads the header: a few sectors, then as much of the first cluster as it asks for.
pub(crate) fn read_header(source: &Source<'_>) -> Result<Header, CheckError> {
    let mut bytes = vec![0; usize::try_from(source.len().min(4096)).expect("at most 4096")];
    loop {
        source.read("the header", 0, &mut bytes)?;
        match Header::decode(&bytes, source.len(), DecodePurpose::Check) {
            Err(FormatError::NeedsMore { bytes: needed }) if needed > bytes.len() as u64 => {
                // At most one cluster, and no more than the file holds.
                bytes.resize(usize::try_from(needed).expect("at most 2 MiB"), 0);
            }
            Err(error) => return Err(error.into()),
            Ok(header) => return Ok(header),
        }
    }
}
