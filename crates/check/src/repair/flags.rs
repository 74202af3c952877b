//! COPIED flags that are put right.

use holstein_format::COPIED;

use super::plan::RepairKind;
use super::word_fixes::{self, WordFix};
use crate::check::Check;
use crate::error::CheckError;
use crate::finding::Corruption;

impl Check<'_> {
    /// Reports an entry with a wrong flag, and plans to turn the flag. A repair of leaks turns flags
    /// only where nothing else is wrong, as QEMU does.
    pub(crate) fn wrong_flag(
        &mut self,
        at: u64,
        entry: u64,
        corruption: Corruption,
    ) -> Result<(), CheckError> {
        if !self.plan_flag(at, entry)? {
            self.corruption(corruption);
            return Ok(());
        }
        if let Some(planner) = &mut self.planner {
            planner.judging = true;
        }
        self.corruption(corruption);
        if let Some(planner) = &mut self.planner {
            planner.judging = false;
        }
        Ok(())
    }

    fn plan_flag(&mut self, at: u64, entry: u64) -> Result<bool, CheckError> {
        let bits = self.header.geometry.cluster_bits().get();
        let only_flags = self.only_flags_are_wrong();
        let l1 = self.header.l1_table_offset.get();
        let in_l1 = at >= l1 && at < l1.saturating_add(self.header.l1_bytes());
        let Some(planner) = &mut self.planner else { return Ok(false) };
        let cluster = at >> bits;
        if planner.kind == RepairKind::Leaks && !only_flags {
            return Ok(false);
        }
        if !in_l1 && planner.claims.touches(cluster, cluster + 1) {
            return Ok(false);
        }
        let new = entry ^ COPIED;
        if new & COPIED != 0 {
            self.budget.charge(size_of::<WordFix>() as u64 * 2)?;
            planner.owned.push(WordFix { at, old: entry, new });
            return Ok(true);
        }
        match word_fixes::find(&planner.entries, at) {
            Some(index) => {
                if let Some(fix) = planner.entries.get_mut(index) {
                    fix.new = new;
                }
            }
            None => {
                self.budget.charge(size_of::<WordFix>() as u64 * 2)?;
                planner.shared.push(WordFix { at, old: entry, new });
            }
        }
        Ok(true)
    }

    /// Whether no corruption but of flags was found so far that is not put right.
    fn only_flags_are_wrong(&self) -> bool {
        let fixed = self.planner.as_ref().map_or(0, |planner| planner.corruptions_fixed);
        self.report.corruptions == fixed && self.report.check_errors == 0
    }
}
