//! COPIED flags of the active tables against refcounts on disk.

use holstein_format::{COMPRESSED, COPIED, ClusterState, L1Entry, ZERO};

use crate::check::Check;
use crate::error::CheckError;
use crate::finding::Corruption;
use crate::options::Phase;

impl Check<'_> {
    /// Looks for flags that contradict the refcount. Counting has noted which clusters were named
    /// with and without the flag, so that a second walk is due only where something is wrong.
    pub(crate) fn judge_copied_flags(&mut self) -> Result<(), CheckError> {
        let at = self.header.l1_table_offset.get();
        if at == 0
            || (self.report.corruptions == 0 && !self.suspect_flags && !self.plans_anything())
        {
            return Ok(());
        }
        let entries = u64::from(self.header.l1_size);
        let source = self.source;
        source.for_each_entry("the L1 table", at, entries, |index, entry| {
            self.progress(Phase::CopiedFlags, index, entries);
            let place = at + index * 8;
            let entry = self.planned_word(place, entry);
            let offset = entry & L1Entry::OFFSET_MASK;
            if offset == 0 {
                return Ok(());
            }
            let bits = self.header.geometry.cluster_bits().get();
            if let Some(refcount) = self.planned_refcount(offset >> bits)?
                && contradicts(entry, refcount)
            {
                let corruption = Corruption::L1Copied { index, entry, refcount };
                self.wrong_flag(place, entry, corruption)?;
            }
            self.judge_l2_table(offset)
        })
    }

    /// Judges a table, but not a third time if that says nothing new.
    fn judge_l2_table(&mut self, offset: u64) -> Result<(), CheckError> {
        let full = self.findings_are_full();
        let cluster = offset >> self.header.geometry.cluster_bits().get();
        if offset >= self.source.len() {
            return Ok(());
        }
        if let Some(shared) = self.tables.get_mut(cluster)
            && let Some(errors) = shared.copied_errors
            && (errors == 0 || full)
        {
            self.report.corruptions += errors;
            self.report.findings_dropped += errors;
            return Ok(());
        }
        let before = self.report.corruptions;
        self.judge_l2_entries(offset)?;
        let errors = self.report.corruptions - before;
        if let Some(shared) = self.tables.get_mut(cluster) {
            shared.copied_errors = Some(errors);
        }
        Ok(())
    }

    fn judge_l2_entries(&mut self, offset: u64) -> Result<(), CheckError> {
        let table = self.read_l2_table(offset)?;
        let geometry = self.header.geometry;
        let step = if geometry.extended_l2() { 2 } else { 1 };
        let data_file = self.has_data_file();
        for (place, raw) in (0..).zip(table.as_chunks::<8>().0).step_by(step) {
            let place = offset + place * 8;
            let entry = self.planned_word(place, u64::from_be_bytes(*raw));
            let at = entry & ClusterState::OFFSET_MASK;
            let zero = entry & ZERO != 0 && !geometry.extended_l2();
            let at_0 = data_file && !zero && entry & COPIED != 0;
            if entry & COMPRESSED != 0 || (at == 0 && !at_0) {
                continue;
            }
            let refcount = if data_file {
                Some(1)
            } else {
                self.planned_refcount(at >> geometry.cluster_bits().get())?
            };
            if let Some(refcount) = refcount
                && contradicts(entry, refcount)
            {
                self.wrong_flag(place, entry, Corruption::L2Copied { entry, refcount })?;
            }
        }
        Ok(())
    }
}

/// COPIED says that the refcount is 1, and nothing else.
const fn contradicts(entry: u64, refcount: u64) -> bool {
    (entry & COPIED != 0) != (refcount == 1)
}
