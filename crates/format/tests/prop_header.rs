//! Headers come back as they were stored, and hostile ones are refused without a panic.

use holstein_format::{
    AutoclearFeatures, BitmapsExtension, CompatibleFeatures, CompressionType, CryptMethod,
    DecodePurpose, FeatureName, FormatError, Header, HeaderExtension, IncompatibleFeatures,
    RefcountOrder, Version,
};
use holstein_units::{ClusterBits, Geometry, HostOffset};
use proptest::prelude::*;

fn name(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1_u8..=255, 1..=max)
}

fn unknown() -> impl Strategy<Value = HeaderExtension> {
    (0x1000_u32..0x2000, prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(kind, data)| HeaderExtension::Unknown { kind, data })
}

fn header() -> impl Strategy<Value = Header> {
    let shape = (9_u32..=21, any::<bool>(), any::<bool>(), any::<u64>(), 0_u32..=6);
    let tables = (1_u64..1 << 20, 1_u64..1 << 20, 0_u64..1 << 20, 0_u32..=65_536);
    let features = (any::<u64>(), any::<u64>(), any::<u8>(), any::<bool>());
    let names = (
        prop::option::of(name(15)),
        prop::option::of(name(60)),
        prop::option::of(name(100)),
        prop::collection::vec(unknown(), 0..4),
        prop::collection::vec(any::<u8>(), 0..4),
    );
    (shape, tables, features, names).prop_map(|(shape, tables, features, names)| {
        let (bits, old, extended, size, order) = shape;
        let extended = extended && bits >= 14 && !old;
        let bits = ClusterBits::new(bits).expect("within the format");
        let geometry = Geometry::new(bits, extended);
        let version = if old { Version::V2 } else { Version::V3 };
        let most = (geometry.bytes_per_l2() << 22).saturating_sub(512);
        let size = size % most / 512 * 512;
        let mut header = Header::new(version, geometry, size);
        let at = |n: u64| HostOffset::new(n * bits.size());
        header.l1_size = u32::try_from(geometry.l1_entries_for(size)).expect("within 32 MiB");
        header.l1_table_offset = at(tables.0);
        header.refcount_table_offset = at(tables.1);
        header.refcount_table_clusters = 1;
        header.snapshots_offset = at(tables.2 + 1);
        header.nb_snapshots = tables.3;
        header.extensions.clear();
        let (format, data_file, backing, unknown, fields) = names;
        header.backing_file = backing;
        header.extensions.extend(format.map(HeaderExtension::BackingFormat));
        if !old {
            header.refcount_order = RefcountOrder::new(order).expect("an order of the format");
            header.compatible = CompatibleFeatures::new(features.0);
            header.autoclear = AutoclearFeatures::new(features.1);
            header.autoclear.remove(AutoclearFeatures::RAW_DATA_FILE);
            if features.2 & 1 != 0 {
                header.incompatible.insert(IncompatibleFeatures::DIRTY);
            }
            if features.2 & 2 != 0 {
                header.incompatible.insert(IncompatibleFeatures::CORRUPT);
            }
            if let Some(name) = data_file {
                header.incompatible.insert(IncompatibleFeatures::DATA_FILE);
                header.extensions.push(HeaderExtension::DataFile(name));
            }
            if features.3 {
                header.compression = CompressionType::Zstd;
                header.incompatible.insert(IncompatibleFeatures::COMPRESSION);
            }
            header.unknown_fields = fields.into_iter().flat_map(|byte| [byte; 8]).collect();
            header.header_length += u32::try_from(header.unknown_fields.len()).expect("small");
        }
        if features.2 & 4 != 0 {
            header.crypt_method = CryptMethod::Luks;
            header.extensions.push(HeaderExtension::EncryptionHeader {
                offset: at(tables.2 + 1),
                length: features.0 >> 2,
            });
        }
        if header.has_feature_names() {
            header.extensions.push(HeaderExtension::FeatureNames(FeatureName::standard_table()));
        }
        if features.2 & 8 != 0 {
            header.extensions.push(HeaderExtension::Bitmaps(BitmapsExtension {
                nb_bitmaps: 1 + u32::from(features.2),
                reserved: 0,
                directory_size: 32,
                directory_offset: at(tables.2 + 1),
            }));
        }
        header.extensions.extend(unknown);
        header
    })
}

