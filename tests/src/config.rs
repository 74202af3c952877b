//! Which kind of image a program runs on.

use std::fmt;
use std::str::FromStr;

use holstein::CreateOptions;
use holstein::format::{CompressionType, Version};

use crate::unlocked::encrypted;
use crate::{Amend, Feature, Features, Op};

/// Version, cluster size and refcount width of an image, and what else it has. Prints and parses as
/// `v3:512:16`, or `v3:512:16:lazy` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Config {
    /// The version of the format.
    pub version: Version,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Bits of a refcount.
    pub refcount_bits: u32,
    /// What else it has.
    pub features: Features,
}

impl Config {
    /// The one that is explored most: version 3, the smallest clusters, 16 bits.
    pub const SMALL: Self = Self::plain(Version::V3, 512, 16);
    /// The same with lazy refcounts.
    pub const LAZY: Self = Self::SMALL.with(Feature::Lazy);
    /// With subclusters of a sector each, which need larger clusters.
    pub const EXTENDED: Self = Self { cluster: 16 << 10, ..Self::SMALL }.with(Feature::Extended);
    /// With clusters compressed as zstd.
    pub const ZSTD: Self = Self::SMALL.with(Feature::Zstd);

    /// With payload in another file.
    pub const DATA: Self = Self::SMALL.with(Feature::Data);
    /// With payload in another file that reads as the disk does.
    pub const RAW_DATA: Self = Self::SMALL.with(Feature::RawData);

    /// With dirty bitmaps.
    pub const BITMAPS: Self = Self::SMALL.with(Feature::Bitmaps);
    /// Encrypted under LUKS, in clusters of which its key material needs not too many.
    pub const LUKS: Self = Self { cluster: 4096, ..Self::SMALL }.with(Feature::Luks);
    /// Encrypted as the first versions of the format did.
    pub const AES: Self = Self::SMALL.with(Feature::Aes);

    const fn plain(version: Version, cluster: u64, refcount_bits: u32) -> Self {
        Self { version, cluster, refcount_bits, features: Features::NONE }
    }

    /// The same with one feature more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self { features: self.features.with(feature), ..self }
    }

    /// Whether it has a feature.
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    /// Whether payload is in another file.
    #[must_use]
    pub const fn has_data_file(self) -> bool {
        self.has(Feature::Data) || self.has(Feature::RawData)
    }

    /// Whether payload is encrypted.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        self.has(Feature::Luks) || self.has(Feature::Aes)
    }

    /// The same with payload in the image.
    #[must_use]
    pub const fn without_data_file(self) -> Self {
        let features = self.features.without(Feature::Data).without(Feature::RawData);
        Self { features, ..self }
    }

    /// Both versions, three cluster sizes, three widths, lazy refcounts; version 2 has one width and
    /// no lazy refcounts.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for cluster in [512, 64 << 10, 2 << 20] {
            all.push(Self::plain(Version::V2, cluster, 16));
            for refcount_bits in [1, 16, 64] {
                all.push(Self::plain(Version::V3, cluster, refcount_bits));
            }
        }
        all.extend([512, 64 << 10].map(|cluster| Self { cluster, ..Self::LAZY }));
        all
    }

    /// One for each feature that came after these, in the smallest clusters that it can have.
    #[must_use]
    pub fn featured() -> Vec<Self> {
        vec![
            Self::EXTENDED,
            Self::ZSTD,
            Self::DATA,
            Self::RAW_DATA,
            Self::BITMAPS,
            Self::LUKS,
            Self::AES,
            Self::DATA.with(Feature::Aes),
            Self::RAW_DATA.with(Feature::Aes),
            Self::AES.with(Feature::NoUnref),
        ]
    }

    /// Options that create such an image with a disk of `size` bytes, but for its data file.
    pub fn create(self, size: u64) -> CreateOptions {
        let compression =
            if self.has(Feature::Zstd) { CompressionType::Zstd } else { CompressionType::Deflate };
        let create = CreateOptions::new(size)
            .version(self.version)
            .cluster_size(self.cluster)
            .refcount_bits(self.refcount_bits)
            .lazy_refcounts(self.has(Feature::Lazy))
            .extended_l2(self.has(Feature::Extended))
            .compression(compression);
        encrypted(create, self)
    }

    /// Refcounts in a refcount block.
    #[must_use]
    pub fn counters_per_block(self) -> u64 {
        self.cluster * 8 / u64::from(self.refcount_bits)
    }

    /// Clusters that one L2 table maps.
    #[must_use]
    pub fn clusters_per_table(self) -> u64 {
        self.cluster / if self.has(Feature::Extended) { 16 } else { 8 }
    }

    /// Whether an image can do what a request asks for: programs made of all requests leave out what is
    /// always refused.
    #[must_use]
    pub fn takes(self, op: Op) -> bool {
        match op {
            Op::Compressed { .. } => !self.has_data_file() && !self.is_encrypted(),
            Op::Snapshot(_) => !self.has_data_file(),
            Op::Apply(_) | Op::Delete(_) if self.refcount_bits == 1 || self.has_data_file() => {
                false
            }
            // Bitmaps could not follow.
            Op::Apply(_) => !self.has(Feature::Bitmaps),
            Op::Amend(Amend::Compat(_)) => {
                let newer = [Feature::Extended, Feature::Bitmaps, Feature::NoUnref];
                !newer.into_iter().any(|one| self.has(one)) && !self.has_data_file()
            }
            _ => true,
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, cluster, refcount_bits, features } = self;
        write!(f, "v{}:{cluster}:{refcount_bits}{features}", version.number())
    }
}

impl FromStr for Config {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            let words = Feature::ALL.map(Feature::word).join(", ");
            format!("{text:?} is not of the form v3:512:16 or v3:512:16:lazy; there are {words}")
        };
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or_else(bad);
        let version = match next()? {
            "v2" => Version::V2,
            "v3" => Version::V3,
            _ => return Err(bad()),
        };
        let cluster = next()?.parse().map_err(|_| bad())?;
        let refcount_bits = next()?.parse().map_err(|_| bad())?;
        let plain = Self::plain(version, cluster, refcount_bits);
        parts.try_fold(plain, |config, word| {
            Feature::by_word(word).map(|feature| config.with(feature)).ok_or_else(bad)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_print_and_parse() {
        let all = Config::all();
        assert_eq!(all.len(), 14);
        let both = Config::EXTENDED.with(Feature::Zstd).with(Feature::Lazy);
        for config in all.into_iter().chain(Config::featured()).chain([both]) {
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        assert_eq!(both.to_string(), "v3:16384:16:lazy:extended:zstd");
        for feature in Feature::ALL {
            let alone = Config::SMALL.with(feature);
            assert_eq!(alone.to_string(), format!("v3:512:16:{}", feature.word()));
            assert_eq!(alone.to_string().parse(), Ok(alone));
        }
        assert!("v4:512:16".parse::<Config>().is_err());
        assert!("v3:512:16:x".parse::<Config>().is_err());
        assert!("v3:512".parse::<Config>().is_err());
    }
}
