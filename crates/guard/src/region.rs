//! Kinds of metadata that the overlap check knows.

use std::fmt;

/// A kind of metadata, numbered as in the format's overlap options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Region {
    /// Cluster 0.
    MainHeader = 0,
    /// The L1 table of the disk.
    ActiveL1 = 1,
    /// L2 tables of the disk.
    ActiveL2 = 2,
    /// The refcount table.
    RefcountTable = 3,
    /// Refcount blocks.
    RefcountBlock = 4,
    /// The snapshot table.
    SnapshotTable = 5,
    /// L1 tables of snapshots.
    InactiveL1 = 6,
    /// L2 tables of snapshots.
    InactiveL2 = 7,
    /// The directory of persistent bitmaps.
    BitmapDirectory = 8,
    /// The LUKS header with its key material. The format's options have no number for it; it is in every
    /// template.
    EncryptionHeader = 9,
}

impl Region {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::MainHeader,
        Self::ActiveL1,
        Self::ActiveL2,
        Self::RefcountTable,
        Self::RefcountBlock,
        Self::SnapshotTable,
        Self::InactiveL1,
        Self::InactiveL2,
        Self::BitmapDirectory,
        Self::EncryptionHeader,
    ];

    /// The mask with this kind alone.
    #[must_use]
    pub const fn mask(self) -> RegionMask {
        RegionMask(1 << self as u8)
    }

    /// The name used in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MainHeader => "qcow2_header",
            Self::ActiveL1 => "active L1 table",
            Self::ActiveL2 => "active L2 table",
            Self::RefcountTable => "refcount table",
            Self::RefcountBlock => "refcount block",
            Self::SnapshotTable => "snapshot table",
            Self::InactiveL1 => "inactive L1 table",
            Self::InactiveL2 => "inactive L2 table",
            Self::BitmapDirectory => "bitmap directory",
            Self::EncryptionHeader => "LUKS header",
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RegionMask(u16);

impl RegionMask {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// What can be tested in constant time: header, active L1, refcount table, snapshot table,
    /// bitmap directory, LUKS header.
    pub const CONSTANT: Self = Self(0b11_0010_1011);
    /// [`Self::CONSTANT`] and what is in memory anyway; the default.
    pub const CACHED: Self = Self(0b11_0111_1111);
    /// All kinds.
    pub const ALL: Self = Self(0b11_1111_1111);

    /// From the bare bits.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The bare bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The kind with the lowest number, if any.
    #[must_use]
    pub fn first(self) -> Option<Region> {
        Region::ALL.into_iter().find(|region| self.0 & region.mask().0 != 0)
    }
}

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Guest data, VM state or compressed data.
    Payload,
    /// Tables and bits of persistent bitmaps, at places that are new.
    Bitmap,
    /// One kind of metadata.
    Metadata(Region),
}

impl Intent {
    /// The kinds that the write may touch.
    #[must_use]
    pub const fn allowed(self) -> RegionMask {
        match self {
            Self::Payload | Self::Bitmap => RegionMask::NONE,
            Self::Metadata(region) => region.mask(),
        }
    }

    /// The name used in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payload => "data",
            Self::Bitmap => "bitmap",
            Self::Metadata(region) => region.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_templates_have_the_bits_of_the_format() {
        use Region::{
            ActiveL1, ActiveL2, BitmapDirectory, EncryptionHeader, InactiveL1, InactiveL2,
            MainHeader, RefcountBlock, RefcountTable, SnapshotTable,
        };
        let of = |kinds: &[Region]| {
            kinds.iter().fold(RegionMask::NONE, |mask, kind| mask.union(kind.mask()))
        };
        let constant = of(&[MainHeader, ActiveL1, RefcountTable, SnapshotTable, BitmapDirectory]);
        assert_eq!(RegionMask::CONSTANT, constant.union(of(&[EncryptionHeader])));
        let cached = [ActiveL2, RefcountBlock, InactiveL1];
        assert_eq!(RegionMask::CACHED, RegionMask::CONSTANT.union(of(&cached)));
        assert_eq!(RegionMask::ALL, RegionMask::CACHED.union(InactiveL2.mask()));
        assert!(RegionMask::NONE.is_empty());
        let bits = Region::ALL.map(|kind| kind.mask().bits());
        assert_eq!(bits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512], "the numbers of the option");
    }
}
