//! Zeroing and discarding whole clusters: changes of entries without payload.

use std::ops::Range;

use holstein_format::{ClusterState, Sharing, SubclusterBitmap, Version, ZERO};
use holstein_refcount::Freed;
use holstein_units::{GuestRange, HostOffset, HostRange};

use crate::claim::{Claim, Claimed};
use crate::cluster_entry::subclusters;
use crate::mapping::Inner;
use crate::{Busy, Fetch, MapError, Mapping};

/// What is to become of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Read as zeros; with `unmap` the space may go.
    Zero {
        /// Whether the host clusters are given up.
        unmap: bool,
    },
    /// Read as zeros; data keeps its place and its reference, and the host may forget what is there
    /// (zeros that may unmap, under `discard-no-unref`).
    ZeroKeep,
    /// As [`Self::Zero`], but only while none of the clusters has data: for a request that zeros a
    /// part of a cluster and found the rest of it to be zeros, which another writer may have changed
    /// since.
    ZeroEmpty {
        /// Whether the host clusters are given up.
        unmap: bool,
    },
    /// The guest does not need them any more: they read as zeros, and the space goes.
    Discard {
        /// Keep the place and the reference (`discard-no-unref`).
        keep: bool,
    },
    /// Nothing reaches them any more: the entries become empty, whatever shows then.
    Release,
}

impl Change {
    /// Whether data that is not compressed keeps its host cluster.
    fn keeps_places(self) -> bool {
        matches!(
            self,
            Self::Zero { unmap: false }
                | Self::ZeroKeep
                | Self::ZeroEmpty { unmap: false }
                | Self::Discard { keep: true }
        )
    }
}

/// The answer to [`Mapping::change`].
#[derive(Debug)]
pub enum Changed {
    /// The first `len` bytes of the range are changed, or needed no change.
    Done {
        /// How many bytes, at least a cluster unless the range is shorter.
        len: u64,
        /// Places whose content does not count any more, though the clusters keep them.
        kept: Option<Kept>,
    },
    /// This image cannot express it (version 2 with a backing file, subclusters of a compressed
    /// cluster): write zeros instead, or leave a discard undone.
    Unsupported,
    /// There is data by now, and nothing was changed.
    NotEmpty,
    /// Drop the pin, fetch this with [`Mapping::fetch`], and ask again.
    Wanted(Fetch),
    /// Drop the pin, wait, and ask again.
    Busy(Busy),
}

/// Places that clusters keep and that nothing reads any more.
///
/// While it lives nobody writes to the clusters: what is done to the places meanwhile cannot hit
/// newer data.
#[derive(Debug)]
pub struct Kept {
    places: Vec<HostRange>,
    _claim: Claim,
}

impl Kept {
    /// The places, those that are adjacent as one.
    #[must_use]
    pub fn places(&self) -> &[HostRange] {
        &self.places
    }
}

impl Mapping {
    /// Changes the start of a range of whole clusters, or with extended entries and
    /// [`Change::Zero`], [`Change::ZeroKeep`] or [`Change::ZeroEmpty`] of whole subclusters.
    ///
    /// * `range`: from a cluster's first byte to a cluster's last; a part of a cluster counts as all
    ///   of it without extended entries.
    ///
    /// Memory only, and immediate: what the entries held is retired. What a discard frees is passed
    /// to the host if the discard policy says so.
    ///
    /// # Errors
    /// Corruption found on the way; [`MapError::PastL1`] outside the disk.
    ///
    /// # Spec
    /// "Discard", "Zero writes".
    pub fn change(&self, range: GuestRange, change: Change) -> Result<Changed, MapError> {
        self.0.change(range, change)
    }
}

