//! What a header says of its image beside the size, and the changes of that.

use std::fmt;
use std::str::FromStr;

use holstein::AmendOptions;
use holstein::format::{CompatibleFeatures, Header, Version};

use crate::{Config, Feature, Name};

/// Version, refcount width, lazy refcounts, kind of data file and backing file of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The version of the format.
    pub version: Version,
    /// Bits of a refcount.
    pub refcount_bits: u32,
    /// Whether counts may be behind, under the dirty bit.
    pub lazy: bool,
    /// Whether the data file reads as the disk does.
    pub raw: bool,
    /// What it is based on.
    pub backing: Option<Name>,
}

impl Shape {
    /// That of a new image.
    #[must_use]
    pub fn of(config: Config) -> Self {
        let Config { version, refcount_bits, .. } = config;
        let (lazy, raw) = (config.has(Feature::Lazy), config.has(Feature::RawData));
        Self { version, refcount_bits, lazy, raw, backing: None }
    }

    /// What a header says; a name that is none of those here is none.
    #[must_use]
    pub fn read(header: &Header) -> Self {
        Self {
            version: header.version,
            refcount_bits: header.refcount_order.bits(),
            lazy: header.compatible.contains(CompatibleFeatures::LAZY_REFCOUNTS),
            raw: header.has_raw_data_file(),
            backing: header
                .backing_file
                .as_deref()
                .and_then(|name| String::from_utf8_lossy(name).parse().ok()),
        }
    }

    /// What it becomes; `None` if it is that already, or cannot become that.
    #[must_use]
    pub fn after(self, amend: Amend) -> Option<Self> {
        let possible = match amend {
            Amend::Compat(version) => version == Version::V3 || self.refcount_bits == 16,
            Amend::Width(_) | Amend::Lazy(true) => self.version == Version::V3,
            Amend::Lazy(false) => true,
            Amend::NotRaw => self.raw,
        };
        let new = match amend {
            Amend::Compat(version) => {
                Self { version, lazy: self.lazy && version == Version::V3, ..self }
            }
            Amend::Width(refcount_bits) => Self { refcount_bits, ..self },
            Amend::Lazy(lazy) => Self { lazy, ..self },
            Amend::NotRaw => Self { raw: false, ..self },
        };
        (possible && new != self).then_some(new)
    }
}

/// One change of a shape. Prints and parses as `compat2`, `width64`, `lazy1`, `notraw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Amend {
    /// Another version.
    Compat(Version),
    /// Refcounts of so many bits.
    Width(u32),
    /// Lazy refcounts, or none.
    Lazy(bool),
    /// The data file need not read as the disk does any more.
    NotRaw,
}

impl Amend {
    /// The same for the library.
    pub fn options(self) -> AmendOptions {
        let options = AmendOptions::new();
        match self {
            Self::Compat(version) => options.version(version),
            Self::Width(bits) => options.refcount_bits(bits),
            Self::Lazy(lazy) => options.lazy_refcounts(lazy),
            Self::NotRaw => options.data_file_raw(false),
        }
    }

    /// The same as `qemu-img amend -o` takes it.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Compat(Version::V2) => "compat=0.10".to_owned(),
            Self::Compat(Version::V3) => "compat=1.1".to_owned(),
            Self::Width(bits) => format!("refcount_bits={bits}"),
            Self::Lazy(on) => format!("lazy_refcounts={}", if on { "on" } else { "off" }),
            Self::NotRaw => "data_file_raw=off".to_owned(),
        }
    }
}

impl fmt::Display for Amend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compat(version) => write!(f, "compat{}", version.number()),
            Self::Width(bits) => write!(f, "width{bits}"),
            Self::Lazy(on) => write!(f, "lazy{}", u8::from(*on)),
            Self::NotRaw => f.write_str("notraw"),
        }
    }
}

impl FromStr for Amend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "compat2" => Self::Compat(Version::V2),
            "compat3" => Self::Compat(Version::V3),
            "lazy0" => Self::Lazy(false),
            "lazy1" => Self::Lazy(true),
            "notraw" => Self::NotRaw,
            _ => {
                let bits = text.strip_prefix("width").and_then(|bits| bits.parse().ok());
                Self::Width(
                    bits.ok_or("changes are compat2, compat3, width64, lazy0, lazy1, notraw")?,
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_has_one_width_and_no_lazy_refcounts() {
        let lazy = Shape { lazy: true, ..Shape::of(Config::SMALL) };
        let old = lazy.after(Amend::Compat(Version::V2)).expect("it can be amended");
        assert_eq!(old, Shape { version: Version::V2, lazy: false, ..lazy });
        for amend in [Amend::Width(8), Amend::Lazy(true), Amend::Lazy(false)] {
            assert_eq!(old.after(amend), None, "{amend}");
        }
        let wide = lazy.after(Amend::Width(64)).expect("it can be amended");
        assert_eq!(wide.after(Amend::Compat(Version::V2)), None);
        assert_eq!(lazy.after(Amend::Lazy(true)), None);
    }
}
