//! The kinds of images that twins are.

use std::fmt::Write as _;

use holstein::chain::BackingPolicy;
use holstein::format::{CompressionType, Version};
use holstein::{CreateOptions, OpenOptions, Preallocation};
use holstein_testkit::{DiskModel, Pattern};
use holstein_units::SECTOR;

use super::Lower;

/// A kind of image, with how it is opened. A new kind is one more line in [`Row::all`]; changes of an
/// image make it another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// The version of the format.
    pub version: Version,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Bits of a refcount.
    pub refcount_bits: u32,
    /// Refcounts may be late.
    pub lazy: bool,
    /// Entries say of each of 32 subclusters what it is.
    pub extended: bool,
    /// Clusters are compressed with zstd.
    pub zstd: bool,
    /// What lies below it.
    pub backing: Option<BackingRow>,
    /// What is done for its space when it is made.
    pub preallocation: Preallocation,
    /// Discarded clusters keep their place.
    pub no_unref: bool,
    /// Holstein has room for two slices of tables only.
    pub small_cache: bool,
}

/// What lies below an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackingRow {
    /// Its format.
    pub format: BackingFormat,
    /// Its size at first.
    pub size: BackingSize,
    /// Which file it is.
    pub file: Lower,
}

/// The format of a backing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackingFormat {
    /// Bytes.
    Raw,
    /// Another image, with other clusters.
    Qcow2,
}

/// The size of a backing disk beside the image's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackingSize {
    /// It ends in the middle.
    Shorter,
    /// As long.
    Equal,
    /// It goes on behind.
    Longer,
}

/// The number of the pattern in backing files.
const BELOW: u64 = 900_000;

impl Row {
    const fn new(name: &'static str, version: Version, cluster: u64, refcount_bits: u32) -> Self {
        Self {
            name,
            version,
            cluster,
            refcount_bits,
            lazy: false,
            extended: false,
            zstd: false,
            backing: None,
            preallocation: Preallocation::Off,
            no_unref: false,
            small_cache: false,
        }
    }

    const fn v2(name: &'static str, cluster: u64) -> Self {
        Self::new(name, Version::V2, cluster, 16)
    }

    const fn v3(name: &'static str, cluster: u64, refcount_bits: u32) -> Self {
        Self::new(name, Version::V3, cluster, refcount_bits)
    }

    const fn lazy(self) -> Self {
        Self { lazy: true, ..self }
    }

    const fn extended(self) -> Self {
        Self { extended: true, ..self }
    }

    const fn zstd(self) -> Self {
        Self { zstd: true, ..self }
    }

    const fn over(self, format: BackingFormat, size: BackingSize) -> Self {
        Self { backing: Some(BackingRow { format, size, file: Lower::First }), ..self }
    }

    const fn preallocated(self, preallocation: Preallocation) -> Self {
        Self { preallocation, ..self }
    }

    const fn no_unref(self) -> Self {
        Self { no_unref: true, ..self }
    }

