//! What a check notes for a repair while it walks.

use std::collections::HashMap;

use holstein_units::HostOffset;

use super::claims::Claims;
use super::count_fixes::{self, CountRun};
use super::note::RepairNote;
use super::plan::RepairKind;
use super::word_fixes::{self, WordFix};
use crate::check::Check;
use crate::error::CheckError;
use crate::finding::{Corruption, Finding};

/// How much longer a file may be made for a table that ends past it.
const MAX_GROWTH: u64 = 1 << 36;

/// The state of a repair that is being planned.
#[derive(Debug)]
pub(crate) struct Planner {
    pub(crate) kind: RepairKind,
    pub(crate) notes: Vec<RepairNote>,
    pub(crate) notes_dropped: u64,
    /// Faults are being reported that the plan puts right; nothing is counted.
    pub(crate) judging: bool,
    pub(crate) corruptions_fixed: u64,
    pub(crate) leaks_fixed: u64,
    /// Refcounts cannot be repaired where they are.
    pub(crate) rebuild: bool,
    /// Entries to be replaced.
    pub(crate) entries: Vec<WordFix>,
    /// Entries that lose COPIED, beside those.
    pub(crate) shared: Vec<WordFix>,
    /// Entries to be given COPIED, at the end.
    pub(crate) owned: Vec<WordFix>,
    pub(crate) raises: Vec<CountRun>,
    pub(crate) lowers: Vec<CountRun>,
    /// Wrong refcounts, to be reported again when they are put right.
    pub(crate) mismatches: Vec<Finding>,
    /// Refcounts too high, and too low.
    pub(crate) wrong_counts: (u64, u64),
    /// What the present refcount structures occupy: first cluster and number.
    pub(crate) old_refcounts: Vec<(u64, u64)>,
    /// References past the largest refcount, by cluster.
    pub(crate) lost: HashMap<u64, u64>,
    /// Content that is no L2 table.
    pub(crate) claims: Claims,
    /// The list of fixes of refcounts passed the limit of memory.
    pub(crate) out_of_memory: bool,
}

impl Planner {
    pub(crate) fn new(kind: RepairKind) -> Self {
        Self {
            kind,
            notes: Vec::new(),
            notes_dropped: 0,
            judging: false,
            corruptions_fixed: 0,
            leaks_fixed: 0,
            rebuild: false,
            entries: Vec::new(),
            shared: Vec::new(),
            owned: Vec::new(),
            raises: Vec::new(),
            lowers: Vec::new(),
            mismatches: Vec::new(),
            wrong_counts: (0, 0),
            old_refcounts: Vec::new(),
            lost: HashMap::new(),
            claims: Claims::default(),
            out_of_memory: false,
        }
    }
}

