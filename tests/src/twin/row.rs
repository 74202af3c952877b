//! The kinds of images that twins are.

use holstein::Preallocation;
use holstein::format::Version;
use holstein::luks::CipherSpec;
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
    /// Where its payload is, if it is in a file of its own.
    pub data: Option<DataRow>,
    /// How its payload is encrypted.
    pub encryption: Option<Encryption>,
    /// What is done for its space when it is made.
    pub preallocation: Preallocation,
    /// Discarded clusters keep their place.
    pub no_unref: bool,
    /// Sequences have requests about dirty bitmaps.
    pub bitmaps: bool,
    /// Holstein has room for two slices of tables only.
    pub small_cache: bool,
}

/// How payload is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With the cipher of the first days of the format.
    Aes,
    /// Under LUKS.
    Luks(CipherSpec),
}

/// What a file with the payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataRow {
    /// Its bytes are where the tables say.
    Mapped,
    /// Its bytes are those of the disk.
    Raw,
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
