//! First fit: the lowest run of free clusters that is long enough.

use std::sync::Arc;

use holstein_cache::RunGuard;
use holstein_format::limits::HOST_LIMIT;
use holstein_units::HostCluster;

use crate::refcounts::{Inner, State};
use crate::{Forfeit, Provenance, RefcountError, Reservation, Reserved, Wanted};

/// What a look at the counters found.
enum Look {
    /// The first free cluster at or past the one asked for.
    Free(u64),
    /// The block that must be read first, and the cluster that was reached: none before is free.
    Wanted(Wanted, u64),
}

/// Free clusters in a row.
struct Run {
    first: u64,
    have: u64,
}

impl Run {
    /// Where a search goes on that found nothing free between the end of the run and `reached`: at
    /// the run, if `reached` is its end; else the run is too short.
    fn left_at(&self, reached: u64) -> u64 {
        if self.first + self.have == reached { self.first } else { reached }
    }

    /// Adds a free cluster: to the run, or as the start of a new one.
    fn take(&mut self, cluster: u64) {
        if self.have > 0 && cluster == self.first + self.have {
            self.have += 1;
        } else {
            *self = Self { first: cluster, have: 1 };
        }
    }
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
            let Some(block) = self.block_in(state.layout.table, table, at >> bits)? else {
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
                None => return Ok(Look::Wanted(Wanted::Block(block), at)),
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

    /// Finds `want` free clusters in a row at or past the hint. Where a block is missing the hint
    /// stays at the run that was being looked at, so that the next call goes on from there.
    pub(crate) fn find_run(
        &self,
        state: &mut State,
        table: &[u64],
        want: u64,
    ) -> Result<Result<u64, Wanted>, RefcountError> {
        let limit = self.limit();
        let mut run = Run { first: state.hint.max(1), have: 0 };
        loop {
            match self.next_free(state, table, run.first + run.have)? {
                Look::Free(cluster) => run.take(cluster),
                Look::Wanted(wanted, reached) => {
                    state.hint = run.left_at(reached);
                    return Ok(Err(wanted));
                }
            }
            if run.first.saturating_add(want) > limit {
                return Err(RefcountError::Full { want, limit });
            }
            if run.have == want {
                return Ok(Ok(run.first));
            }
        }
    }

    /// Finds and reserves `want` clusters in a row at or past `from`, reading what is missing. For
    /// runs of any length: what was found is spoken for while the next block is read. A full cache is
    /// written back: `caller` is the run that the caller is in.
    pub(crate) fn reserve_now(
        &self,
        caller: Option<&RunGuard<'_>>,
        want: u64,
        from: u64,
    ) -> Result<(u64, Provenance), RefcountError> {
        let limit = self.limit();
        let mut run = Run { first: from.max(1), have: 0 };
        let result = loop {
            let wanted = {
                let mut guard = self.lock();
                match self.extend(&mut guard, &mut run, want, limit) {
                    Ok(Some(wanted)) => wanted,
                    Ok(None) => {
                        let state = &mut *guard;
                        let fresh = run.first >= state.fresh_from;
                        if state.fresh_from != u64::MAX {
                            state.fresh_from = state.fresh_from.max(run.first + want);
                        }
                        break Ok(if fresh { Provenance::Fresh } else { Provenance::Stale });
                    }
                    Err(error) => break Err(error),
                }
            };
            let fetched = match self.fetch_missing(wanted) {
                Err(RefcountError::Cache(_)) => self.make_room(caller),
                result => result,
            };
            if let Err(error) = fetched {
                break Err(error);
            }
        };
        let result = result.and_then(|provenance| {
            self.reject_metadata(run.first, want)?;
            Ok((run.first, provenance))
        });
        if result.is_err() && run.have > 0 {
            self.lock().reserved.remove(run.first);
        }
        result
    }

    /// Extends a run that is reserved so far; the block to read, or nothing when it is complete.
    fn extend(
        &self,
        state: &mut State,
        run: &mut Run,
        want: u64,
        limit: u64,
    ) -> Result<Option<Wanted>, RefcountError> {
        let Some(table) = state.table.take() else { return Ok(Some(Wanted::Table)) };
        let result = loop {
            if run.have == want {
                break Ok(None);
            }
            match self.next_free(state, &table, run.first + run.have) {
                Ok(Look::Free(cluster)) => {
                    if run.have > 0 {
                        state.reserved.remove(run.first);
                    }
                    run.take(cluster);
                    state.reserved.insert(run.first, run.have);
                    if run.first.saturating_add(want) > limit {
                        break Err(RefcountError::Full { want, limit });
                    }
                }
                Ok(Look::Wanted(wanted, reached)) => {
                    if run.have > 0 && run.left_at(reached) != run.first {
                        state.reserved.remove(run.first);
                        *run = Run { first: reached, have: 0 };
                    } else if run.have == 0 {
                        run.first = reached;
                    }
                    break Ok(Some(wanted));
                }
                Err(error) => break Err(error),
            }
        };
        state.table = Some(table);
        result
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
        let Some(table) = state.table.take() else { return Ok(Reserved::Wanted(Wanted::Table)) };
        let found = self.find_run(state, &table, want);
        let table = &*state.table.insert(table);
        let first = match found? {
            Ok(first) => first,
            Err(wanted) => return Ok(Reserved::Wanted(wanted)),
        };
        let bits = self.block_bits();
        let mut blocks = Vec::with_capacity(1);
        for index in first >> bits..=(first + want - 1) >> bits {
            let Some(block) = self.block_in(state.layout.table, table, index)? else {
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
