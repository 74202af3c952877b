//! Which kind of image a program runs on.

use std::fmt;
use std::str::FromStr;

use holstein::CreateOptions;
use holstein::format::Version;

/// Version, cluster size and refcount width of an image. Prints and parses as `v3:512:16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Config {
    /// The version of the format.
    pub version: Version,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Bits of a refcount.
    pub refcount_bits: u32,
}

impl Config {
    /// The one that is explored most: version 3, the smallest clusters, 16 bits.
    pub const SMALL: Self = Self { version: Version::V3, cluster: 512, refcount_bits: 16 };

    /// Both versions, three cluster sizes, three widths; version 2 has one width.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for cluster in [512, 64 << 10, 2 << 20] {
            all.push(Self { version: Version::V2, cluster, refcount_bits: 16 });
            for refcount_bits in [1, 16, 64] {
                all.push(Self { version: Version::V3, cluster, refcount_bits });
            }
        }
        all
    }

    /// Options that create such an image with a disk of `size` bytes.
    pub fn create(self, size: u64) -> CreateOptions {
        CreateOptions::new(size)
            .version(self.version)
            .cluster_size(self.cluster)
            .refcount_bits(self.refcount_bits)
    }

    /// Refcounts in a refcount block.
    #[must_use]
    pub fn counters_per_block(self) -> u64 {
        self.cluster * 8 / u64::from(self.refcount_bits)
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, cluster, refcount_bits } = self;
        write!(f, "v{}:{cluster}:{refcount_bits}", version.number())
    }
}

impl FromStr for Config {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not of the form v3:512:16");
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or_else(bad);
        let version = match next()? {
            "v2" => Version::V2,
            "v3" => Version::V3,
            _ => return Err(bad()),
        };
        let cluster = next()?.parse().map_err(|_| bad())?;
        let refcount_bits = next()?.parse().map_err(|_| bad())?;
        Ok(Self { version, cluster, refcount_bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_print_and_parse() {
        let all = Config::all();
        assert_eq!(all.len(), 12);
        for config in all {
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        assert!("v4:512:16".parse::<Config>().is_err());
        assert!("v3:512".parse::<Config>().is_err());
    }
}
