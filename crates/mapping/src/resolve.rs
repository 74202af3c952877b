//! The read half.

use holstein_cache::Words;
use holstein_format::{ClusterState, EntryError, L1Entry, Sharing};
use holstein_units::{GuestOffset, GuestRange, HostOffset};

use crate::mapping::Inner;
use crate::{ClusterEntry, Extent, ExtentKind, Fetch, MapError, Mapping, Resolved};

/// What the note beside a slice says of its COPIED flags.
pub(crate) mod note {
    /// Not compared with the refcounts yet.
    pub(crate) const UNKNOWN: u8 = 0;
    /// Every COPIED flag stands for a refcount of 1 and no metadata.
    pub(crate) const TRUSTED: u8 = 1;
    /// Some flag lies: look at each count before writing in place.
    pub(crate) const SUSPECT: u8 = 2;
}

/// A stretch of one slice.
struct Stretch {
    extent: Extent,
    /// Whether it ran to the end of what was asked for in this slice.
    whole: bool,
}

impl Mapping {
    /// Resolves the start of a guest range to an extent, without moving payload.
    ///
    /// The extent begins at `range.start`, is at most `range.len` long and is merged as far as
    /// neighbouring clusters are alike and, where they have host offsets, adjacent in the file. It
    /// may end early where the next table is not in memory.
    ///
    /// * `range`: bytes, any alignment, not empty, within the virtual disk or the VM state area.
    ///
    /// # Concurrency
    /// Takes no lock and allocates nothing when the tables are in memory. Safe beside writers, which
    /// are seen before or after, never between, cluster by cluster. The extent stays valid while the
    /// caller's pin, taken before this call, lives.
    ///
    /// # Errors
    /// [`MapError::L1Entry`] and [`MapError::L2Entry`] for entries that are in no state.
    ///
    /// # Spec
    /// "Read algorithm".
    #[inline]
    pub fn resolve(&self, range: GuestRange) -> Result<Resolved, MapError> {
        let inner = &*self.0;
        let rest_of_cluster =
            inner.geometry.cluster_size() - inner.geometry.in_cluster(range.start);
        let plain = !inner.geometry.extended_l2();
        if plain && range.len <= rest_of_cluster && !range.is_empty() {
            inner.resolve_cluster(range)
        } else {
            inner.resolve_clusters(range)
        }
    }

    /// The host offset and length of the part of `range` that may be written where it is.
    ///
    /// `None` if the first byte needs a plan, or something is not in memory or not yet trusted:
    /// [`Mapping::prepare_write`] tells.
    ///
    /// # Concurrency
    /// As for [`Mapping::resolve`]. The caller's pin, taken before, keeps the clusters from reuse.
    #[inline]
    #[must_use]
    pub fn resolve_in_place(&self, range: GuestRange) -> Option<(HostOffset, u64)> {
        let inner = &*self.0;
        let raw = inner.l1.get(inner.geometry.l1_index(range.start));
        let Ok(L1Entry::Table { at: table, sharing: Sharing::Exclusive }) =
            L1Entry::decode(raw, inner.geometry)
        else {
            return None;
        };
        let place = inner.slices.place(table, range.start);
        inner.l2.read(place.slice, |words| {
            if words.note() != note::TRUSTED {
                return None;
            }
            inner
                .in_place(words, place.word, place.left, range)
                // What is elsewhere in a data file is for prepare_write to refuse.
                .filter(|(at, _)| !inner.rules.data_file || at.get() == range.start.get())
        })?
    }
}

impl Inner {
    /// The extent of a range within one cluster: most requests, so with one look at each table and
    /// without the steps that join clusters.
    #[inline]
    fn resolve_cluster(&self, range: GuestRange) -> Result<Resolved, MapError> {
        let l1_index = self.geometry.l1_index(range.start);
        let entry = L1Entry::decode(self.l1.get(l1_index), self.geometry)
            .map_err(|source| MapError::L1Entry { index: l1_index, source })?;
        let kind = match entry {
            L1Entry::Unallocated => ExtentKind::Unallocated { at: None },
            L1Entry::Table { at: table, .. } => {
                let place = self.slices.place(table, range.start);
                match self.l2.word(place.slice, place.word) {
                    None => return Ok(Resolved::Wanted(Fetch::Slice(place.slice))),
                    Some(raw) => self
                        .kind(raw, range.start)
                        .map_err(|source| MapError::L2Entry { at: range.start, source })?,
                }
            }
        };
        Ok(Resolved::Extent(Extent { len: range.len, kind }))
    }

