//! Walking an L2 table: every entry judged, every target counted.

use holstein_format::{
    COMPRESSED, COPIED, ClusterState, CompressedRun, IncompatibleFeatures, SubclusterBitmap,
    Version, ZERO,
};
use holstein_units::{GuestCluster, HostOffset};

use crate::check::Check;
use crate::error::CheckError;
use crate::finding::Corruption;
use crate::l1_walk::copied_flag;

/// Neighbouring clusters that were named by neighbouring entries with the same flag.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    first: u64,
    clusters: u64,
    flags: u8,
}

/// The state of a walk through one table.
#[derive(Default)]
pub(crate) struct Walk {
    /// Where the table is.
    offset: u64,
    /// The table is of the disk, not of a snapshot only.
    active: bool,
    /// The guest cluster of entry 0.
    base: u64,
    /// Where the cluster after the last allocated one would be, 0 before the first.
    next: u64,
    run: Run,
}

/// One entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its place in the table.
    pub(crate) index: u64,
    /// The entry, or the first half of an extended one.
    pub(crate) raw: u64,
    /// The second half of an extended entry, else 0.
    pub(crate) bitmap: u64,
}

impl Walk {
    /// Where the table is.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The guest cluster of an entry.
    pub(crate) const fn guest_cluster(&self, index: u64) -> u64 {
        self.base + index
    }

    /// A walk of the same table that counts nothing.
    pub(crate) fn aside(&self) -> Self {
        Self { offset: self.offset, active: self.active, base: self.base, ..Self::default() }
    }
}

