//! Snapshot records and bitmap directory entries come back, and no bytes make decoding panic.

use holstein_format::{
    BitmapDirectoryEntry, BitmapFlags, FeatureName, RecordError, SnapshotRecord,
};
use holstein_units::{ClusterBits, Geometry, HostOffset};
use proptest::prelude::*;

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

fn snapshot() -> impl Strategy<Value = SnapshotRecord> {
    (
        (any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u32>()),
        bytes(40),
        bytes(40),
        bytes(64),
    )
        .prop_map(|(n, id, name, extra)| SnapshotRecord {
            l1_table_offset: HostOffset::new(n.0),
            l1_size: n.1,
            id,
            name,
            date_sec: n.2,
            date_nsec: n.3,
            vm_clock_nsec: n.4,
            vm_state_size_32: n.5,
            extra,
        })
}

fn bitmap() -> impl Strategy<Value = BitmapDirectoryEntry> {
    ((any::<u64>(), any::<u32>(), any::<u32>(), any::<u8>(), any::<u8>()), bytes(40), bytes(40))
        .prop_map(|(n, extra, name)| BitmapDirectoryEntry {
            table_offset: HostOffset::new(n.0),
            table_size: n.1,
            flags: BitmapFlags(n.2),
            kind: n.3,
            granularity_bits: n.4,
            extra,
            name,
        })
}

proptest! {
    #[test]
    fn snapshot_records_come_back(record in snapshot(), tail in bytes(16)) {
        let mut bytes = record.encode().expect("short parts");
        let length = bytes.len();
        for cut in 0..length {
            let short = SnapshotRecord::decode(&bytes[..cut]);
            let named = matches!(
                short,
                Err(RecordError::Truncated { needed, available })
                    if needed > cut && needed <= length && available == cut
            );
            prop_assert!(named, "cut at {}: {:?}", cut, short);
        }
        bytes.extend(tail);
        prop_assert_eq!(SnapshotRecord::decode(&bytes), Ok((record, length)));
    }

    #[test]
    fn bitmap_entries_come_back(entry in bitmap(), tail in bytes(16)) {
        let mut bytes = entry.encode().expect("short parts");
        let length = bytes.len();
        prop_assert_eq!(length % 8, 0);
        for cut in 0..length {
            prop_assert!(BitmapDirectoryEntry::decode(&bytes[..cut]).is_err());
        }
        bytes.extend(tail);
        prop_assert_eq!(BitmapDirectoryEntry::decode(&bytes), Ok((entry, length)));
    }

    #[test]
    fn any_bytes_are_not_a_panic(bytes in bytes(300), bits in 9_u32..=21, size in any::<u64>()) {
        let geometry = Geometry::new(ClusterBits::new(bits).expect("a cluster size"), false);
        if let Ok((record, length)) = SnapshotRecord::decode_any(&bytes) {
            prop_assert!(length <= bytes.len());
            let _ = (record.vm_state_size(), record.disk_size(), record.icount());
            let _ = record.validate_l1(geometry);
        }
        if let Ok((entry, length)) = BitmapDirectoryEntry::decode(&bytes) {
            prop_assert!(length <= bytes.len() && length >= 24);
            let _ = entry.validate(geometry, size);
        }
        prop_assert_eq!(FeatureName::decode_table(&bytes).len(), bytes.len() / 48);
    }

    /// Entries next to the limits are judged without overflow.
    #[test]
    fn limits_of_bitmaps(entry in bitmap(), bits in 9_u32..=21, size in any::<u64>()) {
        let geometry = Geometry::new(ClusterBits::new(bits).expect("a cluster size"), false);
        let honest = BitmapDirectoryEntry {
            table_offset: HostOffset::new(geometry.cluster_size()),
            table_size: entry.table_size % 4096 + 1,
            flags: BitmapFlags(entry.flags.0 & 3),
            kind: 1,
            granularity_bits: entry.granularity_bits % 23 + 9,
            extra: Vec::new(),
            name: b"b0".to_vec(),
        };
        let data = u64::from(honest.table_size) * geometry.cluster_size();
        let bits_there = u128::from(data) * 8;
        let enough = u128::from(size) <= bits_there << honest.granularity_bits;
        let fits = data <= 512 << 20;
        let ok = fits && (enough || honest.flags.contains(BitmapFlags::IN_USE));
        prop_assert_eq!(honest.validate(geometry, size).is_ok(), ok);
    }
}

#[test]
fn huge_extra_data_is_refused_before_it_is_asked_for() {
    let mut bytes = [0; 40];
    bytes[36..].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(SnapshotRecord::decode(&bytes), Err(RecordError::ExtraTooLarge { size: u32::MAX }));
    assert!(matches!(
        SnapshotRecord::decode_any(&bytes),
        Err(RecordError::Truncated { available: 40, .. })
    ));
}

#[test]
fn fields_of_extra_data_exist_only_when_whole() {
    let mut record = SnapshotRecord {
        l1_table_offset: HostOffset::new(0),
        l1_size: 0,
        id: b"1".to_vec(),
        name: Vec::new(),
        date_sec: 0,
        date_nsec: 0,
        vm_clock_nsec: 0,
        vm_state_size_32: 7,
        extra: SnapshotRecord::extra_data(1 << 40, 64 << 20, u64::MAX),
    };
    let fields = |r: &SnapshotRecord| (r.vm_state_size(), r.disk_size(), r.icount());
    assert_eq!(fields(&record), (1 << 40, Some(64 << 20), None));
    record.extra[23] = 0xfe;
    assert_eq!(record.icount(), Some(u64::MAX - 1));
    record.extra.truncate(23);
    assert_eq!(fields(&record), (1 << 40, Some(64 << 20), None));
    record.extra.truncate(15);
    assert_eq!(fields(&record), (1 << 40, None, None));
    record.extra.truncate(7);
    assert_eq!(fields(&record), (7, None, None));
}
