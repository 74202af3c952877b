//! The write half: a plan, and its commit.

use holstein_format::{COPIED, ClusterState, L1Entry, Sharing, SubclusterBitmap};
use holstein_guard::planted::{Bug, is_planted};
use holstein_refcount::{Freed, Provenance, Reservation, Reserved};
use holstein_units::{GuestOffset, GuestRange, HostCluster, HostOffset};

use crate::claim::{Claim, Claimed};
use crate::mapping::Inner;
use crate::{Busy, ClusterEntry, Fetch, MapError, Mapping};

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
    /// What the cluster was before.
    pub old: ClusterEntry,
}

/// The right to place a stretch of payload in clusters that no table names yet.
///
/// Dropping it gives the clusters back and lets other writers in, without I/O.
#[derive(Debug)]
#[must_use = "a plan that is not committed is undone"]
pub struct WritePlan {
    guest: GuestRange,
    first_at: HostOffset,
    old: Vec<ClusterEntry>,
    reservation: Option<Reservation>,
    head: Option<CowPart>,
    tail: Option<CowPart>,
    provenance: Provenance,
    cluster: u64,
    /// Where what is written begins in the first cluster, and where it ends in the last.
    span: (u64, u64),
    claim: Claim,
}

impl WritePlan {
    /// Undoes the plan, nothing of which was written.
    pub fn cancel(mut self) {
        if let Some(reservation) = self.reservation.take() {
            reservation.give_back_untouched();
        }
    }

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

    /// Whether the payload goes to clusters that the entries name already.
    #[must_use]
    pub fn keeps_its_clusters(&self) -> bool {
        self.reservation.is_none()
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
        match self.resolve_in_place(range) {
            Some((at, len)) if len == range.len || !self.0.reserved_follows(range, at, len) => {
                Ok(Prepared::InPlace { at, len })
            }
            _ => self.0.prepare_write(range),
        }
    }

    /// Links the plan's clusters. Its payload, head and tail included, has been written.
    ///
    /// Memory only; cannot fail. What the entries held before is retired.
    pub fn commit(&self, plan: WritePlan) {
        let geometry = self.0.geometry;
        let ((from, to), last) = (plan.span, plan.old.len() - 1);
        self.0.link(plan, |n, old| {
            let from = if n == 0 { from } else { 0 };
            let to = if n == last { to } else { geometry.cluster_size() };
            old.bitmap_after(geometry, from, to)
        });
    }

    /// Links the plan's clusters as space for data that is to come: with extended entries their
    /// subclusters read as they did, else as [`Self::commit`] does.
    ///
    /// Memory only; cannot fail.
    pub fn commit_space(&self, plan: WritePlan) {
        self.0.link(plan, |_, old| old.kept_bitmap());
    }
}

impl Inner {
    /// Links the plan's clusters with the bitmaps that `bitmap` gives them.
    fn link(&self, mut plan: WritePlan, bitmap: impl Fn(usize, &ClusterEntry) -> SubclusterBitmap) {
        if let Some(reservation) = plan.reservation.take() {
            self.refcounts.commit(reservation);
        }
        let place = |n: usize| plan.first_at.get() + n as u64 * plan.cluster;
        plan.claim.store(self, plan.old.len(), |n| (place(n) | COPIED, bitmap(n, &plan.old[n])));
        for (n, old) in plan.old.iter().enumerate() {
            self.retire_state(old.cluster, place(n), Freed::Replaced);
        }
    }

