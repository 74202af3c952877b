//! A change of the header that is torn anywhere leaves the old header or the new one.

use holstein_format::{
    CompatibleFeatures, DecodePurpose, FormatError, Header, HeaderExtension, Version,
};
use holstein_units::{ClusterBits, Geometry, HostOffset};
use proptest::prelude::*;

/// What varies: version, names, unknown extensions and fields, a feature bit.
type Parts = (bool, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(u32, Vec<u8>)>, Vec<u8>, bool);

fn parts() -> impl Strategy<Value = Parts> {
    let bytes = |max| prop::collection::vec(1_u8..=255, 1..=max);
    (
        any::<bool>(),
        prop::option::of(prop_oneof![bytes(30), bytes(1023)]),
        prop::option::of(bytes(15)),
        prop::collection::vec(
            (0x1000_u32..0x2000, prop::collection::vec(any::<u8>(), 0..300)),
            0..4,
        ),
        prop::collection::vec(any::<u8>(), 0..4),
        any::<bool>(),
    )
}

fn header(bits: u32, parts: Parts) -> Header {
    let (v2, backing, format, unknown, fields, lazy) = parts;
    let geometry = Geometry::new(ClusterBits::new(bits).expect("within the format"), false);
    let mut header = Header::new(if v2 { Version::V2 } else { Version::V3 }, geometry, 512);
    header.refcount_table_offset = HostOffset::new(geometry.cluster_size());
    header.refcount_table_clusters = 1;
    header.l1_size = 1;
    header.l1_table_offset = HostOffset::new(3 * geometry.cluster_size());
    header.backing_file = backing;
    if let Some(format) = format {
        header.extensions.insert(0, HeaderExtension::BackingFormat(format));
    }
    header
        .extensions
        .extend(unknown.into_iter().map(|(kind, data)| HeaderExtension::Unknown { kind, data }));
    if !v2 {
        header.unknown_fields = fields.into_iter().flat_map(|byte| [byte; 8]).collect();
        header.header_length += u32::try_from(header.unknown_fields.len()).expect("small");
        if lazy {
            header.compatible.insert(CompatibleFeatures::LAZY_REFCOUNTS);
        }
    }
    header
}

fn decode(bytes: &[u8]) -> Header {
    Header::decode(bytes, bytes.len() as u64, DecodePurpose::Use).expect("a header at every point")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn torn_changes_leave_one_or_the_other(
        bits in 9_u32..=13,
        old in parts(),
        new in parts(),
        seed in any::<u64>(),
    ) {
        let (old, new) = (header(bits, old), header(bits, new));
        let Ok(mut file) = old.encode() else { return Ok(()) };
        let steps = match new.plan_change(&file) {
            Ok(steps) => steps,
            Err(FormatError::NoSpace { .. }) => {
                // Two lists and two names fit where a cluster has room for them.
                prop_assert!(bits <= 12, "no room in {} bytes", file.len());
                return Ok(());
            }
            Err(FormatError::BackingNameTooLong { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let same = |found: &Header, wanted: &Header| {
            let mut found = found.clone();
            found.header_length = wanted.header_length;
            found == *wanted
        };
        let mut switched = old.encode().ok() == new.encode().ok();
        for step in steps {
            let start = usize::try_from(step.at.get()).expect("small");
            prop_assert_eq!(&file[start..start + step.old.len()], &step.old[..]);
            prop_assert_eq!(step.new.len(), step.old.len());
            // Some of the sectors arrive, the rest do not.
            for mask in 0..8_u64 {
                let mask = (seed ^ mask.wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(7);
                let mut torn = file.clone();
                for (n, sector) in step.new.chunks(512).enumerate() {
                    if mask >> (n % 64) & 1 != 0 {
                        let at = start + n * 512;
                        torn[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
                let found = decode(&torn);
                if step.switches {
                    prop_assert!(same(&found, &old) || same(&found, &new));
                } else {
                    prop_assert!(same(&found, if switched { &new } else { &old }), "{:?}", found);
                }
            }
            switched |= step.switches;
            file[start..start + step.new.len()].copy_from_slice(&step.new);
            let wanted = if switched { &new } else { &old };
            prop_assert!(same(&decode(&file), wanted));
        }
        prop_assert!(switched);
        prop_assert_eq!(file, new.encode().expect("it was planned"));
    }
}
