//! The write half: a plan, and its commit.

use holstein_format::{COPIED, ClusterState, Sharing};
use holstein_guard::planted::{Bug, is_planted};
use holstein_refcount::{Freed, Provenance, Reservation, Reserved};
use holstein_units::{GuestOffset, GuestRange, HostOffset};

use crate::claim::{Claim, Claimed};
use crate::mapping::Inner;
use crate::{Busy, Fetch, MapError, Mapping};

/// The answer to [`Mapping::prepare_write`].
#[derive(Debug)]
pub enum Prepared {
    /// The first `len` bytes of the range may be written at `at`; nothing is to be committed.
    InPlace {
        /// Host offset of the first byte.
        at: HostOffset,
        /// How many bytes.
        len: u64,
    },
    /// Write the payload as the plan says, then [`Mapping::commit`] it.
    Plan(Box<WritePlan>),
    /// Drop the pin, fetch this with [`Mapping::fetch`], and ask again.
    Wanted(Fetch),
    /// Drop the pin, wait, and ask again.
    Busy(Busy),
}

/// A part of a new cluster that the request does not write: it must be filled from the old state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CowPart {
    /// Which guest bytes; within one cluster.
    pub guest: GuestRange,
    /// What they were before.
    pub old: ClusterState,
}

/// The right to place a stretch of payload in clusters that no table names yet.
///
/// Dropping it gives the clusters back and lets other writers in, without I/O.
#[derive(Debug)]
#[must_use = "a plan that is not committed is undone"]
pub struct WritePlan {
    guest: GuestRange,
    first_at: HostOffset,
    old: Vec<ClusterState>,
    reservation: Option<Reservation>,
    head: Option<CowPart>,
    tail: Option<CowPart>,
    provenance: Provenance,
    cluster: u64,
    claim: Claim,
}

impl WritePlan {
    /// The guest bytes of the request that the plan places; begins where the request began.
    #[must_use]
    pub fn guest(&self) -> GuestRange {
        self.guest
    }

    /// The host offset of the first of these bytes.
    #[must_use]
    pub fn host(&self) -> HostOffset {
        self.first_at + self.guest.start.get() % self.cluster
    }

    /// The part of the first cluster before the request's bytes.
    #[must_use]
    pub fn head(&self) -> Option<CowPart> {
        self.head
    }

    /// The part of the last cluster after the request's bytes.
    #[must_use]
    pub fn tail(&self) -> Option<CowPart> {
        self.tail
    }

    /// What the new clusters read as before anything is written to them.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        self.provenance
    }
}

impl Mapping {
    /// Prepares the write of the start of a guest range.
    ///
    /// * `range`: bytes, any alignment, not empty, within the virtual disk or the VM state area.
    ///
    /// The plan covers as much of the range as one L2 slice maps and clusters of one kind go; the
    /// caller goes on with the rest. Clusters are placed first fit, all of the plan's in a row.
    ///
    /// # Concurrency
    /// Memory only. The plan holds a ticket for its clusters until it is committed or dropped.
    ///
    /// # Errors
    /// Corruption found on the way; [`MapError::PastL1`] outside the disk.
    ///
    /// # Spec
    /// "Copy-on-write"; "Concurrency".
    pub fn prepare_write(&self, range: GuestRange) -> Result<Prepared, MapError> {
        if let Some((at, len)) = self.resolve_in_place(range) {
            return Ok(Prepared::InPlace { at, len });
        }
        self.0.prepare_write(range)
    }

    /// Links the plan's clusters. Its payload, head and tail included, has been written.
    ///
    /// Memory only; cannot fail. What the entries held before is retired.
    pub fn commit(&self, mut plan: WritePlan) {
        let inner = &self.0;
        if let Some(reservation) = plan.reservation.take() {
            inner.refcounts.commit(reservation);
        }
        let cluster = inner.geometry.cluster_size();
        let place = |n: usize| plan.first_at.get() + n as u64 * cluster;
        plan.claim.hold.store_with(plan.claim.word, plan.old.len(), |n| place(n) | COPIED);
        for (n, old) in plan.old.iter().enumerate() {
            inner.retire_state(*old, place(n), Freed::Replaced);
        }
    }
}

