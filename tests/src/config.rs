//! Which kind of image a program runs on.

use std::fmt;
use std::str::FromStr;

use holstein::CreateOptions;
use holstein::format::Version;

/// Version, cluster size and refcount width of an image, and whether its counts may be behind. Prints
/// and parses as `v3:512:16`, or `v3:512:16:lazy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Config {
    /// The version of the format.
    pub version: Version,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Bits of a refcount.
    pub refcount_bits: u32,
    /// Whether counts may be behind, under the dirty bit.
    pub lazy: bool,
}

impl Config {
    /// The one that is explored most: version 3, the smallest clusters, 16 bits.
    pub const SMALL: Self = Self::plain(Version::V3, 512, 16);
    /// The same with lazy refcounts.
    pub const LAZY: Self = Self { lazy: true, ..Self::SMALL };

    const fn plain(version: Version, cluster: u64, refcount_bits: u32) -> Self {
        Self { version, cluster, refcount_bits, lazy: false }
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

    /// Options that create such an image with a disk of `size` bytes.
    pub fn create(self, size: u64) -> CreateOptions {
        CreateOptions::new(size)
            .version(self.version)
            .cluster_size(self.cluster)
            .refcount_bits(self.refcount_bits)
            .lazy_refcounts(self.lazy)
    }

    /// Refcounts in a refcount block.
    #[must_use]
    pub fn counters_per_block(self) -> u64 {
        self.cluster * 8 / u64::from(self.refcount_bits)
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, cluster, refcount_bits, lazy } = self;
        let lazy = if *lazy { ":lazy" } else { "" };
        write!(f, "v{}:{cluster}:{refcount_bits}{lazy}", version.number())
    }
}

impl FromStr for Config {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not of the form v3:512:16 or v3:512:16:lazy");
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or_else(bad);
        let version = match next()? {
            "v2" => Version::V2,
            "v3" => Version::V3,
            _ => return Err(bad()),
        };
        let cluster = next()?.parse().map_err(|_| bad())?;
        let refcount_bits = next()?.parse().map_err(|_| bad())?;
        let lazy = match parts.next() {
            None => false,
            Some("lazy") => true,
            Some(_) => return Err(bad()),
        };
        Ok(Self { version, cluster, refcount_bits, lazy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_print_and_parse() {
        let all = Config::all();
        assert_eq!(all.len(), 14);
        for config in all {
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        assert!("v4:512:16".parse::<Config>().is_err());
        assert!("v3:512:16:x".parse::<Config>().is_err());
        assert!("v3:512".parse::<Config>().is_err());
    }
}
