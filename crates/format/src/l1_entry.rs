//! Entries of L1 tables.

use crate::entry::{EntryError, OFFSET_MASK, Sharing};
use holstein_units::{Geometry, HostOffset};

/// An entry of an active or a snapshot's L1 table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L1Entry {
    /// No L2 table: all its guest clusters are unallocated.
    Unallocated,
    /// An L2 table, one cluster long.
    Table {
        /// Where it starts; cluster aligned, not 0, below 2^56.
        at: HostOffset,
        /// Whether its refcount is 1; noise in the L1 table of a snapshot.
        sharing: Sharing,
    },
}

impl L1Entry {
    /// Bits 9..=55, the offset.
    pub const OFFSET_MASK: u64 = OFFSET_MASK;
    /// Bits that must be zero; readers ignore them, a check reports them.
    pub const RESERVED_MASK: u64 = 0x7f00_0000_0000_01ff;

    /// Reads an entry that was converted from big-endian; reserved bits are ignored.
    ///
    /// # Errors
    /// [`EntryError::Unaligned`], and [`EntryError::AtHeader`] where COPIED is set at offset 0.
    #[inline]
    pub const fn decode(raw: u64, geometry: Geometry) -> Result<Self, EntryError> {
        let at = HostOffset::new(raw & Self::OFFSET_MASK);
        let sharing = Sharing::of(raw);
        if at.get() == 0 {
            return match sharing {
                Sharing::Shared => Ok(Self::Unallocated),
                Sharing::Exclusive => Err(EntryError::AtHeader { raw }),
            };
        }
        if !geometry.is_aligned(at) {
            return Err(EntryError::Unaligned { raw, offset: at });
        }
        Ok(Self::Table { at, sharing })
    }

    /// The entry as a number, to be stored big-endian.
    #[inline]
    #[must_use]
    pub const fn encode(self) -> u64 {
        match self {
            Self::Unallocated => 0,
            Self::Table { at, sharing } => at.get() | sharing.flag(),
        }
    }

    /// The bits of an entry that must be zero and are not.
    #[inline]
    #[must_use]
    pub const fn reserved_bits(raw: u64) -> u64 {
        raw & Self::RESERVED_MASK
    }
}
