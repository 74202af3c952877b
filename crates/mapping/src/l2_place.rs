//! Where the L2 entry of a guest cluster is in memory.

use holstein_units::{Geometry, GuestOffset, HostOffset};

/// A slice of an L2 table and an entry in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct L2Place {
    /// Host offset of the slice.
    pub(crate) slice: HostOffset,
    /// The word of the entry within the slice.
    pub(crate) word: usize,
    /// Entries from this one to the end of the slice, at least 1.
    pub(crate) left: u64,
}

/// Slices: how L2 tables are cut for the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slices {
    geometry: Geometry,
    bytes: u64,
    entry_bits: u32,
    slice_bits: u32,
}

impl Slices {
    /// Slices of `bytes` bytes, a power of two of at most a cluster.
    pub(crate) fn new(geometry: Geometry, bytes: u64) -> Self {
        Self {
            geometry,
            bytes,
            entry_bits: geometry.l2_entry_size().trailing_zeros(),
            slice_bits: bytes.trailing_zeros(),
        }
    }

    /// The place of the entry for `at` in the table at `table`.
    #[inline]
    pub(crate) fn place(&self, table: HostOffset, at: GuestOffset) -> L2Place {
        let byte = self.geometry.l2_index(at) << self.entry_bits;
        let within = byte & (self.bytes - 1);
        L2Place {
            slice: table + (byte - within),
            // Within a slice of at most 2 MiB.
            word: usize::try_from(within >> 3).unwrap_or(0),
            left: (self.bytes - within) >> self.entry_bits,
        }
    }

    /// The slices of the table at `table`.
    pub(crate) fn of_table(&self, table: HostOffset) -> impl Iterator<Item = HostOffset> + use<> {
        let bits = self.slice_bits;
        (0..self.geometry.cluster_size() >> bits).map(move |n| table + (n << bits))
    }

    /// Words of `entries` entries, which are within a slice.
    #[inline]
    pub(crate) fn words(&self, entries: u64) -> usize {
        usize::try_from(entries << (self.entry_bits - 3)).unwrap_or(usize::MAX >> 1)
    }

    /// Whether a slice is a whole table.
    pub(crate) fn are_whole(&self) -> bool {
        self.bytes == self.geometry.cluster_size()
    }

    /// Bytes of a slice.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first guest byte that the slice holding `at`'s entry maps.
    pub(crate) fn first_guest(&self, at: GuestOffset) -> GuestOffset {
        let span = (self.bytes >> self.entry_bits) * self.geometry.cluster_size();
        GuestOffset::new(at.get() / span * span)
    }
}
