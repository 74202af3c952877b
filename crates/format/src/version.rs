//! Format versions.

/// The version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Version 2 (compatibility level 0.10): no feature bits, 16-bit refcounts, no zero clusters.
    V2,
    /// Version 3 (compatibility level 1.1).
    V3,
}

impl Version {
    /// The number in the header.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }

    /// The version with this number, if it is one.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            _ => None,
        }
    }
}