impl Inner {
    fn change(&self, range: GuestRange, change: Change) -> Result<Changed, MapError> {
        let geometry = self.geometry;
        if self.rules.version == Version::V2 && self.has_backing && change != Change::Release {
            return Ok(Changed::Unsupported);
        }
        let l1_index = geometry.l1_index(range.start);
        // Without a table all clusters are unallocated: nothing to do where that is good enough.
        if self.l1.get(l1_index) == 0 && self.may_stay_unallocated(change) {
            let span = geometry.bytes_per_l2();
            let len = (span - range.start.get() % span).min(range.len);
            return Ok(Changed::Done { len, kept: None });
        }
        let claim = match self.claim(range)? {
            Claimed::Got(claim) => claim,
            Claimed::Wanted(fetch) => return Ok(Changed::Wanted(fetch)),
            Claimed::Busy(busy) => return Ok(Changed::Busy(busy)),
        };
        let (clusters, cluster) = (claim.clusters, geometry.cluster_size());
        let skip = geometry.in_cluster(range.start);
        let mut values = Vec::with_capacity(usize::try_from(clusters).unwrap_or(0));
        let mut freed = Vec::new();
        let mut places = Vec::new();
        let forgets = matches!(change, Change::ZeroKeep | Change::Discard { keep: true });
        let mut differs = false;
        for n in 0..clusters {
            let entry = claim.entry(self, n)?.0;
            let from = if n == 0 { skip } else { 0 };
            let to = (skip + range.len - n * cluster).min(cluster);
            let empty_only = matches!(change, Change::ZeroEmpty { .. });
            if empty_only && entry.has_data(geometry, from, to) {
                return Ok(Changed::NotEmpty);
            }
            let old = (claim.raw(self, n), entry.bitmap.unwrap_or_default());
            let new = match entry.bitmap {
                None => self.new_entry(old.0, entry.cluster, change).map(|raw| (raw, old.1)),
                Some(_) => {
                    let touched = subclusters(geometry, from, to);
                    match self.new_extended(old, entry.cluster, &touched, change) {
                        Some(new) => new,
                        None => return Ok(Changed::Unsupported),
                    }
                }
            };
            let new = new.unwrap_or(old);
            if new != old {
                if new.0 & ClusterState::OFFSET_MASK == 0 {
                    freed.push(entry.cluster);
                } else if let ClusterState::Data { at, sharing: Sharing::Exclusive } = entry.cluster
                    && forgets
                    && !claim.suspect
                {
                    // Beside the subclusters that are zeros now others may have data.
                    let (from, to) = match entry.bitmap {
                        Some(_) => (from, to),
                        None => (0, cluster),
                    };
                    add(&mut places, at + from, to - from);
                }
                differs = true;
            }
            values.push(new);
        }
        let reason = if change == Change::Release { Freed::Always } else { Freed::Request };
        if differs {
            claim.store(self, values.len(), |n| values[n]);
            for state in freed {
                self.retire_state(state, 0, reason);
            }
        }
        let len = (clusters * cluster - skip).min(range.len);
        let kept = (!places.is_empty()).then(|| Kept { places, _claim: claim });
        Ok(Changed::Done { len, kept })
    }

    /// Whether a change leaves a cluster as it is that no table maps.
    fn may_stay_unallocated(&self, change: Change) -> bool {
        if self.geometry.extended_l2() {
            change == Change::Release
                || matches!(change, Change::Discard { .. }) && !self.has_backing
        } else {
            self.new_entry(0, ClusterState::Unallocated, change).is_none()
        }
    }

    /// Both words of the extended entry that replaces `old` when the subclusters `touched` change;
    /// `None` within if it may stay, and without if only data can express the change.
    fn new_extended(
        &self,
        old: (u64, SubclusterBitmap),
        state: ClusterState,
        touched: &Range<u32>,
        change: Change,
    ) -> Option<Option<(u64, SubclusterBitmap)>> {
        let (raw, bitmap) = old;
        if change == Change::Release {
            let empty = (0, SubclusterBitmap::EMPTY);
            return Some((old != empty).then_some(empty));
        }
        if touched.len() < 32 {
            return match state {
                ClusterState::Compressed(_) => None,
                _ => Some(Some((raw, bitmap.with_zero(touched)))),
            };
        }
        let keep = change.keeps_places();
        Some(match (state, change) {
            (ClusterState::Data { .. }, _) if keep => Some((raw, SubclusterBitmap::ALL_ZERO)),
            // Without a backing file it reads as zeros as it is.
            (ClusterState::Unallocated, Change::Discard { .. }) if !self.has_backing => None,
            _ => Some((0, SubclusterBitmap::ALL_ZERO)),
        })
    }

    /// The entry that replaces `raw`; `None` if it may stay as it is.
    fn new_entry(&self, raw: u64, state: ClusterState, change: Change) -> Option<u64> {
        if change == Change::Release {
            return (raw != 0).then_some(0);
        }
        let v2 = self.rules.version == Version::V2;
        let allocated = match state {
            ClusterState::Unallocated | ClusterState::Zero { at: None, .. } => false,
            ClusterState::Zero { at: Some(_), .. }
            | ClusterState::Data { .. }
            | ClusterState::Compressed(_) => true,
        };
        if v2 {
            // Version 2 has no zero flag: without a backing file "unallocated" reads as zeros.
            return allocated.then_some(0);
        }
        let compressed = matches!(state, ClusterState::Compressed(_));
        match (change, state) {
            (_, ClusterState::Zero { at: None, .. }) => None,
            (Change::Discard { .. }, ClusterState::Unallocated) if !self.has_backing => None,
            _ if allocated && !compressed && change.keeps_places() => Some(raw | ZERO),
            _ => Some(ZERO),
        }
    }
}

/// Adds a cluster to places, to the last of them if it follows there.
fn add(places: &mut Vec<HostRange>, at: HostOffset, len: u64) {
    match places.last_mut() {
        Some(last) if last.start.checked_add(last.len) == Some(at) => last.len += len,
        _ => places.push(HostRange { start: at, len }),
    }
}
