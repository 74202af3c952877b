//! The header as a value.

use alloc::vec::Vec;

use crate::bitmaps_extension::BitmapsExtension;
use crate::cluster_state::EntryRules;
use crate::error::FormatError;
use crate::feature_name::FeatureName;
use crate::features::{AutoclearFeatures, CompatibleFeatures, IncompatibleFeatures};
use crate::header_extension::HeaderExtension;
use crate::limits::{HEADER_V2_BYTES, HEADER_V3_BYTES, MAX_BACKING_NAME_BYTES};
use crate::refcount_order::RefcountOrder;
use crate::version::Version;
use holstein_units::{Geometry, HostOffset};

/// How guest data is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CryptMethod {
    /// Not at all.
    None,
    /// AES-128-CBC without a header, the legacy method.
    Aes,
    /// LUKS, with a header of its own.
    Luks,
}

impl CryptMethod {
    /// The number in the header.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Aes => 1,
            Self::Luks => 2,
        }
    }

    /// The method with this number, if it is one.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Aes),
            2 => Some(Self::Luks),
            _ => None,
        }
    }
}

/// How compressed clusters are compressed, all of an image alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompressionType {
    /// Raw deflate.
    Deflate,
    /// Zstandard frames; needs an incompatible feature bit.
    Zstd,
}

impl CompressionType {
    /// The number in the header.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Deflate => 0,
            Self::Zstd => 1,
        }
    }

    /// The type with this number, if it is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Deflate),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// What a header is decoded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodePurpose {
    /// Reading and writing guest data: every rule holds.
    Use,
    /// A check or repair: an image without a refcount table, or with a table at offset 0 or an
    /// invalid place of the snapshot table, is decoded.
    Check,
}

/// The header of an image: all that the first cluster says.
///
/// # Invariants
/// A decoded header holds cluster sizes, widths and table sizes within the limits of
/// [`crate::limits`], aligned table offsets, and an L1 table that maps the disk. For
/// [`DecodePurpose::Check`] see there.
///
/// # Spec
/// "Header", "Header extensions".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The version of the format.
    pub version: Version,
    /// Cluster size, and whether L2 entries are extended; the feature bit says the same.
    pub geometry: Geometry,
    /// The size of the disk in bytes, a multiple of 512.
    pub size: u64,
    /// How guest data is encrypted.
    pub crypt_method: CryptMethod,
    /// Entries of the active L1 table; may be more than the disk needs.
    pub l1_size: u32,
    /// Where the active L1 table is.
    pub l1_table_offset: HostOffset,
    /// Where the refcount table is.
    pub refcount_table_offset: HostOffset,
    /// Clusters of the refcount table.
    pub refcount_table_clusters: u32,
    /// Records of the snapshot table.
    pub nb_snapshots: u32,
    /// Where the snapshot table is; without meaning if there are no snapshots.
    pub snapshots_offset: HostOffset,
    /// Features without which the image must not be opened; 0 in version 2.
    pub incompatible: IncompatibleFeatures,
    /// Features that may be ignored; unknown ones are kept. 0 in version 2.
    pub compatible: CompatibleFeatures,
    /// Features that a writer clears if it does not keep them true; 0 in version 2.
    pub autoclear: AutoclearFeatures,
    /// The width of refcounts.
    pub refcount_order: RefcountOrder,
    /// Bytes of the header as it was found; encoding computes its own.
    pub header_length: u32,
    /// How compressed clusters are compressed.
    pub compression: CompressionType,
    /// Header bytes behind the fields known here, kept as they are.
    pub unknown_fields: Vec<u8>,
    /// Extensions in the order of the file.
    pub extensions: Vec<HeaderExtension>,
    /// The name of the backing file: 1..=1023 bytes without a zero byte.
    pub backing_file: Option<Vec<u8>>,
}