    fn prepare_write(&self, range: GuestRange) -> Result<Prepared, MapError> {
        let geometry = self.geometry;
        let cluster = geometry.cluster_size();
        let claim = match self.claim(range)? {
            Claimed::Got(claim) => claim,
            Claimed::Wanted(fetch) => return Ok(Prepared::Wanted(fetch)),
            Claimed::Busy(busy) => return Ok(Prepared::Busy(busy)),
        };
        let (skip, first) = (geometry.in_cluster(range.start), claim.first);

        // One kind of clusters: those with a place of their own, or those without.
        let mut old = Vec::with_capacity(usize::try_from(claim.clusters).unwrap_or(0));
        let mut kept: Option<HostOffset> = None;
        let (mut links, mut head_in_place, mut tail_in_place) = (false, false, false);
        for n in 0..claim.clusters {
            let (entry, at) = claim.entry(self, n)?;
            // The bytes of this cluster that the request touches.
            let from = if n == 0 { skip } else { 0 };
            let to = (skip + range.len - n * cluster).min(cluster);
            let own = match self.own_place(&entry, (from, to), at, claim.suspect)? {
                Ok(own) => own,
                // What is known so far is enough: asking for more at once may not fit in memory.
                Err(_) if n > 0 => break,
                Err(fetch) => return Ok(Prepared::Wanted(fetch)),
            };
            match own {
                Own::InPlace(host) | Own::Reserved(host) if n == 0 => kept = Some(host),
                Own::InPlace(host) | Own::Reserved(host)
                    if kept.is_some_and(|k| k + n * cluster == host) => {}
                Own::None if kept.is_none() => {}
                _ => break,
            }
            tail_in_place = matches!(own, Own::InPlace(_));
            head_in_place |= tail_in_place && n == 0;
            links |= !tail_in_place;
            old.push(entry);
        }
        let clusters = old.len() as u64;
        let guest = range.split_at(clusters * cluster - skip).0;
        if let (Some(at), false) = (kept, links) {
            return Ok(Prepared::InPlace { at: at + skip, len: guest.len });
        }
        let (first_at, reservation, provenance) = match kept {
            Some(at) => (at, None, Provenance::Stale),
            // Guest and data file have the same offsets.
            None if self.rules.data_file => {
                (HostOffset::new(first * cluster), None, Provenance::Stale)
            }
            None => match self.refcounts.reserve(clusters)? {
                Reserved::Got(r) => {
                    let provenance = r.provenance();
                    (geometry.host_offset(r.first()), Some(r), provenance)
                }
                Reserved::Wanted(wanted) => return Ok(Prepared::Wanted(Fetch::Refcount(wanted))),
            },
        };
        let last = old[old.len() - 1];
        // Data that is written where it is has its surroundings there already.
        let from = match head_in_place {
            true => skip,
            false => old[0].copy_from(geometry, skip, kept.is_some()),
        };
        let end = skip + guest.len - (clusters - 1) * cluster;
        let to = match tail_in_place {
            true => end,
            false => last.copy_to(geometry, end, kept.is_some()),
        };
        let head = (from < skip && !is_planted(Bug::HeadNotCopied)).then(|| CowPart {
            guest: GuestRange { start: GuestOffset::new(first * cluster + from), len: skip - from },
            old: old[0],
        });
        let tail = (end < to).then(|| CowPart {
            guest: GuestRange { start: guest.end(), len: to - end },
            old: last,
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
            span: (from, to),
        })))
    }

    /// Whether space for the range goes on where the `len` bytes at `at` end, in a zero cluster with
    /// a location: then both are written at once.
    fn reserved_follows(&self, range: GuestRange, at: HostOffset, len: u64) -> bool {
        if self.geometry.extended_l2() {
            // Its subclusters tell what is data: they are written as they come.
            return false;
        }
        let next = range.start + len;
        let raw = self.l1.get(self.geometry.l1_index(next));
        let Ok(L1Entry::Table { at: table, sharing: Sharing::Exclusive }) =
            L1Entry::decode(raw, self.geometry)
        else {
            return false;
        };
        let place = self.slices.place(table, next);
        let raw = self.l2.word(place.slice, place.word);
        let state = raw.map(|raw| ClusterState::decode(raw, &self.rules));
        let wanted = at.checked_add(len);
        matches!(
            state,
            Some(Ok(ClusterState::Zero { at: Some(host), sharing: Sharing::Exclusive }))
                if Some(host) == wanted
        )
    }

    /// Where the bytes `touched` of a cluster may be written, if it has a place of its own.
    fn own_place(
        &self,
        entry: &ClusterEntry,
        touched: (u64, u64),
        guest: GuestOffset,
        suspect: bool,
    ) -> Result<Result<Own, Fetch>, MapError> {
        let Some(host) = entry.exclusive_at() else { return Ok(Ok(Own::None)) };
        let own = match entry.is_data(self.geometry, touched.0, touched.1) {
            true => Own::InPlace(host),
            false => Own::Reserved(host),
        };
        if !suspect || self.rules.data_file {
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
        if self.rules.data_file {
            // Nothing in the data file is counted.
            return;
        }
        if let Some((first, count)) = self.clusters_of(old)
            && self.geometry.host_offset(first).get() != kept
        {
            self.refcounts.retire(first, count, freed);
        }
    }

    /// The host clusters that an entry in this state refers to: the first, and how many.
    pub(crate) fn clusters_of(&self, state: ClusterState) -> Option<(HostCluster, u64)> {
        match state {
            ClusterState::Unallocated | ClusterState::Zero { at: None, .. } => None,
            ClusterState::Data { at, .. } | ClusterState::Zero { at: Some(at), .. } => {
                Some((self.cluster_of(at), 1))
            }
            ClusterState::Compressed(run) => {
                let first = self.cluster_of(run.start);
                let last = self.cluster_of(run.start + (run.len() - 1));
                Some((first, last - first + 1))
            }
        }
    }
}

/// A place that a guest cluster has for itself.
enum Own {
    /// Data that may be overwritten.
    InPlace(HostOffset),
    /// Space in which something that is touched has no data yet: a zero cluster with a location, or
    /// subclusters.
    Reserved(HostOffset),
    /// None: a new cluster is needed.
    None,
}
