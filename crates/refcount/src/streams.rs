//! Room for compressed streams: several share a host cluster.
//!
//! A stream goes where the one before it ended, if the rest of that cluster has room for it or the
//! next cluster is the first free one. Each stream counts once in every cluster that it touches.
//!
//! The counts rise when room is reserved, not when it is committed: a cluster that somebody is about
//! to write a stream to is then never freed, punched or counted past its width, whatever happens to
//! its other streams meanwhile. A crash before the commit leaves a count that is too high.

use std::sync::Arc;

use holstein_cache::Hold;
use holstein_guard::planted::{Bug, is_planted};
use holstein_units::{HostCluster, HostOffset, HostRange};

use crate::refcounts::{Inner, State, change_slots};
use crate::{RefcountError, Wanted};

/// The answer to [`crate::ClusterAllocator::reserve_bytes`].
#[derive(Debug)]
pub enum ReservedBytes {
    /// The room.
    Got(ByteReservation),
    /// Fetch this with [`crate::ClusterAllocator::fetch`] and ask again.
    Wanted(Wanted),
}

/// Takes back room that a stream did not use.
pub trait ForfeitBytes: Send + Sync {
    /// The bytes of `range` were not used after all; `blocks` are the refcount blocks that count the
    /// clusters it touches, one for each of them.
    fn forfeit_bytes(&self, range: HostRange, blocks: &[Hold]);
}

/// Bytes for one compressed stream, counted already; given back, without I/O, on drop.
#[must_use = "dropping the reservation gives the bytes back"]
pub struct ByteReservation {
    range: HostRange,
    blocks: Vec<Hold>,
    owner: Option<Arc<dyn ForfeitBytes>>,
}

impl std::fmt::Debug for ByteReservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ByteReservation({}+{})", self.range.start, self.range.len)
    }
}

impl ByteReservation {
    /// The bytes of `range`; `blocks` count the clusters it touches.
    pub fn new(range: HostRange, blocks: Vec<Hold>, owner: Arc<dyn ForfeitBytes>) -> Self {
        Self { range, blocks, owner: Some(owner) }
    }

    /// Where the stream goes.
    #[must_use]
    pub fn range(&self) -> HostRange {
        self.range
    }

    /// Uses the room: something references it now, and its counts stay.
    pub fn commit(mut self) {
        self.owner = None;
    }
}

impl Drop for ByteReservation {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.take() {
            owner.forfeit_bytes(self.range, &self.blocks);
        }
    }
}

/// A counter that is at hand.
struct Counter {
    cluster: u64,
    block: Hold,
}

impl Inner {
    /// Reserves room for a stream of `bytes` bytes: at least 1, at most a cluster.
    pub(crate) fn reserve_bytes(
        &self,
        bytes: u64,
        owner: Arc<dyn ForfeitBytes>,
    ) -> Result<ReservedBytes, RefcountError> {
        let cluster_size = self.geometry.cluster_size();
        let bytes = bytes.clamp(1, cluster_size);
        let mut guard = self.lock();
        let state = &mut *guard;
        loop {
            let open = state.stream_end;
            let room = cluster_size - self.geometry.in_host_cluster(open);
            let shared = if open.get() == 0 {
                None
            } else {
                match self.counter(state, self.geometry.host_cluster(open).get())? {
                    Ok(counter) => Some(counter),
                    Err(wanted) => return Ok(ReservedBytes::Wanted(wanted)),
                }
            };
            let fresh = if shared.is_none() || room < bytes {
                match self.free_counter(state)? {
                    Ok(counter) => Some(counter),
                    Err(wanted) => return Ok(ReservedBytes::Wanted(wanted)),
                }
            } else {
                None
            };
            // The stream goes on in the open cluster if that has room enough, or its neighbour is
            // the free one.
            let shared = shared
                .filter(|open| fresh.as_ref().is_none_or(|next| next.cluster == open.cluster + 1));
            if let Some(open) = &shared
                && !self.add_reference(open)
            {
                state.stream_end = HostOffset::new(0);
                continue;
            }
            let start = match (&shared, &fresh) {
                (None, Some(next)) => self.geometry.host_offset(HostCluster::new(next.cluster)),
                _ => open,
            };
            if let Some(next) = &fresh {
                self.change_counter(next, |_| 1);
                state.hint = next.cluster + 1;
                if state.fresh_from != u64::MAX {
                    state.fresh_from = state.fresh_from.max(next.cluster + 1);
                }
            }
            let end = start + bytes;
            let full = self.geometry.in_host_cluster(end) == 0;
            state.stream_end = if full { HostOffset::new(0) } else { end };
            drop(guard);
            let blocks = shared.into_iter().chain(fresh).map(|counter| counter.block).collect();
            let range = HostRange { start, len: bytes };
            return Ok(ReservedBytes::Got(ByteReservation::new(range, blocks, owner)));
        }
    }

    /// The counter of a cluster, or what is missing to change it.
    fn counter(
        &self,
        state: &State,
        cluster: u64,
    ) -> Result<Result<Counter, Wanted>, RefcountError> {
        let Some(table) = &state.table else { return Ok(Err(Wanted::Table)) };
        let index = cluster >> self.block_bits();
        let Some(block) = self.block_in(state.layout.table, table, index)? else {
            let after = HostCluster::new(cluster + 1);
            return Ok(Err(Wanted::Growth { index, after }));
        };
        Ok(match self.cache.hold(block) {
            Some(block) => Ok(Counter { cluster, block }),
            None => Err(Wanted::Block(block)),
        })
    }

    /// The counter of the first free cluster.
    fn free_counter(&self, state: &mut State) -> Result<Result<Counter, Wanted>, RefcountError> {
        let Some(table) = state.table.take() else { return Ok(Err(Wanted::Table)) };
        let found = self.find_run(state, &table, 1);
        state.table = Some(table);
        let cluster = match found? {
            Ok(cluster) => cluster,
            Err(wanted) => return Ok(Err(wanted)),
        };
        self.reject_metadata(cluster, 1)?;
        self.counter(state, cluster)
    }

    fn change_counter(&self, counter: &Counter, f: impl Fn(u64) -> u64) {
        let slot = counter.cluster & ((1 << self.block_bits()) - 1);
        change_slots(&counter.block, self.order, slot, 1, |_, count| f(count));
    }

    /// Counts one reference more, unless the cluster was freed or its counter is full.
    fn add_reference(&self, counter: &Counter) -> bool {
        let (mut added, max) = (false, self.order.max());
        let slot = counter.cluster & ((1 << self.block_bits()) - 1);
        change_slots(&counter.block, self.order, slot, 1, |_, count| {
            added = count != 0 && count != max;
            if added && !is_planted(Bug::StreamNotCounted) { count + 1 } else { count }
        });
        added
    }
}

impl ForfeitBytes for Inner {
    fn forfeit_bytes(&self, range: HostRange, blocks: &[Hold]) {
        let first = self.geometry.host_cluster(range.start).get();
        let mut state = self.lock();
        for (cluster, block) in (first..).zip(blocks) {
            let slot = cluster & ((1 << self.block_bits()) - 1);
            change_slots(block, self.order, slot, 1, |_, count| {
                if count == 1 {
                    state.freed(self.geometry, cluster, 1);
                }
                count.saturating_sub(1)
            });
        }
    }
}