impl Check<'_> {
    /// Whether faults are reported that a plan puts right, and nothing is to be counted.
    pub(crate) fn is_judging(&self) -> bool {
        self.planner.as_ref().is_some_and(|planner| planner.judging)
    }

    /// The planner, where all faults are to be put right.
    pub(crate) fn all_planner(&mut self) -> Option<&mut Planner> {
        self.planner.as_mut().filter(|planner| planner.kind == RepairKind::All)
    }

    /// Reports faults that a repair of all faults puts right.
    pub(crate) fn judge_fixed<R>(&mut self, judge: impl FnOnce(&mut Self) -> R) -> R {
        if let Some(planner) = self.all_planner() {
            planner.judging = true;
        }
        let result = judge(self);
        if let Some(planner) = &mut self.planner {
            planner.judging = false;
        }
        result
    }

    /// Keeps a note, if there is room.
    pub(crate) fn note(&mut self, note: RepairNote) {
        let full = self.findings_are_full();
        if let Some(planner) = &mut self.planner {
            if full {
                planner.notes_dropped += 1;
            } else {
                planner.notes.push(note);
            }
        }
    }

    pub(crate) fn need_rebuild(&mut self) {
        if let Some(planner) = &mut self.planner {
            planner.rebuild = true;
        }
    }

    /// Whether a plan has any change to what the walks saw.
    pub(crate) fn plans_anything(&self) -> bool {
        self.planner.as_ref().is_some_and(|planner| {
            planner.rebuild || planner.wrong_counts != (0, 0) || !planner.entries.is_empty()
        })
    }

    /// Counts a table that the header or a snapshot names. One that ends past the file is made
    /// whole by zeros, as it reads today, if that is not too far.
    pub(crate) fn count_structure(&mut self, at: u64, bytes: u64) -> Result<(), CheckError> {
        if !self.is_countable(at, bytes) && bytes > 0 && self.can_grow_to(at, bytes) {
            self.judge_fixed(|check| {
                check.corruption(Corruption::PastEnd { offset: at, size: bytes });
            });
            self.grow_to(at + bytes);
        }
        self.count_region(at, bytes)
    }

    /// Whether the file may be made longer for something.
    pub(crate) fn can_grow_to(&mut self, at: u64, bytes: u64) -> bool {
        let limit = self.source.len().saturating_add(MAX_GROWTH);
        self.all_planner().is_some() && at.checked_add(bytes).is_some_and(|end| end <= limit)
    }

    pub(crate) fn grow_to(&mut self, end: u64) {
        let geometry = self.header.geometry;
        self.len = self.len.max(geometry.clusters_for(end) * geometry.cluster_size());
        self.clusters = self.clusters.max(geometry.clusters_for(self.len));
    }

    /// What to do about a refcount block past the end of the file: true if the file is to be made
    /// longer, as QEMU does, so that the block is there and full of zeros.
    pub(crate) fn plan_growth_for_block(&mut self, index: u64, at: u64) -> bool {
        let size = self.header.geometry.cluster_size();
        let grows = self.can_grow_to(at, size);
        self.judge_fixed(|check| check.corruption(Corruption::RefcountBlockOutside { index }));
        if grows {
            self.grow_to(at + size);
        } else {
            if self.all_planner().is_some() {
                self.note(RepairNote::CannotGrow);
            }
            self.need_rebuild_of_all();
        }
        grows
    }

    fn need_rebuild_of_all(&mut self) {
        if let Some(planner) = self.all_planner() {
            planner.rebuild = true;
        }
    }

    /// Counts a part of the refcount structures.
    pub(crate) fn count_old_refcounts(&mut self, at: u64, bytes: u64) -> Result<(), CheckError> {
        let countable = self.is_countable(at, bytes);
        if !countable && bytes > 0 {
            self.judge_fixed(|check| {
                check.corruption(Corruption::PastEnd { offset: at, size: bytes });
            });
            self.need_rebuild();
            return Ok(());
        }
        self.count_region(at, bytes)?;
        let bits = self.header.geometry.cluster_bits().get();
        if let Some(planner) = &mut self.planner
            && bytes > 0
        {
            let first = at >> bits;
            planner.old_refcounts.push((first, ((at + bytes - 1) >> bits) - first + 1));
        }
        Ok(())
    }

    /// Remembers references that a refcount cannot count.
    pub(crate) fn note_lost(&mut self, cluster: u64, times: u64) -> Result<(), CheckError> {
        if let Some(planner) = &mut self.planner {
            self.budget.charge(32)?;
            *planner.lost.entry(cluster).or_default() += times;
        }
        Ok(())
    }

    /// Notes a refcount that differs from the references.
    pub(crate) fn plan_mismatch(&mut self, finding: &Finding) {
        let full = self.findings_are_full();
        let Some(planner) = &mut self.planner else { return };
        let (cluster, refcount, references) = match *finding {
            Finding::Leak { cluster, refcount, references } => {
                planner.wrong_counts.0 += 1;
                (cluster, refcount, references)
            }
            Finding::Corruption(Corruption::RefcountTooLow { cluster, refcount, references }) => {
                planner.wrong_counts.1 += 1;
                planner.rebuild |= refcount == 0;
                (cluster, refcount, references)
            }
            _ => return,
        };
        if !full {
            planner.mismatches.push(finding.clone());
        }
        let runs = if refcount > references {
            &mut planner.lowers
        } else if planner.kind == RepairKind::All {
            &mut planner.raises
        } else {
            return;
        };
        if count_fixes::push(runs, cluster, refcount, references) {
            let charge = self.budget.charge(size_of::<CountRun>() as u64 * 2);
            // Told when the walk is over.
            planner.out_of_memory |= charge.is_err();
        }
    }

    /// Notes that a word of a table shall be another. False if it cannot be.
    pub(crate) fn plan_word(&mut self, at: u64, old: u64, new: u64) -> Result<bool, CheckError> {
        let bits = self.header.geometry.cluster_bits().get();
        let cluster = at >> bits;
        let Some(planner) = &mut self.planner else { return Ok(false) };
        if planner.kind != RepairKind::All || planner.claims.touches(cluster, cluster + 1) {
            return Ok(false);
        }
        self.push_entry(WordFix { at, old, new })?;
        Ok(true)
    }

    /// As [`Check::plan_word`] for a word of an L1 table, of which `bytes` bytes at `table` are one.
    pub(crate) fn plan_l1_word(
        &mut self,
        table: u64,
        bytes: u64,
        fix: WordFix,
    ) -> Result<bool, CheckError> {
        let geometry = self.header.geometry;
        let Some(planner) = self.all_planner() else { return Ok(false) };
        if planner.claims.is_contested(geometry, table, bytes) {
            return Ok(false);
        }
        self.push_entry(fix)?;
        Ok(true)
    }

    fn push_entry(&mut self, fix: WordFix) -> Result<(), CheckError> {
        self.budget.charge(size_of::<WordFix>() as u64 * 2)?;
        if let Some(planner) = &mut self.planner {
            planner.entries.push(fix);
        }
        Ok(())
    }

    /// What a word of a table is after the repair of entries.
    pub(crate) fn planned_word(&self, at: u64, raw: u64) -> u64 {
        let Some(planner) = &self.planner else { return raw };
        let fix = word_fixes::find(&planner.entries, at);
        fix.and_then(|index| planner.entries.get(index)).map_or(raw, |fix| fix.new)
    }

    /// The refcount of a cluster after the repair; `None` where it cannot be had.
    pub(crate) fn planned_refcount(&mut self, cluster: u64) -> Result<Option<u64>, CheckError> {
        let counted = self.counters.count(cluster);
        match self.planner.as_ref().map(|planner| planner.kind) {
            Some(RepairKind::All) => Ok(Some(counted)),
            Some(RepairKind::Leaks) => {
                let refcount = self.refcounts.refcount(cluster)?;
                Ok(refcount.map(|refcount| refcount.min(counted)))
            }
            None => self.refcounts.refcount(cluster),
        }
    }

    /// Claims what the header names, which no L2 table may share.
    pub(crate) fn claim_header_structures(&mut self) {
        let (header, geometry) = (self.header, self.header.geometry);
        let Some(planner) = &mut self.planner else { return };
        let mut claim = |at: HostOffset, bytes| planner.claims.add(geometry, at.get(), bytes);
        claim(HostOffset::new(0), 1);
        claim(header.l1_table_offset, header.l1_bytes());
        if let Some((at, length)) = header.encryption_header() {
            claim(at, length);
        }
        if let Some(bitmaps) = header.bitmaps() {
            claim(bitmaps.directory_offset, bitmaps.directory_size);
        }
    }
}
