//! Why a header is refused.

use alloc::vec::Vec;
use core::fmt::Write as _;

use crate::escaped::Escaped;
use crate::feature_name::FeatureName;
use holstein_units::HostOffset;

/// The error numbers that other programs answer with, reduced to what callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrnoClass {
    /// EINVAL: not a valid image.
    Invalid,
    /// ENOTSUP: perhaps valid, but not known here.
    NotSupported,
    /// EFBIG: a size past a limit.
    TooBig,
    /// EACCES: valid, but not to be opened in this way.
    Access,
}

/// A table that the header points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// The active L1 table.
    L1,
    /// The refcount table.
    Refcount,
    /// The snapshot table.
    Snapshot,
}

impl core::fmt::Display for Table {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::L1 => "l1 table",
            Self::Refcount => "refcount table",
            Self::Snapshot => "snapshot table",
        })
    }
}

/// Why bytes are not a header, or a header cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Not an error of the image: the slice ends before the part of the first cluster that is
    /// needed. Call again with this many bytes from the start of the file.
    #[error("header needs the first {bytes} bytes of the file")]
    NeedsMore {
        /// Bytes from the start of the file, at most one cluster.
        bytes: u64,
    },
    /// The first four bytes are something else.
    #[error("magic at offset 0 is {found:#010x}, not {:#010x}", crate::MAGIC)]
    BadMagic {
        /// What they are.
        found: u32,
    },
    /// Neither version 2 nor 3.
    #[error("version at offset 4 is {version}, neither 2 nor 3")]
    UnsupportedVersion {
        /// The version.
        version: u32,
    },
    /// Outside 9..=21.
    #[error("cluster bits at offset 20 are {bits}, not within 9..=21")]
    ClusterBits {
        /// The value.
        bits: u32,
    },
    /// A version 3 header is at least 104 bytes.
    #[error("header length at offset 100 is {length}, less than 104")]
    HeaderTooShort {
        /// The value.
        length: u32,
    },
    /// The header does not fit in the first cluster.
    #[error("header length at offset 100 is {length}, more than a cluster of {cluster_size}")]
    HeaderTooLong {
        /// The value.
        length: u32,
        /// The size of a cluster.
        cluster_size: u64,
    },
    /// The backing name starts past the first cluster.
    #[error("backing file offset at offset 8 is {offset:#x}, past the first cluster")]
    BackingOffset {
        /// The value.
        offset: u64,
    },
    /// Neither deflate nor zstd.
    #[error("compression type at offset 104 is {kind}, neither 0 nor 1")]
    UnknownCompression {
        /// The value.
        kind: u8,
    },
    /// The compression type and its feature bit contradict each other.
    #[error("compression type at offset 104 is {kind} while its feature bit is {bit}")]
    CompressionBit {
        /// The type.
        kind: u8,
        /// Whether the bit is set.
        bit: bool,
    },
    /// Incompatible feature bits without a known meaning.
    #[error("incompatible features at offset 72 are unknown: {}", unknown_features(*bits, names))]
    UnknownFeatures {
        /// The unknown bits, at least one.
        bits: u64,
        /// What the image's own table calls them, as far as it does.
        names: Vec<FeatureName>,
    },
    /// The image is marked corrupt and must not be written.
    #[error("incompatible feature at offset 72 marks the image as corrupt")]
    MarkedCorrupt,
    /// Extended L2 entries need subclusters of at least a sector.
    #[error("extended l2 entries divide clusters of {cluster_size} into less than 512 bytes")]
    SubclusterSize {
        /// The size of a cluster.
        cluster_size: u64,
    },
    /// More than 6.
    #[error("refcount order at offset 96 is {order}, more than 6")]
    RefcountOrder {
        /// The value.
        order: u32,
    },
    /// The image has no refcount table; only a check may open it.
    #[error("refcount table length at offset 56 is 0")]
    NoRefcountTable,
    /// A table is larger than its limit.
    #[error("{table} has a size of {size}, more than {limit}")]
    TableTooLarge {
        /// Which one.
        table: Table,
        /// Its size: bytes, or records of the snapshot table.
        size: u64,
        /// The limit in the same unit.
        limit: u64,
    },
    /// A table is not cluster aligned, at the header's place, or ends past 2^63 - 1.
    #[error("{table} has the invalid offset {offset}")]
    TableOffset {
        /// Which one.
        table: Table,
        /// Where it claims to be.
        offset: HostOffset,
    },
    /// No L1 table could map the disk.
    #[error("disk size at offset 24 is {size}, more than an l1 table can map")]
    DiskTooLarge {
        /// The size in bytes.
        size: u64,
    },
    /// The L1 table does not map the whole disk.
    #[error("l1 size at offset 36 is {entries}, while the disk needs {needed}")]
    L1TooSmall {
        /// The entries there are.
        entries: u32,
        /// The entries there should be.
        needed: u64,
    },
    /// Not 0, 1 or 2.
    #[error("encryption method at offset 32 is {method}, not within 0..=2")]
    UnknownEncryption {
        /// The value.
        method: u32,
    },
    /// An extension, or its frame, passes the end of the extension area.
    #[error("header extension {kind:#010x} at offset {at} has {length} bytes, past {end}")]
    ExtensionTooLarge {
        /// Its type.
        kind: u32,
        /// Where its frame starts in the file.
        at: u64,
        /// The length it announces.
        length: u32,
        /// Where the area ends in the file.
        end: u64,
    },
    /// An extension of a fixed length has another one.
    #[error("header extension {kind:#010x} has {length} bytes, not {expected}")]
    ExtensionLength {
        /// Its type.
        kind: u32,
        /// The length it has.
        length: usize,
        /// The length it should have.
        expected: usize,
    },
    /// The name of the backing format is longer than 15 bytes.
    #[error("backing format name has {length} bytes, more than 15")]
    BackingFormatTooLong {
        /// Its length.
        length: usize,
    },
    /// The bitmaps extension of consistent bitmaps breaks a rule.
    #[error("bitmaps extension has {field} {value:#x}")]
    BitmapsField {
        /// Which field.
        field: BitmapsField,
        /// Its value.
        value: u64,
    },
    /// An encryption header pointer in an image that is not LUKS.
    #[error("encryption header extension in an image with encryption method {method}")]
    UnexpectedEncryptionHeader {
        /// The method.
        method: u32,
    },
    /// A LUKS image without a pointer to its encryption header.
    #[error("encryption header extension is missing")]
    MissingEncryptionHeader,
    /// The encryption header is unaligned, at offset 0 or ends past 2^63 - 1.
    #[error("encryption header has the invalid offset {offset} with length {length}")]
    EncryptionHeaderOffset {
        /// Where it claims to be.
        offset: HostOffset,
        /// How long it claims to be.
        length: u64,
        /// The size of a cluster.
        cluster_size: u64,
    },
    /// The raw data file bit without a data file.
    #[error("autoclear feature at offset 88 claims a raw data file, yet there is no data file")]
    RawWithoutDataFile,
    /// The backing name is longer than 1023 bytes or leaves the first cluster.
    #[error("backing file name at {offset:#x} has {length} bytes, more than {limit}")]
    BackingNameTooLong {
        /// Where it starts.
        offset: u64,
        /// Its length.
        length: u64,
        /// The most it could have there.
        limit: u64,
    },
    /// A file or format name with a zero byte in it.
    #[error("{name} has a zero byte")]
    ZeroByteInName {
        /// Which name.
        name: &'static str,
    },
    /// The header with all its extensions and names is larger than a cluster.
    #[error("header needs {needed} bytes, more than a cluster of {cluster_size}")]
    NoSpace {
        /// The bytes it needs.
        needed: u64,
        /// The bytes there are.
        cluster_size: u64,
    },
    /// A version 2 header cannot say this.
    #[error("{field} cannot be stored in a version 2 header")]
    NotInVersion2 {
        /// What.
        field: &'static str,
    },
}