impl Inner {
    fn prepare_write(&self, range: GuestRange) -> Result<Prepared, MapError> {
        let geometry = self.geometry;
        let cluster = geometry.cluster_size();
        let claim = match self.claim(range)? {
            Claimed::Got(claim) => claim,
            Claimed::Wanted(fetch) => return Ok(Prepared::Wanted(fetch)),
            Claimed::Busy(busy) => return Ok(Prepared::Busy(busy)),
        };
        let (skip, first) = (geometry.in_cluster(range.start), claim.first);

        // One kind of clusters: those with a reserved place of their own, or those without.
        let mut old = Vec::with_capacity(usize::try_from(claim.clusters).unwrap_or(0));
        let mut kept: Option<HostOffset> = None;
        for n in 0..claim.clusters {
            let (state, at) = claim.state(self, n)?;
            let own = match self.own_place(state, at, claim.suspect)? {
                Ok(own) => own,
                // What is known so far is enough: asking for more at once may not fit in memory.
                Err(_) if n > 0 => break,
                Err(fetch) => return Ok(Prepared::Wanted(fetch)),
            };
            match own {
                Own::InPlace(host) if n == 0 => {
                    let len = (cluster - skip).min(range.len);
                    return Ok(Prepared::InPlace { at: host + skip, len });
                }
                Own::Reserved(host) if n == 0 => kept = Some(host),
                Own::Reserved(host) if kept.is_some_and(|k| k + n * cluster == host) => {}
                Own::None if kept.is_none() => {}
                _ => break,
            }
            old.push(state);
        }
        let clusters = old.len() as u64;
        let guest = range.split_at(clusters * cluster - skip).0;
        let (first_at, reservation, provenance) = match kept {
            Some(at) => (at, None, Provenance::Stale),
            None => match self.refcounts.reserve(clusters)? {
                Reserved::Got(r) => {
                    let provenance = r.provenance();
                    (geometry.host_offset(r.first()), Some(r), provenance)
                }
                Reserved::Wanted(wanted) => return Ok(Prepared::Wanted(Fetch::Refcount(wanted))),
            },
        };
        let head = (skip > 0 && !is_planted(Bug::HeadNotCopied)).then(|| CowPart {
            guest: GuestRange { start: GuestOffset::new(first * cluster), len: skip },
            old: old[0],
        });
        let end_skip = geometry.in_cluster(guest.end());
        let tail = (end_skip > 0).then(|| CowPart {
            guest: GuestRange { start: guest.end(), len: cluster - end_skip },
            old: old[old.len() - 1],
        });
        Ok(Prepared::Plan(Box::new(WritePlan {
            claim,
            guest,
            first_at,
            old,
            reservation,
            head,
            tail,
            provenance,
            cluster,
        })))
    }

    /// Where a cluster in this state may be written, if it has a place of its own.
    fn own_place(
        &self,
        state: ClusterState,
        guest: GuestOffset,
        suspect: bool,
    ) -> Result<Result<Own, Fetch>, MapError> {
        let (host, own) = match state {
            ClusterState::Data { at, sharing: Sharing::Exclusive } => (at, Own::InPlace(at)),
            ClusterState::Zero { at: Some(at), sharing: Sharing::Exclusive } => {
                (at, Own::Reserved(at))
            }
            _ => return Ok(Ok(Own::None)),
        };
        if !suspect {
            return Ok(Ok(own));
        }
        // The flag lies for some entry of this slice: ask the count.
        Ok(match self.count(self.cluster_of(host))? {
            Err(fetch) => Err(fetch),
            Ok(0) => return Err(MapError::Uncounted { at: guest, host }),
            Ok(1) => Ok(own),
            Ok(_) => Ok(Own::None),
        })
    }

    /// Retires what an entry held, unless it is at `kept` still.
    pub(crate) fn retire_state(&self, old: ClusterState, kept: u64, freed: Freed) {
        match old {
            ClusterState::Unallocated | ClusterState::Zero { at: None, .. } => {}
            ClusterState::Data { at, .. } | ClusterState::Zero { at: Some(at), .. } => {
                if at.get() != kept {
                    self.refcounts.retire(self.cluster_of(at), 1, freed);
                }
            }
            ClusterState::Compressed(run) => {
                let first = self.cluster_of(run.start);
                let last = self.cluster_of(run.start + (run.len() - 1));
                self.refcounts.retire(first, last - first + 1, freed);
            }
        }
    }
}

/// A place that a guest cluster has for itself.
enum Own {
    /// Data that may be overwritten.
    InPlace(HostOffset),
    /// Space whose content does not count: a zero cluster with a location.
    Reserved(HostOffset),
    /// None: a new cluster is needed.
    None,
}