    const fn small_cache(self) -> Self {
        Self { small_cache: true, ..self }
    }

    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        use BackingFormat::{Qcow2, Raw};
        use BackingSize::{Equal, Longer, Shorter};
        const K: u64 = 1 << 10;
        vec![
            Self::v2("v2-512", 512),
            Self::v2("v2-64k", 64 * K),
            Self::v2("v2-4k-qcow2", 4 * K).over(Qcow2, Equal),
            Self::v2("v2-64k-raw-shorter", 64 * K).over(Raw, Shorter),
            Self::v2("v2-1k-metadata", K).preallocated(Preallocation::Metadata),
            Self::v3("v3-512-1", 512, 1),
            Self::v3("v3-1k-2", K, 2),
            Self::v3("v3-2k-4", 2 * K, 4),
            Self::v3("v3-4k-8", 4 * K, 8),
            Self::v3("v3-512-16", 512, 16),
            Self::v3("v3-8k-32", 8 * K, 32),
            Self::v3("v3-512-64", 512, 64),
            Self::v3("v3-64k-16", 64 * K, 16),
            Self::v3("v3-2m-16", 2048 * K, 16),
            Self::v3("v3-2m-1", 2048 * K, 1),
            Self::v3("v3-512-lazy", 512, 16).lazy(),
            Self::v3("v3-64k-lazy", 64 * K, 16).lazy(),
            Self::v3("v3-4k-qcow2", 4 * K, 16).over(Qcow2, Equal),
            Self::v3("v3-512-qcow2-longer", 512, 16).over(Qcow2, Longer),
            Self::v3("v3-64k-raw", 64 * K, 16).over(Raw, Equal),
            Self::v3("v3-64k-qcow2-shorter", 64 * K, 8).over(Qcow2, Shorter),
            Self::v3("v3-1k-lazy-raw-longer", K, 4).lazy().over(Raw, Longer),
            Self::v3("v3-4k-metadata", 4 * K, 16).preallocated(Preallocation::Metadata),
            Self::v3("v3-64k-falloc", 64 * K, 16).preallocated(Preallocation::Falloc),
            Self::v3("v3-512-full", 512, 16).preallocated(Preallocation::Full),
            Self::v3("v3-16k-no-unref", 16 * K, 16).no_unref(),
            Self::v3("v3-512-no-unref-qcow2", 512, 16).no_unref().over(Qcow2, Equal),
            Self::v3("v3-16k-extended", 16 * K, 16).extended(),
            Self::v3("v3-64k-extended", 64 * K, 16).extended(),
            Self::v3("v3-2m-extended", 2048 * K, 16).extended(),
            Self::v3("v3-16k-extended-qcow2", 16 * K, 1).extended().over(Qcow2, Equal),
            Self::v3("v3-32k-extended-raw-shorter", 32 * K, 16).extended().over(Raw, Shorter),
            Self::v3("v3-16k-extended-lazy-zstd", 16 * K, 8).extended().lazy().zstd(),
            Self::v3("v3-16k-extended-no-unref", 16 * K, 16).extended().no_unref(),
            Self::v3("v3-64k-extended-metadata", 64 * K, 16)
                .extended()
                .preallocated(Preallocation::Metadata),
            Self::v3("v3-512-zstd", 512, 16).zstd(),
            Self::v3("v3-64k-zstd-qcow2", 64 * K, 16).zstd().over(Qcow2, Longer),
            Self::v3("v3-1k-small-cache", K, 16).small_cache(),
            Self::v3("v3-64k-small-cache-raw", 64 * K, 16).small_cache().over(Raw, Shorter),
        ]
    }

    /// The one with this name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn by_name(name: &str) -> Result<Self, String> {
        let all = Self::all();
        all.iter().find(|row| row.name == name).copied().ok_or_else(|| {
            let names = all.iter().map(|row| row.name).collect::<Vec<_>>();
            format!("{name:?} is no configuration: {}", names.join(", "))
        })
    }

    /// Bytes of the disk at first: past the end of one table where that is not far.
    #[must_use]
    pub fn size(self) -> u64 {
        let part = if self.cluster > 512 { 3 * SECTOR } else { 0 };
        let clusters = match self.cluster {
            0..4097 => self.cluster / 8 + 6,
            4097..0x10_0000 => 12,
            _ => 4,
        };
        clusters * self.cluster + part
    }

    /// Bytes of the backing disk.
    #[must_use]
    pub fn below_size(self) -> Option<u64> {
        Some(match self.backing?.size {
            BackingSize::Shorter => self.size() / SECTOR * 2 / 3 * SECTOR,
            BackingSize::Equal => self.size(),
            BackingSize::Longer => self.size() + 9 * self.cluster,
        })
    }

    /// What the backing disk holds: data, some zeros, data again.
    #[must_use]
    pub fn below(self) -> Option<DiskModel> {
        let size = self.below_size()?;
        let mut disk = DiskModel::new(size);
        let step = self.cluster * 5 / 2;
        for (n, at) in (0..).zip((0..size).step_by(usize::try_from(step).expect("small"))) {
            if n % 4 != 3 {
                let len = usize::try_from(step.min(size - at)).expect("small");
                disk.write(at, &Pattern::new(BELOW).bytes(at, len));
            }
        }
        disk.flush();
        Some(disk)
    }

    /// Bytes of a cluster in a backing image.
    #[must_use]
    pub fn cluster_below(self) -> u64 {
        if self.cluster == 4096 { 64 << 10 } else { 4096 }
    }

    /// The options of `create -o`.
    #[must_use]
    pub fn create_words(self) -> String {
        let mut words = format!("cluster_size={}", self.cluster);
        let mut add = |word: std::fmt::Arguments<'_>| {
            write!(words, ",{word}").expect("a string takes all");
        };
        match self.version {
            Version::V2 => add(format_args!("compat=0.10")),
            Version::V3 => add(format_args!("compat=1.1,refcount_bits={}", self.refcount_bits)),
        }
        if self.lazy {
            add(format_args!("lazy_refcounts=on"));
        }
        if self.extended {
            add(format_args!("extended_l2=on"));
        }
        if self.zstd {
            add(format_args!("compression_type=zstd"));
        }
        let mode = match self.preallocation {
            Preallocation::Off => return words,
            Preallocation::Metadata => "metadata",
            Preallocation::Falloc => "falloc",
            Preallocation::Full => "full",
        };
        add(format_args!("preallocation={mode}"));
        words
    }

    /// The same for the library.
    pub fn create(self) -> CreateOptions {
        CreateOptions::new(self.size())
            .version(self.version)
            .cluster_size(self.cluster)
            .refcount_bits(self.refcount_bits)
            .lazy_refcounts(self.lazy)
            .extended_l2(self.extended)
            .compression(match self.zstd {
                false => CompressionType::Deflate,
                true => CompressionType::Zstd,
            })
            .preallocation(self.preallocation)
    }

    /// How the library opens it.
    pub fn open(self) -> OpenOptions {
        let options = OpenOptions::new()
            .backing_policy(BackingPolicy::same_directory())
            .pass_discard_request(true)
            .pass_discard_other(true)
            .discard_no_unref(self.no_unref);
        if !self.small_cache {
            return options;
        }
        let slice = self.cluster.min(4096);
        options.l2_cache_entry_size(slice).l2_cache_size(2 * slice)
    }
}

impl BackingFormat {
    /// Its name on command lines.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own() {
        let all = Row::all();
        assert!(all.len() >= 20);
        for row in &all {
            assert_eq!(Row::by_name(row.name), Ok(*row));
        }
        assert!(Row::by_name("v4").is_err());
    }
}