/// A field of the bitmaps extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BitmapsField {
    /// The number of bitmaps: 1..=65535.
    Count,
    /// Four bytes of zeros.
    Reserved,
    /// The bytes of the directory.
    DirectorySize,
    /// Where the directory is.
    DirectoryOffset,
}

impl core::fmt::Display for BitmapsField {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Count => "an invalid number of bitmaps",
            Self::Reserved => "a reserved field that is not zero:",
            Self::DirectorySize => "an invalid directory size",
            Self::DirectoryOffset => "an invalid directory offset",
        })
    }
}

/// The names of unknown features, and the bits for which there is none.
pub(crate) fn unknown_features(bits: u64, names: &[FeatureName]) -> alloc::string::String {
    let mut text = alloc::string::String::new();
    let mut rest = bits;
    for name in names {
        let bit = 1_u64.checked_shl(u32::from(name.bit)).unwrap_or(0);
        if rest & bit != 0 {
            rest &= !bit;
            let comma = if text.is_empty() { "" } else { ", " };
            write!(text, "{comma}{}", Escaped(&name.name)).expect("a string takes all text");
        }
    }
    if rest != 0 {
        let comma = if text.is_empty() { "" } else { ", " };
        write!(text, "{comma}Unknown incompatible feature: {rest:x}")
            .expect("a string takes all text");
    }
    text
}

impl FormatError {
    /// The class of error number that other programs answer with.
    #[must_use]
    pub const fn errno_class(&self) -> ErrnoClass {
        match self {
            Self::UnsupportedVersion { .. }
            | Self::UnknownCompression { .. }
            | Self::UnknownFeatures { .. } => ErrnoClass::NotSupported,
            Self::TableTooLarge { .. } | Self::DiskTooLarge { .. } => ErrnoClass::TooBig,
            Self::MarkedCorrupt => ErrnoClass::Access,
            _ => ErrnoClass::Invalid,
        }
    }
}
