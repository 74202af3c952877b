//! Giving up a whole L2 table with all that it maps.

use holstein_format::{ClusterState, L1Entry};
use holstein_refcount::Freed;
use holstein_units::{GuestOffset, HostOffset};

use crate::mapping::Inner;
use crate::{ClusterEntry, MapError, Mapping};

impl Mapping {
    /// The first L1 entry at or past `index` that names a table, if there is one.
    #[must_use]
    pub fn next_table(&self, index: u64) -> Option<u64> {
        let l1 = &self.0.l1;
        let next = l1.next_used(index);
        (next < l1.entries()).then_some(next)
    }

    /// Clears L1 entry `l1_index` and retires its table and the clusters that the table maps.
    ///
    /// The caller has made sure that no request reaches the range. Blocks on I/O. Each reference that
    /// the table holds is counted once, whether or not the table is shared.
    ///
    /// # Errors
    /// An entry that names nothing valid, with nothing changed; whatever reading fails with.
    pub fn release_table(&self, l1_index: u64) -> Result<(), MapError> {
        let inner = &self.0;
        let _making = inner.making_table.lock().expect("no maker of a table panics");
        let entry = L1Entry::decode(inner.l1.get(l1_index), inner.geometry)
            .map_err(|source| MapError::L1Entry { index: l1_index, source })?;
        let L1Entry::Table { at: table, .. } = entry else { return Ok(()) };
        let first = l1_index.saturating_mul(inner.geometry.bytes_per_l2());
        let mut held = Vec::new();
        let words = inner.table_words(table)?;
        for (n, entry) in (0_u64..).zip(words.chunks_exact(inner.slices.words(1))) {
            let at = first.saturating_add(n * inner.geometry.cluster_size());
            let at = GuestOffset::new(at);
            let (raw, bits) = (entry[0], || entry.get(1).copied().unwrap_or(0));
            let state = ClusterEntry::decode(raw, bits, &inner.rules)
                .map_err(|source| MapError::L2Entry { at, source })?
                .cluster;
            if state != ClusterState::Unallocated {
                held.push(state);
            }
        }
        inner.l1.set(l1_index, 0);
        for state in held {
            inner.retire_state(state, 0, Freed::Always);
        }
        inner.drop_table(table);
        Ok(())
    }
}

impl Inner {
    /// The words of a table that nobody changes meanwhile, from memory where they are there.
    pub(crate) fn table_words(&self, table: HostOffset) -> Result<Vec<u64>, MapError> {
        let cached: Vec<Option<Vec<u64>>> = self
            .slices
            .of_table(table)
            .map(|slice| {
                self.l2.read(slice, |words| (0..words.len()).map(|i| words.get(i)).collect())
            })
            .collect();
        // What was not in memory a moment ago was clean.
        let mut raw = Vec::new();
        if cached.iter().any(Option::is_none) {
            raw.resize(usize::try_from(self.geometry.cluster_size()).expect("at most 2 MiB"), 0);
            self.file.read(table, &mut raw)?;
        }
        let per_slice = usize::try_from(self.slices.bytes()).expect("at most 2 MiB");
        let mut entries = Vec::new();
        for (n, slice) in cached.into_iter().enumerate() {
            match slice {
                Some(words) => entries.extend(words),
                None => {
                    let bytes = raw.chunks_exact(per_slice).nth(n).unwrap_or_default();
                    entries.extend(
                        bytes
                            .chunks_exact(8)
                            .map(|b| u64::from_be_bytes(b.try_into().expect("chunks of 8 bytes"))),
                    );
                }
            }
        }
        Ok(entries)
    }
}