    /// The extent of a range of any length.
    fn resolve_clusters(&self, range: GuestRange) -> Result<Resolved, MapError> {
        let mut at = range.start;
        let end = range.end();
        let mut found: Option<Extent> = None;
        while at < end {
            let l1_index = self.geometry.l1_index(at);
            let raw = self.l1.get(l1_index);
            let entry = L1Entry::decode(raw, self.geometry)
                .map_err(|source| MapError::L1Entry { index: l1_index, source })?;
            let stretch = match entry {
                L1Entry::Unallocated => {
                    let span = self.geometry.bytes_per_l2();
                    let next = GuestOffset::new((at.get() / span + 1).saturating_mul(span));
                    let len = next.min(end) - at;
                    let extent = Extent { len, kind: ExtentKind::Unallocated { at: None } };
                    Stretch { extent, whole: true }
                }
                L1Entry::Table { at: table, .. } => {
                    let place = self.slices.place(table, at);
                    let want = end - at;
                    let stretch = self.l2.read(place.slice, |words| {
                        self.stretch(words, place.word, place.left, at, want)
                    });
                    match stretch {
                        Some(result) => {
                            result.map_err(|(at, source)| MapError::L2Entry { at, source })?
                        }
                        None if found.is_some() => break,
                        None => return Ok(Resolved::Wanted(Fetch::Slice(place.slice))),
                    }
                }
            };
            at = at + stretch.extent.len;
            match &mut found {
                None => found = Some(stretch.extent),
                Some(extent) => {
                    if !extent.join(stretch.extent) {
                        break;
                    }
                }
            }
            if !stretch.whole {
                break;
            }
        }
        Ok(Resolved::Extent(
            found.unwrap_or(Extent { len: 0, kind: ExtentKind::Unallocated { at: None } }),
        ))
    }

    /// With a data file: whether the cluster that maps `at` is where it must be, at the offset that it
    /// has in the disk.
    #[inline]
    pub(crate) fn check_place(
        &self,
        state: ClusterState,
        at: GuestOffset,
    ) -> Result<(), EntryError> {
        if !self.rules.data_file {
            return Ok(());
        }
        match state {
            ClusterState::Data { at: host, .. } | ClusterState::Zero { at: Some(host), .. }
                if host.get() != at.get() - self.geometry.in_cluster(at) =>
            {
                Err(EntryError::DataFileMoved { host, at: at.get() })
            }
            _ => Ok(()),
        }
    }

    /// What an entry makes of the part of its cluster from `at` on.
    #[inline]
    fn kind(&self, raw: u64, at: GuestOffset) -> Result<ExtentKind, EntryError> {
        let skip = self.geometry.in_cluster(at);
        let state = ClusterState::decode(raw, &self.rules)?;
        self.check_place(state, at)?;
        Ok(match state {
            ClusterState::Unallocated => ExtentKind::Unallocated { at: None },
            ClusterState::Zero { at, .. } => ExtentKind::Zero { at: at.map(|at| at + skip) },
            ClusterState::Data { at, .. } => ExtentKind::Data { at: at + skip },
            ClusterState::Compressed(run) => ExtentKind::Compressed { run, skip },
        })
    }

    fn state(
        &self,
        words: Words<'_>,
        word: usize,
        at: GuestOffset,
    ) -> Result<ClusterState, (GuestOffset, EntryError)> {
        ClusterState::decode(words.get(word), &self.rules)
            .and_then(|state| self.check_place(state, at).map(|()| state))
            .map_err(|source| (at, source))
    }

    /// The longest extent from `at` on, within the `left` entries of the slice and `want` bytes.
    #[inline]
    fn stretch(
        &self,
        words: Words<'_>,
        word: usize,
        left: u64,
        at: GuestOffset,
        want: u64,
    ) -> Result<Stretch, (GuestOffset, EntryError)> {
        if self.geometry.extended_l2() {
            return self.stretch_of_subclusters(words, word, left, at, want);
        }
        let cluster = self.geometry.cluster_size();
        let skip = self.geometry.in_cluster(at);
        let first_len = (cluster - skip).min(want);
        let kind = self.kind(words.get(word), at).map_err(|source| (at, source))?;
        let mut extent = Extent { len: first_len, kind };
        if matches!(kind, ExtentKind::Compressed { .. }) {
            return Ok(Stretch { extent, whole: false });
        }
        let mut next = 1;
        if words.get(word) == 0 {
            // What was never written: entries of 0 all mean the same.
            let most = (want - first_len).div_ceil(cluster).saturating_add(1).min(left);
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            next = words.zeros(word, most).max(1) as u64;
            extent.len = (next - 1).saturating_mul(cluster).saturating_add(first_len).min(want);
        }
        for n in next..left {
            if extent.len >= want {
                break;
            }
            let at = at + extent.len;
            let len = cluster.min(want - extent.len);
            let place = word + usize::try_from(n).unwrap_or(usize::MAX - word);
            let kind = match self.state(words, place, at) {
                Ok(ClusterState::Unallocated) => ExtentKind::Unallocated { at: None },
                Ok(ClusterState::Zero { at, .. }) => ExtentKind::Zero { at },
                Ok(ClusterState::Data { at, .. }) => ExtentKind::Data { at },
                // A bad entry is reported to the request that asks for it.
                Ok(ClusterState::Compressed(_)) | Err(_) => {
                    return Ok(Stretch { extent, whole: false });
                }
            };
            if !extent.join(Extent { len, kind }) {
                return Ok(Stretch { extent, whole: false });
            }
        }
        Ok(Stretch { extent, whole: true })
    }

