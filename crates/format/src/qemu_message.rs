//! The words in which QEMU refuses the same headers, for programs that must sound like it.

use alloc::format;
use alloc::string::{String, ToString as _};

use crate::error::{BitmapsField, FormatError, Table, unknown_features};
use crate::limits::MAX_BITMAP_DIRECTORY_BYTES;

impl FormatError {
    /// What QEMU 10 says, without the file's name; our own words where QEMU does not refuse.
    #[must_use]
    pub fn qemu_message(&self) -> String {
        match self {
            Self::BadMagic { .. } => "Image is not in qcow2 format".to_string(),
            Self::UnsupportedVersion { version } => {
                format!("Unsupported qcow2 version {version}")
            }
            Self::ClusterBits { bits } => format!("Unsupported cluster size: 2^{bits}"),
            Self::HeaderTooShort { .. } => "qcow2 header too short".to_string(),
            Self::HeaderTooLong { .. } => "qcow2 header exceeds cluster size".to_string(),
            Self::BackingOffset { .. } => "Invalid backing file offset".to_string(),
            Self::UnknownCompression { kind } => {
                format!("qcow2: unknown compression type: {kind}")
            }
            Self::CompressionBit { bit, .. } => format!(
                "qcow2: Compression type incompatible feature bit must {}be set",
                if *bit { "not " } else { "" }
            ),
            Self::UnknownFeatures { bits, names } => {
                format!("Unsupported qcow2 feature(s): {}", unknown_features(*bits, names))
            }
            Self::MarkedCorrupt => {
                "qcow2: Image is corrupt; cannot be opened read/write".to_string()
            }
            Self::SubclusterSize { cluster_size } => {
                format!("Unsupported subcluster size: {}", cluster_size / 32)
            }
            Self::RefcountOrder { .. } => {
                "Reference count entry width too large; may not exceed 64 bits".to_string()
            }
            Self::NoRefcountTable => "Image does not contain a reference count table".to_string(),
            Self::TableTooLarge { table, .. } => format!("{} too large", table_name(*table)),
            Self::TableOffset { table, .. } => format!("{} offset invalid", table_name(*table)),
            Self::DiskTooLarge { .. } => "Image is too big".to_string(),
            Self::L1TooSmall { .. } => "L1 table is too small".to_string(),
            Self::UnknownEncryption { method } => {
                format!("Unsupported encryption method {method}")
            }
            Self::ExtensionTooLarge { .. } => "Header extension too large".to_string(),
            Self::ExtensionLength { kind, length, expected } => {
                if *kind == crate::header_extension::BITMAPS {
                    "bitmaps_ext: Invalid extension length".to_string()
                } else {
                    format!("CRYPTO header extension size {length}, but expected size {expected}")
                }
            }
            Self::BackingFormatTooLong { length } => {
                format!("ERROR: ext_backing_format: len={length} too large (>=16)")
            }
            Self::BitmapsField { field, value } => match field {
                BitmapsField::Count if *value == 0 => {
                    "found bitmaps extension with zero bitmaps".to_string()
                }
                BitmapsField::Count => format!(
                    "bitmaps_ext: image has {value} bitmaps, exceeding the QEMU supported maximum \
                     of 65535"
                ),
                BitmapsField::Reserved => "bitmaps_ext: Reserved field is not zero".to_string(),
                BitmapsField::DirectorySize => format!(
                    "bitmaps_ext: bitmap directory size ({value}) exceeds the maximum supported \
                     size ({MAX_BITMAP_DIRECTORY_BYTES})"
                ),
                BitmapsField::DirectoryOffset => {
                    "bitmaps_ext: invalid bitmap directory offset".to_string()
                }
            },
            Self::UnexpectedEncryptionHeader { .. } => {
                "CRYPTO header extension only expected with LUKS encryption method".to_string()
            }
            Self::MissingEncryptionHeader => "Missing CRYPTO header for crypt method 2".to_string(),
            Self::EncryptionHeaderOffset { offset, cluster_size, .. } => format!(
                "Encryption header offset '{}' is not a multiple of cluster size '{cluster_size}'",
                offset.get()
            ),
            Self::RawWithoutDataFile => "data-file-raw requires a data file".to_string(),
            Self::BackingNameTooLong { .. } => "Backing file name too long".to_string(),
            Self::NeedsMore { .. }
            | Self::ZeroByteInName { .. }
            | Self::NoSpace { .. }
            | Self::NotInVersion2 { .. } => self.to_string(),
        }
    }
}

fn table_name(table: Table) -> &'static str {
    match table {
        Table::L1 => "Active L1 table",
        Table::Refcount => "Reference count table",
        Table::Snapshot => "Snapshot table",
    }
}
