//! Entries of a bitmap's table.

use crate::entry::{EntryError, OFFSET_MASK};
use holstein_units::{Geometry, HostOffset};

/// One cluster of a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BitmapTableEntry {
    /// All its bits are 0.
    AllZeros,
    /// All its bits are 1.
    AllOnes,
    /// Its bits are in a cluster of the image.
    Data(HostOffset),
}

impl BitmapTableEntry {
    /// Bits that must be zero.
    pub const RESERVED_MASK: u64 = 0xff00_0000_0000_01fe;

    /// Reads an entry that was converted from big-endian.
    ///
    /// # Errors
    /// [`EntryError::ReservedBits`], also for bit 0 beside an offset; [`EntryError::Unaligned`].
    pub const fn decode(raw: u64, geometry: Geometry) -> Result<Self, EntryError> {
        let at = HostOffset::new(raw & OFFSET_MASK);
        let forbidden = if at.get() == 0 { Self::RESERVED_MASK } else { Self::RESERVED_MASK | 1 };
        if raw & forbidden != 0 {
            return Err(EntryError::ReservedBits { raw, bits: raw & forbidden });
        }
        if !geometry.is_aligned(at) {
            return Err(EntryError::Unaligned { raw, offset: at });
        }
        Ok(match raw {
            0 => Self::AllZeros,
            1 => Self::AllOnes,
            _ => Self::Data(at),
        })
    }

    /// The entry as a number, to be stored big-endian.
    #[must_use]
    pub const fn encode(self) -> u64 {
        match self {
            Self::AllZeros => 0,
            Self::AllOnes => 1,
            Self::Data(at) => at.get(),
        }
    }
}
