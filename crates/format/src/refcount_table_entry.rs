//! Entries of the refcount table.

use crate::entry::EntryError;
use holstein_units::{Geometry, HostOffset};

/// An entry of the refcount table; it carries no flags, bit 63 belongs to the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefcountTableEntry {
    /// No block: all its counters are 0.
    Absent,
    /// A refcount block, one cluster long.
    Block(HostOffset),
}

impl RefcountTableEntry {
    /// Bits 9..=63, the offset.
    pub const OFFSET_MASK: u64 = 0xffff_ffff_ffff_fe00;
    /// Bits that must be zero.
    pub const RESERVED_MASK: u64 = 0x1ff;

    /// Reads an entry that was converted from big-endian; reserved bits are ignored.
    ///
    /// # Errors
    /// [`EntryError::Unaligned`].
    #[inline]
    pub const fn decode(raw: u64, geometry: Geometry) -> Result<Self, EntryError> {
        let at = HostOffset::new(raw & Self::OFFSET_MASK);
        if at.get() == 0 {
            return Ok(Self::Absent);
        }
        if !geometry.is_aligned(at) {
            return Err(EntryError::Unaligned { raw, offset: at });
        }
        Ok(Self::Block(at))
    }

    /// The entry as a number, to be stored big-endian.
    #[inline]
    #[must_use]
    pub const fn encode(self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Block(at) => at.get(),
        }
    }

    /// The bits of an entry that must be zero and are not.
    #[inline]
    #[must_use]
    pub const fn reserved_bits(raw: u64) -> u64 {
        raw & Self::RESERVED_MASK
    }
}
