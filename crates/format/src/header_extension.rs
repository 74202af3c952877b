//! Header extensions.

use alloc::vec::Vec;

use crate::bitmaps_extension::BitmapsExtension;
use crate::error::FormatError;
use crate::feature_name::FeatureName;
use crate::limits::MAX_BACKING_FORMAT_BYTES;
use holstein_units::HostOffset;
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Type of the end marker.
pub(crate) const END: u32 = 0;
/// Type of the backing format name.
pub(crate) const BACKING_FORMAT: u32 = 0xe279_2aca;
/// Type of the feature name table.
pub(crate) const FEATURE_NAMES: u32 = 0x6803_f857;
/// Type of the bitmaps extension.
pub(crate) const BITMAPS: u32 = 0x2385_2875;
/// Type of the encryption header pointer.
pub(crate) const ENCRYPTION_HEADER: u32 = 0x0537_be77;
/// Type of the data file name: `DATA`.
pub(crate) const DATA_FILE: u32 = 0x4441_5441;

/// Type of bytes to be passed over while a header is changed: `SKIP`. Never kept.
pub(crate) const PADDING: u32 = 0x534b_4950;

/// On disk: what precedes the data of an extension.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct ExtensionFrame {
    pub(crate) kind: U32,
    pub(crate) length: U32,
}

/// On disk: the encryption header pointer.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawEncryptionHeader {
    offset: U64,
    length: U64,
}

/// One header extension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderExtension {
    /// The name of the backing file's format, at most 15 bytes, without a zero byte.
    BackingFormat(Vec<u8>),
    /// Names of feature bits.
    FeatureNames(Vec<FeatureName>),
    /// Where the bitmap directory is.
    Bitmaps(BitmapsExtension),
    /// Where the LUKS header is.
    EncryptionHeader {
        /// Cluster aligned.
        offset: HostOffset,
        /// Bytes used.
        length: u64,
    },
    /// The name of the external data file, without a zero byte.
    DataFile(Vec<u8>),
    /// Anything else, kept as it is.
    Unknown {
        /// Its type, not 0.
        kind: u32,
        /// Its bytes, without padding.
        data: Vec<u8>,
    },
}

impl HeaderExtension {
    /// The number of its type on disk.
    #[must_use]
    pub const fn kind(&self) -> u32 {
        match self {
            Self::BackingFormat(_) => BACKING_FORMAT,
            Self::FeatureNames(_) => FEATURE_NAMES,
            Self::Bitmaps(_) => BITMAPS,
            Self::EncryptionHeader { .. } => ENCRYPTION_HEADER,
            Self::DataFile(_) => DATA_FILE,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Reads the data of an extension; what depends on other parts of the header is not judged.
    pub(crate) fn decode(kind: u32, data: &[u8]) -> Result<Self, FormatError> {
        let length = data.len();
        Ok(match kind {
            BACKING_FORMAT => {
                if length > MAX_BACKING_FORMAT_BYTES as usize {
                    return Err(FormatError::BackingFormatTooLong { length });
                }
                Self::BackingFormat(name(data, "backing format name")?)
            }
            FEATURE_NAMES => Self::FeatureNames(FeatureName::decode_table(data)),
            BITMAPS => Self::Bitmaps(BitmapsExtension::decode(data)?),
            ENCRYPTION_HEADER => {
                let expected = size_of::<RawEncryptionHeader>();
                let raw = RawEncryptionHeader::read_from_bytes(data)
                    .map_err(|_| FormatError::ExtensionLength { kind, length, expected })?;
                Self::EncryptionHeader {
                    offset: HostOffset::new(raw.offset.get()),
                    length: raw.length.get(),
                }
            }
            DATA_FILE => Self::DataFile(name(data, "data file name")?),
            _ => Self::Unknown { kind, data: data.to_vec() },
        })
    }

    /// The data without frame and padding.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::BackingFormat(name) | Self::DataFile(name) => name.clone(),
            Self::FeatureNames(names) => FeatureName::encode_table(names),
            Self::Bitmaps(bitmaps) => bitmaps.encode(),
            Self::EncryptionHeader { offset, length } => {
                RawEncryptionHeader { offset: offset.get().into(), length: (*length).into() }
                    .as_bytes()
                    .to_vec()
            }
            Self::Unknown { data, .. } => data.clone(),
        }
    }
}

fn name(data: &[u8], name: &'static str) -> Result<Vec<u8>, FormatError> {
    if data.contains(&0) {
        return Err(FormatError::ZeroByteInName { name });
    }
    Ok(data.to_vec())
}
