//! The exclusive right to entries of one L2 slice that is in memory.

use holstein_cache::Hold;
use holstein_format::SubclusterBitmap;
use holstein_units::{GuestCluster, GuestOffset, GuestRange};

use crate::ClusterEntry;
use crate::mapping::Inner;
use crate::range_tickets::Ticket;
use crate::resolve::note;
use crate::{Busy, Fetch, MapError};

/// Entries that nobody else may change, in a table that is the disk's own.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The slice.
    pub(crate) hold: Hold,
    /// The word of the first entry.
    pub(crate) word: usize,
    /// The guest cluster of the first entry.
    pub(crate) first: u64,
    /// How many entries.
    pub(crate) clusters: u64,
    /// COPIED flags of the slice cannot be believed without a look at the counts.
    pub(crate) suspect: bool,
    /// The right to change them.
    _ticket: Ticket,
}

/// The answer to [`Inner::claim`].
pub(crate) enum Claimed {
    /// The entries.
    Got(Claim),
    /// Drop the pin, fetch this, and ask again.
    Wanted(Fetch),
    /// Drop the pin, wait, and ask again.
    Busy(Busy),
}

impl Claim {
    fn word_of(&self, inner: &Inner, n: u64) -> usize {
        self.word + inner.slices.words(n)
    }

    /// The first word of the entry of the `n`th cluster.
    pub(crate) fn raw(&self, inner: &Inner, n: u64) -> u64 {
        self.hold.get(self.word_of(inner, n))
    }

    /// The state of the `n`th cluster, and the guest offset that it maps.
    pub(crate) fn entry(
        &self,
        inner: &Inner,
        n: u64,
    ) -> Result<(ClusterEntry, GuestOffset), MapError> {
        let word = self.word_of(inner, n);
        let at = inner.geometry.guest_offset(GuestCluster::new(self.first + n));
        let bits = || self.hold.get(word + 1);
        let entry = ClusterEntry::decode(self.hold.get(word), bits, &inner.rules)
            .and_then(|entry| inner.check_place(entry.cluster, at).map(|()| entry))
            .map_err(|source| MapError::L2Entry { at, source })?;
        Ok((entry, at))
    }

    /// Stores the entries of the first `n` clusters: of each its word, and the bitmap that it has
    /// with extended entries. Readers see none torn.
    pub(crate) fn store(
        &self,
        inner: &Inner,
        n: usize,
        value: impl Fn(usize) -> (u64, SubclusterBitmap),
    ) {
        if inner.geometry.extended_l2() {
            let words: Vec<u64> = (0..n)
                .flat_map(|n| {
                    let (raw, bitmap) = value(n);
                    [raw, bitmap.bits()]
                })
                .collect();
            self.hold.store_whole(self.word, &words);
        } else {
            self.hold.store_with(self.word, n, |n| value(n).0);
        }
    }
}

impl Inner {
    /// Claims the clusters that the start of `range` touches, as far as one slice maps them. Memory
    /// only.
    pub(crate) fn claim(&self, range: GuestRange) -> Result<Claimed, MapError> {
        let geometry = self.geometry;
        let l1_index = geometry.l1_index(range.start);
        let table = match self.own_table(l1_index)? {
            Ok(table) => table,
            Err(fetch) => return Ok(Claimed::Wanted(fetch)),
        };
        let place = self.slices.place(table, range.start);
        let Some(hold) = self.l2.hold(place.slice) else {
            return Ok(Claimed::Wanted(Fetch::Slice(place.slice)));
        };
        let verdict = self.l2.read(place.slice, |words| words.note());
        if verdict.is_none_or(|verdict| verdict == note::UNKNOWN) {
            let guest = self.slices.first_guest(range.start);
            return Ok(Claimed::Wanted(Fetch::Verify { slice: place.slice, guest }));
        }
        let skip = geometry.in_cluster(range.start);
        let clusters = geometry.clusters_for(skip + range.len).min(place.left);
        let first = geometry.guest_cluster(range.start).get();
        let ticket = match self.tickets.take(first, first + clusters) {
            Ok(ticket) => ticket,
            Err(busy) => return Ok(Claimed::Busy(busy)),
        };
        // The table may have been replaced before the ticket was taken.
        if self.own_table(l1_index)? != Ok(table) {
            return Ok(Claimed::Wanted(Fetch::Slice(place.slice)));
        }
        let suspect = verdict == Some(note::SUSPECT);
        if suspect && let Err(fetch) = self.confirm_table(l1_index, table, range.start)? {
            return Ok(Claimed::Wanted(fetch));
        }
        Ok(Claimed::Got(Claim {
            hold,
            word: place.word,
            first,
            clusters,
            suspect,
            _ticket: ticket,
        }))
    }
}
