//! Records of the feature name table.

use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// On disk: 48 bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawFeatureName {
    kind: u8,
    bit: u8,
    name: [u8; 46],
}

/// Which mask a feature bit is in; other numbers may appear and mean nothing.
pub mod feature_kind {
    /// The incompatible features.
    pub const INCOMPATIBLE: u8 = 0;
    /// The compatible features.
    pub const COMPATIBLE: u8 = 1;
    /// The autoclear features.
    pub const AUTOCLEAR: u8 = 2;
}

/// What an image calls a feature bit; only good for messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeatureName {
    /// One of [`feature_kind`]; anything in a hostile image.
    pub kind: u8,
    /// The bit, 0..=63; anything in a hostile image.
    pub bit: u8,
    /// At most 46 bytes without a zero byte, of unknown encoding.
    pub name: Vec<u8>,
}

impl FeatureName {
    /// Bytes of a record.
    pub const BYTES: usize = 48;

    /// Reads a table; a piece of a record at its end is dropped.
    #[must_use]
    pub fn decode_table(data: &[u8]) -> Vec<Self> {
        let (records, _) = data.as_chunks::<{ Self::BYTES }>();
        records
            .iter()
            .map(|record| {
                let raw: RawFeatureName = zerocopy::transmute!(*record);
                let name = raw.name.split(|byte| *byte == 0).next().unwrap_or_default();
                Self { kind: raw.kind, bit: raw.bit, name: name.to_vec() }
            })
            .collect()
    }

    /// The bytes of a table; names are cut at 46 bytes.
    #[must_use]
    pub fn encode_table(names: &[Self]) -> Vec<u8> {
        let mut data = Vec::with_capacity(names.len() * Self::BYTES);
        for feature in names {
            let mut raw = RawFeatureName { kind: feature.kind, bit: feature.bit, name: [0; 46] };
            for (to, from) in raw.name.iter_mut().zip(&feature.name) {
                *to = *from;
            }
            data.extend_from_slice(raw.as_bytes());
        }
        data
    }

    /// The table that is written into version 3 images with clusters above 4096 bytes.
    #[must_use]
    pub fn standard_table() -> Vec<Self> {
        use feature_kind::{AUTOCLEAR, COMPATIBLE, INCOMPATIBLE};
        [
            (INCOMPATIBLE, 0, "dirty bit"),
            (INCOMPATIBLE, 1, "corrupt bit"),
            (INCOMPATIBLE, 2, "external data file"),
            (INCOMPATIBLE, 3, "compression type"),
            (INCOMPATIBLE, 4, "extended L2 entries"),
            (COMPATIBLE, 0, "lazy refcounts"),
            (AUTOCLEAR, 0, "bitmaps"),
            (AUTOCLEAR, 1, "raw external data"),
        ]
        .into_iter()
        .map(|(kind, bit, name)| Self { kind, bit, name: name.into() })
        .collect()
    }
}