impl Check<'_> {
    pub(crate) fn has_data_file(&self) -> bool {
        self.header.incompatible.contains(IncompatibleFeatures::DATA_FILE)
    }

    /// Judges and counts the entries of the table at `offset`, which L1 entry `l1_index` names.
    pub(crate) fn walk_l2_table(
        &mut self,
        offset: u64,
        l1_index: u64,
        active: bool,
    ) -> Result<(), CheckError> {
        let table = self.read_l2_table(offset)?;
        let geometry = self.header.geometry;
        let mut walk =
            Walk { offset, active, base: l1_index << geometry.l2_bits(), ..Walk::default() };
        if geometry.extended_l2() {
            for (index, halves) in (0..).zip(table.as_chunks::<16>().0) {
                let halves = u128::from_be_bytes(*halves);
                if halves != 0 {
                    let (raw, bitmap) = halves_of(halves);
                    self.visit_entry(&mut walk, Entry { index, raw, bitmap })?;
                }
            }
        } else {
            let simple = !self.has_data_file();
            let mask = geometry.cluster_size() - 1;
            let bits = geometry.cluster_bits().get();
            for (index, raw) in (0..).zip(table.as_chunks::<8>().0) {
                let raw = u64::from_be_bytes(*raw);
                if raw == 0 {
                    continue;
                }
                let at = raw & !COPIED;
                // Nothing but an aligned offset within the file, bit 63 aside.
                if simple && at & mask == 0 && at != 0 && at < self.source.len() && at >> 56 == 0 {
                    self.note_allocated(&mut walk, at);
                    let flags = copied_flag(raw, active);
                    self.extend_run(&mut walk.run, at >> bits, flags)?;
                } else {
                    self.visit_entry(&mut walk, Entry { index, raw, bitmap: 0 })?;
                }
            }
        }
        self.flush_run(&mut walk.run)
    }

    /// Adds references for visits that were skipped; nothing is judged again.
    pub(crate) fn count_l2_targets(&mut self, offset: u64, weight: u64) -> Result<(), CheckError> {
        let table = self.read_l2_table(offset)?;
        let geometry = self.header.geometry;
        let step = if geometry.extended_l2() { 2 } else { 1 };
        let words = table.as_chunks::<8>().0;
        for (index, raw) in words.iter().enumerate().step_by(step) {
            let raw = u64::from_be_bytes(*raw);
            let has_bitmap = step == 2 && words.get(index + 1).is_some_and(|half| *half != [0; 8]);
            let range = if self.has_data_file() || (raw & COMPRESSED != 0 && has_bitmap) {
                None
            } else if raw & COMPRESSED != 0 {
                Some(compressed_range(raw, self.header))
            } else {
                let at = raw & ClusterState::OFFSET_MASK;
                (at != 0).then_some((at, geometry.cluster_size()))
            };
            if let Some((at, size)) = range
                && self.is_countable(at, size)
            {
                self.count_weighted(at, size, weight, 0)?;
            }
        }
        Ok(())
    }

    pub(crate) fn read_l2_table(&self, offset: u64) -> Result<Vec<u8>, CheckError> {
        let bytes = usize::try_from(self.header.geometry.cluster_size()).expect("at most 2 MiB");
        let mut table = vec![0; bytes];
        self.source.read("an L2 table", offset, &mut table)?;
        Ok(table)
    }

    /// Any entry, as it would be after a repair where one is planned.
    fn visit_entry(&mut self, walk: &mut Walk, entry: Entry) -> Result<(), CheckError> {
        self.flush_run(&mut walk.run)?;
        let entry = self.plan_l2_entry(walk, entry)?;
        self.judge_entry(walk, entry)
    }

    /// Any entry, in the order in which its faults are printed.
    pub(crate) fn judge_entry(&mut self, walk: &mut Walk, entry: Entry) -> Result<(), CheckError> {
        if ClusterState::reserved_bits(entry.raw) != 0 {
            self.corruption(Corruption::L2Reserved { entry: entry.raw });
        }
        if entry.raw & COMPRESSED != 0 {
            return self.visit_compressed(walk, entry);
        }
        let extended = self.header.geometry.extended_l2();
        let at = entry.raw & ClusterState::OFFSET_MASK;
        let zero = entry.raw & ZERO != 0 && !extended;
        if zero && self.header.version == Version::V2 {
            self.corruption(Corruption::ZeroFlagInVersion2 { entry: entry.raw });
        }
        let at_0 = !zero && self.has_data_file() && entry.raw & COPIED != 0;
        if at != 0 || at_0 {
            return self.visit_allocated(walk, entry, at, zero);
        }
        let bitmap = SubclusterBitmap::new(entry.bitmap);
        if !bitmap.is_valid(false) {
            self.corruption(Corruption::UnallocatedBitmap);
        }
        if !zero && entry.raw & COPIED != 0 {
            self.corruption(Corruption::DataAtHeader { entry: entry.raw });
        }
        Ok(())
    }

    fn visit_compressed(&mut self, walk: &mut Walk, entry: Entry) -> Result<(), CheckError> {
        let (at, size) = compressed_range(entry.raw, self.header);
        if entry.raw & COPIED != 0 {
            self.corruption(Corruption::CompressedCopied { offset: at });
        }
        let (index, raw) = (entry.index, entry.raw);
        if self.has_data_file() {
            self.corruption(Corruption::CompressedWithDataFile { index, entry: raw });
            return Ok(());
        }
        if entry.bitmap != 0 {
            self.corruption(Corruption::CompressedBitmap { index, entry: raw });
            return Ok(());
        }
        self.count_region(at, size)?;
        if walk.active && !self.is_judging() {
            self.report.allocated_clusters += 1;
            self.report.compressed_clusters += 1;
            self.report.fragmented_clusters += 1;
        }
        Ok(())
    }

    /// A cluster with a place, of data or kept for zeros.
    fn visit_allocated(
        &mut self,
        walk: &mut Walk,
        entry: Entry,
        at: u64,
        zero: bool,
    ) -> Result<(), CheckError> {
        let geometry = self.header.geometry;
        let bitmap = SubclusterBitmap::new(entry.bitmap);
        if !bitmap.is_valid(true) {
            self.corruption(Corruption::AllocatedBitmap { offset: at });
        }
        let aligned = geometry.is_aligned(HostOffset::new(at));
        if !aligned {
            let contains_data = if geometry.extended_l2() { bitmap.data() != 0 } else { !zero };
            self.corruption(Corruption::DataUnaligned { offset: at, contains_data });
        }
        self.note_allocated(walk, at);
        if !self.has_data_file() {
            let flags = copied_flag(entry.raw, walk.active);
            return self.count_weighted(at, geometry.cluster_size(), 1, flags);
        }
        let guest = geometry.guest_offset(GuestCluster::new(walk.base + entry.index));
        if aligned && at != guest.get() {
            let guest_offset = guest.get();
            self.corruption(Corruption::DataFileMoved { offset: at, guest_offset });
        }
        if walk.active && entry.raw & COPIED == 0 {
            self.suspect_flags = true;
        }
        Ok(())
    }

    /// Statistics of a standard cluster.
    fn note_allocated(&mut self, walk: &mut Walk, at: u64) {
        if !walk.active || self.is_judging() {
            return;
        }
        self.report.allocated_clusters += 1;
        if walk.next != 0 && walk.next != at {
            self.report.fragmented_clusters += 1;
        }
        walk.next = at + self.header.geometry.cluster_size();
    }

    fn extend_run(&mut self, run: &mut Run, cluster: u64, flags: u8) -> Result<(), CheckError> {
        if run.clusters != 0 && run.first + run.clusters == cluster && run.flags == flags {
            run.clusters += 1;
            return Ok(());
        }
        self.flush_run(run)?;
        *run = Run { first: cluster, clusters: 1, flags };
        Ok(())
    }

    fn flush_run(&mut self, run: &mut Run) -> Result<(), CheckError> {
        let Run { first, clusters, flags } = core::mem::take(run);
        if clusters == 0 {
            return Ok(());
        }
        self.count_clusters(first, clusters, 1, flags)
    }
}

/// Both halves of an extended entry.
fn halves_of(halves: u128) -> (u64, u64) {
    let half = |n: u128| u64::try_from(n & u128::from(u64::MAX)).expect("64 bits");
    (half(halves >> 64), half(halves))
}

/// Offset and bytes of a compressed cluster, however far out.
pub(crate) fn compressed_range(raw: u64, header: &holstein_format::Header) -> (u64, u64) {
    let bits = header.geometry.cluster_bits();
    let offset_bits = CompressedRun::offset_bits(bits);
    let run = CompressedRun {
        start: HostOffset::new(raw & ((1 << offset_bits) - 1)),
        sectors: (raw >> offset_bits) & ((1 << (bits.get() - 8)) - 1),
    };
    (run.start.get(), run.len())
}
