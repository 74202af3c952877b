//! Compressed writes: one whole guest cluster, a stream of bytes in the file.

use holstein_format::{ClusterState, CompressedRun, SubclusterBitmap};
use holstein_refcount::{ByteReservation, ReservedBytes};
use holstein_units::{GuestOffset, GuestRange, HostRange};

use crate::claim::{Claim, Claimed};
use crate::mapping::Inner;
use crate::{Busy, Fetch, MapError, Mapping};

/// The answer to [`Mapping::prepare_compressed`].
#[derive(Debug)]
pub enum PreparedCompressed {
    /// Write the stream as the plan says, then [`Mapping::commit_compressed`] it.
    Plan(Box<CompressedPlan>),
    /// The cluster has data or space already; only a new one may be compressed.
    Occupied,
    /// The room found is past what a descriptor of this cluster size can name: write it normally.
    TooFar,
    /// Drop the pin, fetch this with [`Mapping::fetch`], and ask again.
    Wanted(Fetch),
    /// Drop the pin, wait, and ask again.
    Busy(Busy),
}

/// The right to place one compressed stream that no table names yet.
///
/// Dropping it gives the room back and lets other writers in, without I/O.
#[derive(Debug)]
#[must_use = "a plan that is not committed is undone"]
pub struct CompressedPlan {
    entry: u64,
    reservation: ByteReservation,
    claim: Claim,
}

impl CompressedPlan {
    /// Where the stream is written.
    #[must_use]
    pub fn host(&self) -> HostRange {
        self.reservation.range()
    }
}

impl Mapping {
    /// Prepares the compressed write of one guest cluster.
    ///
    /// * `at`: the first byte of the cluster, within the virtual disk.
    /// * `bytes`: of the stream, at least 1 and less than a cluster.
    ///
    /// # Concurrency
    /// Memory only. The plan holds a ticket for its cluster until it is committed or dropped.
    ///
    /// # Errors
    /// As for [`Mapping::prepare_write`].
    ///
    /// # Spec
    /// "Compressed clusters".
    pub fn prepare_compressed(
        &self,
        at: GuestOffset,
        bytes: u64,
    ) -> Result<PreparedCompressed, MapError> {
        self.0.prepare_compressed(at, bytes)
    }

    /// Links the plan's stream, which has been written. Memory only; cannot fail.
    pub fn commit_compressed(&self, plan: CompressedPlan) {
        let CompressedPlan { claim, entry, reservation } = plan;
        reservation.commit();
        claim.store(&self.0, 1, |_| (entry, SubclusterBitmap::EMPTY));
    }
}

impl Inner {
    fn prepare_compressed(
        &self,
        at: GuestOffset,
        bytes: u64,
    ) -> Result<PreparedCompressed, MapError> {
        let claim = match self.claim(GuestRange { start: at, len: 1 })? {
            Claimed::Got(claim) => claim,
            Claimed::Wanted(fetch) => return Ok(PreparedCompressed::Wanted(fetch)),
            Claimed::Busy(busy) => return Ok(PreparedCompressed::Busy(busy)),
        };
        match claim.entry(self, 0)?.0.cluster {
            ClusterState::Unallocated | ClusterState::Zero { at: None, .. } => {}
            _ => return Ok(PreparedCompressed::Occupied),
        }
        let reservation = match self.refcounts.reserve_bytes(bytes)? {
            ReservedBytes::Got(reservation) => reservation,
            ReservedBytes::Wanted(wanted) => {
                return Ok(PreparedCompressed::Wanted(Fetch::Refcount(wanted)));
            }
        };
        let HostRange { start, len } = reservation.range();
        Ok(match CompressedRun::for_stream(start, len).encode(self.geometry.cluster_bits()) {
            Some(entry) => {
                PreparedCompressed::Plan(Box::new(CompressedPlan { claim, entry, reservation }))
            }
            None => PreparedCompressed::TooFar,
        })
    }
}
