//! What a bad entry of an L1 or L2 table shall be instead.
//!
//! The rule is that what can be read today reads the same afterwards. Reserved bits are ignored by
//! readers, so they go. Data past the end of the file reads as zeros, so the entry says zeros. An
//! entry that no reader takes, because it is not aligned or contradicts itself, is given up; an
//! extended one that is not aligned but says which subclusters had data stays, as with QEMU, and so
//! does the error.

use holstein_format::{
    COMPRESSED, COPIED, ClusterState, CompressedRun, L1Entry, SubclusterBitmap, Version, ZERO,
};
use holstein_units::{GuestCluster, HostOffset, SECTOR};

use super::word_fixes::WordFix;
use crate::check::Check;
use crate::error::CheckError;
use crate::finding::Corruption;
use crate::l2_walk::{Entry, Walk, compressed_range};

impl Check<'_> {
    /// What an L1 entry shall be; reports its faults if that is something else. `table` is where
    /// the L1 table is and its bytes.
    pub(crate) fn plan_l1_entry(
        &mut self,
        table: (u64, u64),
        index: u64,
        entry: u64,
    ) -> Result<u64, CheckError> {
        if self.all_planner().is_none() {
            return Ok(entry);
        }
        let fixed = self.fixed_l1_entry(entry);
        let (at, bytes) = table;
        let fix = WordFix { at: at + index * 8, old: entry, new: fixed };
        if fixed == entry || !self.plan_l1_word(at, bytes, fix)? {
            return Ok(entry);
        }
        self.judge_fixed(|check| {
            check.visit_l1_entry(index, entry, true)?;
            if check.l2_table_is_a_root(entry) {
                check.corruption(Corruption::L2AtRoot { index, entry });
            }
            Ok(fixed)
        })
    }

    fn fixed_l1_entry(&self, entry: u64) -> u64 {
        let offset = entry & L1Entry::OFFSET_MASK;
        let size = self.header.geometry.cluster_size();
        if offset == 0
            || !offset.is_multiple_of(size)
            || !self.is_countable(offset, size)
            || self.l2_table_is_a_root(entry)
        {
            return 0;
        }
        entry & !L1Entry::RESERVED_MASK
    }

    /// Whether the table lies on the header or on the disk's L1 table, which are right, as all
    /// reading begins with them.
    fn l2_table_is_a_root(&self, entry: u64) -> bool {
        let size = self.header.geometry.cluster_size();
        let at = entry & L1Entry::OFFSET_MASK;
        let l1 = self.header.l1_table_offset.get();
        let end = l1.saturating_add(self.header.l1_bytes());
        at != 0 && (at < size || (at < end && at.saturating_add(size) > l1))
    }

    /// What an L2 entry shall be; reports its faults if that is something else.
    pub(crate) fn plan_l2_entry(&mut self, walk: &Walk, entry: Entry) -> Result<Entry, CheckError> {
        if self.is_judging() || self.all_planner().is_none() {
            return Ok(entry);
        }
        let fixed = self.fixed_l2_entry(walk, entry);
        if fixed == entry {
            return Ok(entry);
        }
        let at = walk.offset() + entry.index * self.header.geometry.l2_entry_size();
        if !self.plan_word(at, entry.raw, fixed.raw)? {
            return Ok(entry);
        }
        if fixed.bitmap != entry.bitmap && !self.plan_word(at + 8, entry.bitmap, fixed.bitmap)? {
            return Ok(entry);
        }
        let mut aside = walk.aside();
        self.judge_fixed(|check| check.judge_entry(&mut aside, entry))?;
        Ok(fixed)
    }

    fn fixed_l2_entry(&self, walk: &Walk, entry: Entry) -> Entry {
        if entry.raw & COMPRESSED != 0 {
            return self.fixed_compressed(entry);
        }
        let geometry = self.header.geometry;
        let extended = geometry.extended_l2();
        let mut raw = entry.raw & !ClusterState::RESERVED_MASK;
        if self.header.version == Version::V2 {
            raw &= !ZERO;
        }
        let at = raw & ClusterState::OFFSET_MASK;
        let zero = raw & ZERO != 0 && !extended;
        let at_0 = !zero && self.has_data_file() && raw & COPIED != 0;
        if at == 0 && !at_0 {
            if !zero {
                raw &= !COPIED;
            }
            let zeros = u64::from(SubclusterBitmap::new(entry.bitmap).zero()) << 32;
            return Entry { raw, bitmap: if extended { zeros } else { 0 }, ..entry };
        }
        let bitmap = SubclusterBitmap::new(entry.bitmap);
        let data = bitmap.data();
        // Where a subcluster is said to be data and zeros it is data.
        let zeros = u64::from(bitmap.zero() & !bitmap.data()) << 32;
        let bitmap = zeros | u64::from(bitmap.data());
        if self.has_data_file() {
            let guest = geometry.guest_offset(GuestCluster::new(walk.guest_cluster(entry.index)));
            let raw = raw & !ClusterState::OFFSET_MASK | guest.get();
            return Entry { raw, bitmap, ..entry };
        }
        let aligned = geometry.is_aligned(HostOffset::new(at));
        if aligned && self.is_countable(at, geometry.cluster_size()) {
            return Entry { raw, bitmap, ..entry };
        }
        if extended && !aligned && data != 0 {
            // Which subclusters had data is all that is left of it, and remains.
            return entry;
        }
        if zero || self.reads_zeros_without_place() {
            return self.zeros(Entry { bitmap, ..entry });
        }
        if aligned {
            // It reads as zeros, and no entry without a place does.
            return Entry { raw, bitmap, ..entry };
        }
        Entry { raw: 0, bitmap: 0, ..entry }
    }

    /// Whether an entry that names no place can read as zeros.
    fn reads_zeros_without_place(&self) -> bool {
        self.header.version == Version::V3 || self.header.backing_file.is_none()
    }

    /// The entry without a place: what was data are zeros.
    fn zeros(&self, entry: Entry) -> Entry {
        let bitmap = SubclusterBitmap::new(entry.bitmap);
        match (self.header.geometry.extended_l2(), self.header.version) {
            (true, _) => {
                let zeros = u64::from(bitmap.zero() | bitmap.data()) << 32;
                Entry { raw: 0, bitmap: zeros, ..entry }
            }
            (false, Version::V3) => Entry { raw: ZERO, bitmap: 0, ..entry },
            (false, Version::V2) => Entry { raw: 0, bitmap: 0, ..entry },
        }
    }

    fn fixed_compressed(&self, entry: Entry) -> Entry {
        if self.has_data_file() {
            // No reader takes it.
            let all = SubclusterBitmap::ALL_DATA.bits();
            return self.zeros(Entry { bitmap: all, ..entry });
        }
        let raw = entry.raw & !COPIED;
        let (start, bytes) = compressed_range(raw, self.header);
        if self.is_countable(start, bytes) {
            return Entry { raw, bitmap: 0, ..entry };
        }
        if start < self.source.len() {
            // The stream may end before its sectors do, so it keeps those that the file has.
            let first = start / SECTOR;
            let sectors = (self.source.len() - 1) / SECTOR - first;
            let run = CompressedRun { start: HostOffset::new(start), sectors };
            if let Some(raw) = run.encode(self.header.geometry.cluster_bits()) {
                return Entry { raw, bitmap: 0, ..entry };
            }
        }
        let all = SubclusterBitmap::ALL_DATA.bits();
        self.zeros(Entry { bitmap: all, ..entry })
    }
}
