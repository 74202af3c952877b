//! Counting a reference to a range of the file.

use crate::check::Check;
use crate::error::CheckError;
use crate::finding::Corruption;

impl Check<'_> {
    /// Counts one reference to each cluster that the range touches.
    pub(crate) fn count_region(&mut self, offset: u64, size: u64) -> Result<(), CheckError> {
        self.count_weighted(offset, size, 1, 0)
    }

    /// As [`Check::count_region`] for `weight` references, with flags for the clusters.
    ///
    /// The file's last cluster may be incomplete, so a range may end past the file by less than a
    /// cluster. One that ends later is a corruption and is not counted.
    pub(crate) fn count_weighted(
        &mut self,
        offset: u64,
        size: u64,
        weight: u64,
        flags: u8,
    ) -> Result<(), CheckError> {
        if size == 0 {
            return Ok(());
        }
        if !self.is_countable(offset, size) {
            self.corruption(Corruption::PastEnd { offset, size });
            return Ok(());
        }
        if self.is_judging() {
            return Ok(());
        }
        let bits = self.header.geometry.cluster_bits().get();
        let first = offset >> bits;
        let last = (offset + size - 1) >> bits;
        self.count_clusters(first, last - first + 1, weight, flags)
    }

    /// Whether the range ends less than a cluster past the file.
    pub(crate) fn is_countable(&self, offset: u64, size: u64) -> bool {
        let cluster_size = self.header.geometry.cluster_size();
        match offset.checked_add(size) {
            Some(end) => end < self.len.saturating_add(cluster_size),
            None => false,
        }
    }

    /// Counts references to whole clusters that were found countable.
    pub(crate) fn count_clusters(
        &mut self,
        first: u64,
        clusters: u64,
        weight: u64,
        flags: u8,
    ) -> Result<(), CheckError> {
        self.clusters = self.clusters.max(first + clusters);
        let mut overflows = Vec::new();
        self.counters.add_run(
            &mut self.budget,
            first,
            clusters,
            weight,
            flags,
            |cluster, times| overflows.push((cluster, times)),
        )?;
        let bits = self.header.geometry.cluster_bits().get();
        for (cluster, times) in overflows {
            let offset = cluster << bits;
            self.note_lost(cluster, times)?;
            self.corruption(Corruption::Overflow { offset });
            // Each reference is one finding; the text of one is enough.
            self.report.corruptions += times - 1;
            self.report.findings_dropped += times - 1;
        }
        Ok(())
    }
}
