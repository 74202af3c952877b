//! What images have beyond version, cluster size and refcount width.

use std::fmt;

/// Something that an image has or has not. Prints as the word that [`crate::Config`] has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Counts may be behind, under the dirty bit: `lazy`.
    Lazy,
    /// L2 entries with subclusters: `extended`.
    Extended,
    /// Clusters are compressed as zstd: `zstd`.
    Zstd,
    /// Payload is in another file: `data`.
    Data,
    /// The same, and that file reads as the disk does: `raw-data`.
    RawData,
    /// Two dirty bitmaps: `bitmaps`.
    Bitmaps,
    /// Payload is encrypted under LUKS: `luks`.
    Luks,
    /// Payload is encrypted as the first versions of the format did: `aes`.
    Aes,
    /// Discarded clusters keep their place, and the host hears that nobody needs it: `no-unref`.
    NoUnref,
}

impl Feature {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Self; 9] = [
        Self::Lazy,
        Self::Extended,
        Self::Zstd,
        Self::Data,
        Self::RawData,
        Self::Bitmaps,
        Self::Luks,
        Self::Aes,
        Self::NoUnref,
    ];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lazy => "lazy",
            Self::Extended => "extended",
            Self::Zstd => "zstd",
            Self::Data => "data",
            Self::RawData => "raw-data",
            Self::Bitmaps => "bitmaps",
            Self::Luks => "luks",
            Self::Aes => "aes",
            Self::NoUnref => "no-unref",
        }
    }

    /// The feature with this word.
    #[must_use]
    pub fn by_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.word() == word)
    }
}

/// A set of features. Prints as `:lazy:zstd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Features(u16);

impl Features {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// These and one more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u8)
    }

    /// These but that one.
    #[must_use]
    pub const fn without(self, feature: Feature) -> Self {
        Self(self.0 & !(1 << feature as u8))
    }

    /// Whether it is one of these.
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u8 != 0
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = Feature::ALL.into_iter().filter(|feature| self.has(*feature));
        here.map(Feature::word).try_for_each(|word| write!(f, ":{word}"))
    }
}