/// Reads as callers do: a sector, and more if asked.
fn decode(bytes: &[u8], purpose: DecodePurpose) -> Result<Header, FormatError> {
    let len = bytes.len() as u64;
    let mut have = 512.min(bytes.len());
    loop {
        match Header::decode(&bytes[..have], len, purpose) {
            Err(FormatError::NeedsMore { bytes: needed }) => {
                let needed = usize::try_from(needed).expect("within the file");
                assert!(needed > have && needed <= bytes.len(), "asks for {needed} after {have}");
                have = needed;
            }
            answer => return answer,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn headers_come_back(header in header()) {
        match header.encode() {
            Ok(cluster) => {
                prop_assert_eq!(cluster.len() as u64, header.geometry.cluster_size());
                prop_assert_eq!(Header::cluster_size_hint(&cluster), Ok(cluster.len() as u64));
                prop_assert_eq!(decode(&cluster, DecodePurpose::Use), Ok(header.clone()));
                prop_assert_eq!(decode(&cluster, DecodePurpose::Check), Ok(header.clone()));
                // Fields written alone change nothing that a full rewrite would not write.
                let mut patched = cluster.clone();
                let mut patch = |at: HostOffset, bytes: &[u8]| {
                    let at = usize::try_from(at.get()).expect("within the header");
                    patched[at..at + bytes.len()].copy_from_slice(bytes);
                };
                let (at, bytes) = header.encode_size();
                patch(at, &bytes);
                for (at, bytes) in [
                    header.encode_l1_fields(),
                    header.encode_refcount_table_fields(),
                    header.encode_snapshot_fields(),
                ] {
                    patch(at, &bytes);
                }
                if header.version == Version::V3 {
                    for field in [header.encode_incompatible(), header.encode_autoclear()] {
                        let (at, bytes) = field.expect("version 3 has features");
                        patch(at, &bytes);
                    }
                }
                prop_assert_eq!(patched, cluster);
            }
            Err(error) => {
                prop_assert!(
                    matches!(error, FormatError::NoSpace { .. })
                        && header.geometry.cluster_size() <= 1024,
                    "{}", error
                );
            }
        }
    }

    #[test]
    fn mutated_headers_do_not_panic(
        header in header(),
        edits in prop::collection::vec((0_usize..700, any::<u8>()), 1..8),
        cut in prop::option::of(0_usize..700),
    ) {
        let Ok(mut bytes) = header.encode() else { return Ok(()) };
        for (at, byte) in edits {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(cut.unwrap_or(bytes.len()));
        for purpose in [DecodePurpose::Use, DecodePurpose::Check] {
            match decode(&bytes, purpose) {
                Ok(header) => {
                    prop_assert!(header.l1_bytes() <= 32 << 20);
                    prop_assert!(header.refcount_table_bytes() <= 8 << 20);
                    prop_assert!(
                        header.geometry.l1_entries_for(header.size) <= header.l1_size.into()
                    );
                    if let Ok(again) = header.encode() {
                        prop_assert!(decode(&again, purpose).is_ok());
                    }
                }
                Err(error) => prop_assert!(!error.to_string().is_empty() && !error.qemu_message().is_empty()),
            }
        }
    }

    #[test]
    fn any_bytes_are_not_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let answer = decode(&bytes, DecodePurpose::Use);
        prop_assert!(answer.is_err());
        // With magic, version and cluster size right the rest is reached.
        for (to, from) in bytes.iter_mut().zip([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 2]) {
            *to = from;
        }
        for (to, from) in bytes.iter_mut().skip(20).zip([0, 0, 0, 9]) {
            *to = from;
        }
        let _ = decode(&bytes, DecodePurpose::Use);
        let _ = decode(&bytes, DecodePurpose::Check);
    }
}