    /// As [`Self::stretch`], with extended entries.
    fn stretch_of_subclusters(
        &self,
        words: Words<'_>,
        word: usize,
        left: u64,
        at: GuestOffset,
        want: u64,
    ) -> Result<Stretch, (GuestOffset, EntryError)> {
        let cluster = self.geometry.cluster_size();
        let mut skip = self.geometry.in_cluster(at);
        let mut found: Option<Extent> = None;
        let mut done = 0;
        for n in 0..left {
            if done >= want {
                break;
            }
            let checked = self
                .entry(words, word + self.slices.words(n))
                .and_then(|entry| self.check_place(entry.cluster, at + done).map(|()| entry));
            let entry = match (checked, found) {
                (Ok(entry), _) => entry,
                // A bad entry is reported to the request that asks for it.
                (Err(_), Some(extent)) => return Ok(Stretch { extent, whole: false }),
                (Err(source), None) => return Err((at, source)),
            };
            while skip < cluster && done < want {
                let next = entry.extent(self.geometry, skip, (cluster - skip).min(want - done));
                match &mut found {
                    None => found = Some(next),
                    Some(extent) => {
                        if !extent.join(next) {
                            return Ok(Stretch { extent: *extent, whole: false });
                        }
                    }
                }
                done += next.len;
                skip += next.len;
            }
            skip = 0;
        }
        let extent = found.unwrap_or(Extent { len: 0, kind: ExtentKind::Unallocated { at: None } });
        Ok(Stretch { extent, whole: true })
    }

    /// The entry at word `word`.
    fn entry(&self, words: Words<'_>, word: usize) -> Result<ClusterEntry, EntryError> {
        ClusterEntry::decode(words.get(word), || words.get(word + 1), &self.rules)
    }

    /// As [`Self::in_place`], with extended entries.
    fn subclusters_in_place(
        &self,
        words: Words<'_>,
        word: usize,
        left: u64,
        range: GuestRange,
    ) -> Option<(HostOffset, u64)> {
        let cluster = self.geometry.cluster_size();
        let mut skip = self.geometry.in_cluster(range.start);
        let mut found: Option<(HostOffset, u64)> = None;
        for n in 0..left {
            let len = found.map_or(0, |(_, len)| len);
            if len >= range.len {
                break;
            }
            let entry = self.entry(words, word + self.slices.words(n)).ok();
            let next = entry.filter(|entry| entry.exclusive_at().is_some());
            let next = next.map(|entry| entry.extent(self.geometry, skip, cluster - skip));
            let Some(Extent { len: more, kind: ExtentKind::Data { at } }) = next else { break };
            match &mut found {
                None => found = Some((at, more)),
                Some((start, len)) if start.checked_add(*len) == Some(at) => *len += more,
                Some(_) => break,
            }
            if skip + more < cluster {
                break;
            }
            skip = 0;
        }
        found.map(|(at, len)| (at, len.min(range.len)))
    }

    /// The part of `range` that is exclusive data, contiguous in the file.
    #[inline]
    pub(crate) fn in_place(
        &self,
        words: Words<'_>,
        word: usize,
        left: u64,
        range: GuestRange,
    ) -> Option<(HostOffset, u64)> {
        if self.geometry.extended_l2() {
            return self.subclusters_in_place(words, word, left, range);
        }
        let cluster = self.geometry.cluster_size();
        let exclusive = |word: usize| match ClusterState::decode(words.get(word), &self.rules) {
            Ok(ClusterState::Data { at, sharing: Sharing::Exclusive }) => Some(at),
            _ => None,
        };
        let skip = self.geometry.in_cluster(range.start);
        let start = exclusive(word)?;
        let mut len = cluster - skip;
        for n in 1..left {
            if len >= range.len {
                break;
            }
            let next = exclusive(word + usize::try_from(n).unwrap_or(usize::MAX - word));
            if next != start.checked_add(skip + len) {
                break;
            }
            len += cluster;
        }
        Some((start + skip, len.min(range.len)))
    }
}