impl Header {
    /// A header with defaults: no tables yet, 16-bit refcounts, deflate, the standard feature names.
    ///
    /// `size` is in bytes; the caller has rounded it to sectors.
    #[must_use]
    pub fn new(version: Version, geometry: Geometry, size: u64) -> Self {
        let mut incompatible = IncompatibleFeatures::default();
        if geometry.extended_l2() {
            incompatible.insert(IncompatibleFeatures::EXTENDED_L2);
        }
        let mut header = Self {
            version,
            geometry,
            size,
            crypt_method: CryptMethod::None,
            l1_size: 0,
            l1_table_offset: HostOffset::new(0),
            refcount_table_offset: HostOffset::new(0),
            refcount_table_clusters: 0,
            nb_snapshots: 0,
            snapshots_offset: HostOffset::new(0),
            incompatible,
            compatible: CompatibleFeatures::default(),
            autoclear: AutoclearFeatures::default(),
            refcount_order: RefcountOrder::DEFAULT,
            header_length: match version {
                Version::V2 => HEADER_V2_BYTES,
                Version::V3 => HEADER_V3_BYTES,
            },
            compression: CompressionType::Deflate,
            unknown_fields: Vec::new(),
            extensions: Vec::new(),
            backing_file: None,
        };
        if header.has_feature_names() {
            let names = FeatureName::standard_table();
            header.extensions.push(HeaderExtension::FeatureNames(names));
        }
        header
    }

    /// Whether a feature name table is written: version 3 and clusters above 4096 bytes.
    #[must_use]
    pub fn has_feature_names(&self) -> bool {
        self.version == Version::V3 && self.geometry.cluster_size() > 4096
    }

    /// How L2 entries of this image are to be read.
    #[must_use]
    pub const fn entry_rules(&self) -> EntryRules {
        EntryRules {
            geometry: self.geometry,
            version: self.version,
            data_file: self.incompatible.contains(IncompatibleFeatures::DATA_FILE),
        }
    }

    /// Bytes of the active L1 table: at most 32 MiB.
    #[must_use]
    pub const fn l1_bytes(&self) -> u64 {
        self.l1_size as u64 * 8
    }

    /// Bytes of the refcount table: at most 8 MiB.
    #[must_use]
    pub const fn refcount_table_bytes(&self) -> u64 {
        self.refcount_table_clusters as u64 * self.geometry.cluster_size()
    }

    /// The name of the backing file's format, if the image has one.
    #[must_use]
    pub fn backing_format(&self) -> Option<&[u8]> {
        self.last(|extension| match extension {
            HeaderExtension::BackingFormat(name) => Some(name.as_slice()),
            _ => None,
        })
    }

    /// The name of the external data file, if the image has one. It means nothing without the
    /// feature bit.
    #[must_use]
    pub fn data_file(&self) -> Option<&[u8]> {
        self.last(|extension| match extension {
            HeaderExtension::DataFile(name) => Some(name.as_slice()),
            _ => None,
        })
    }

    /// Whether there is an external data file that always reads as the disk does.
    #[must_use]
    pub fn has_raw_data_file(&self) -> bool {
        self.incompatible.contains(IncompatibleFeatures::DATA_FILE)
            && self.autoclear.contains(AutoclearFeatures::RAW_DATA_FILE)
    }

    /// The bitmaps extension, if the autoclear bit says that it holds.
    #[must_use]
    pub fn bitmaps(&self) -> Option<&BitmapsExtension> {
        if !self.autoclear.contains(AutoclearFeatures::BITMAPS) {
            return None;
        }
        self.last(|extension| match extension {
            HeaderExtension::Bitmaps(bitmaps) => Some(bitmaps),
            _ => None,
        })
    }

    /// Offset and length of the LUKS header, if the image is encrypted with LUKS.
    #[must_use]
    pub fn encryption_header(&self) -> Option<(HostOffset, u64)> {
        self.last(|extension| match extension {
            HeaderExtension::EncryptionHeader { offset, length } => Some((*offset, *length)),
            _ => None,
        })
    }

    /// Whether the image may be opened for writing.
    ///
    /// # Errors
    /// [`FormatError::MarkedCorrupt`].
    pub const fn ensure_not_corrupt(&self) -> Result<(), FormatError> {
        if self.incompatible.contains(IncompatibleFeatures::CORRUPT) {
            return Err(FormatError::MarkedCorrupt);
        }
        Ok(())
    }

    /// Of several extensions of a kind the last one holds.
    fn last<'a, T>(&'a self, pick: impl Fn(&'a HeaderExtension) -> Option<T>) -> Option<T> {
        self.extensions.iter().rev().find_map(pick)
    }

    /// The longest backing name that fits at `offset`.
    pub(crate) fn backing_name_limit(cluster_size: u64, offset: u64) -> u64 {
        cluster_size.saturating_sub(offset).min(u64::from(MAX_BACKING_NAME_BYTES))
    }
}
