//! First fit: the lowest run of free clusters that is long enough.

use std::sync::Arc;

use holstein_format::limits::HOST_LIMIT;
use holstein_units::HostCluster;

use crate::refcounts::{Inner, State};
use crate::{Forfeit, Provenance, RefcountError, Reservation, Reserved, Wanted};

/// What a look at the counters found.
enum Look {
    /// The first free cluster at or past the one asked for.
    Free(u64),
    /// The block that must be read first.
    Wanted(Wanted),
}

impl Inner {
    /// The first cluster number that can never exist: host offsets end at 2^56, and the refcount
    /// table at 8 MiB.
    fn limit(&self) -> u64 {
        let by_offset = HOST_LIMIT >> self.geometry.cluster_bits().get();
        let by_table = (holstein_format::limits::MAX_REFCOUNT_TABLE_BYTES / 8) << self.block_bits();
        by_offset.min(by_table)
    }

    /// The first cluster at or past `from` with refcount 0 that nobody has reserved.
    fn next_free(&self, state: &State, table: &[u64], from: u64) -> Result<Look, RefcountError> {
        let bits = self.block_bits();
        let per_block = 1_u64 << bits;
        let mut at = from;
        loop {
            if let Some(end) = state.reserved.end_of_run_at(at) {
                at = end;
                continue;
            }
            let Some(block) = self.block_at(state, table, at >> bits)? else {
                return Ok(Look::Free(at));
            };
            let slot = at & (per_block - 1);
            let found = self.cache.read(block, |words| {
                (slot..per_block).find(|&slot| {
                    let place = self.order.locate(slot);
                    words.get(place.word) >> place.shift & self.order.mask() == 0
                })
            });
            match found {
                None => return Ok(Look::Wanted(Wanted::Block(block))),
                Some(None) => at = ((at >> bits) + 1) << bits,
                Some(Some(slot)) => {
                    let candidate = at & !(per_block - 1) | slot;
                    if state.reserved.end_of_run_at(candidate).is_none() {
                        return Ok(Look::Free(candidate));
                    }
                    at = candidate;
                }
            }
        }
    }

    /// Finds `want` free clusters in a row at or past `from`.
    pub(crate) fn find_run(
        &self,
        state: &State,
        table: &[u64],
        want: u64,
        from: u64,
    ) -> Result<Result<u64, Wanted>, RefcountError> {
        let limit = self.limit();
        let mut first = from.max(1);
        'search: loop {
            first = match self.next_free(state, table, first)? {
                Look::Free(cluster) => cluster,
                Look::Wanted(wanted) => return Ok(Err(wanted)),
            };
            if first.saturating_add(want) > limit {
                return Err(RefcountError::Full { want, limit });
            }
            let mut have = 1;
            while have < want {
                // Ranges without a block and without reservations are free as a whole.
                match self.next_free(state, table, first + have)? {
                    Look::Free(cluster) if cluster == first + have => have += 1,
                    Look::Free(cluster) => {
                        first = cluster;
                        continue 'search;
                    }
                    Look::Wanted(wanted) => return Ok(Err(wanted)),
                }
            }
            return Ok(Ok(first));
        }
    }

    /// Refuses a run of clusters with refcount 0 where known metadata is (hazard H17).
    pub(crate) fn reject_metadata(&self, first: u64, count: u64) -> Result<(), RefcountError> {
        let first = HostCluster::new(first);
        match self.file.regions().lookup(first, count).first() {
            Some(region) => Err(RefcountError::FreeMetadata { first, count, region }),
            None => Ok(()),
        }
    }

    pub(crate) fn reserve(
        &self,
        want: u64,
        owner: Arc<dyn Forfeit>,
    ) -> Result<Reserved, RefcountError> {
        let want = want.max(1);
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(table) = &state.table else { return Ok(Reserved::Wanted(Wanted::Table)) };
        let first = match self.find_run(state, table, want, state.hint)? {
            Ok(first) => first,
            Err(wanted) => return Ok(Reserved::Wanted(wanted)),
        };
        let bits = self.block_bits();
        let mut blocks = Vec::with_capacity(1);
        for index in first >> bits..=(first + want - 1) >> bits {
            let Some(block) = self.block_at(state, table, index)? else {
                let after = HostCluster::new(first + want);
                return Ok(Reserved::Wanted(Wanted::Growth { index, after }));
            };
            match self.cache.hold(block) {
                Some(hold) => blocks.push(hold),
                None => return Ok(Reserved::Wanted(Wanted::Block(block))),
            }
        }
        self.reject_metadata(first, want)?;
        let provenance =
            if first >= state.fresh_from { Provenance::Fresh } else { Provenance::Stale };
        if state.fresh_from != u64::MAX {
            state.fresh_from = state.fresh_from.max(first + want);
        }
        state.reserved.insert(first, want);
        state.hint = first + want;
        drop(guard);
        Ok(Reserved::Got(Reservation::new(
            HostCluster::new(first),
            want,
            provenance,
            blocks,
            owner,
        )))
    }
}
