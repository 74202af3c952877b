//! Tables come back as they were stored, and broken ones are refused.

use holstein_format::{Header, SnapshotRecord, Version};
use holstein_snapshot::{SnapshotError, SnapshotSelector, SnapshotTable};
use holstein_storage::{MemStorage, Storage};
use holstein_units::{ClusterBits, Geometry, HostOffset};
use proptest::prelude::*;

const AT: u64 = 0x2_0000;

fn header(count: u32) -> Header {
    let bits = ClusterBits::new(16).expect("a cluster size");
    let mut header = Header::new(Version::V3, Geometry::new(bits, false), 1 << 30);
    header.nb_snapshots = count;
    header.snapshots_offset = HostOffset::new(AT);
    header
}

fn record(id: &str, name: &str, extra: usize) -> SnapshotRecord {
    SnapshotRecord {
        l1_table_offset: HostOffset::new(0x5_0000),
        l1_size: 2,
        id: id.into(),
        name: name.into(),
        date_sec: 1,
        date_nsec: 2,
        vm_clock_nsec: 3,
        vm_state_size_32: 0,
        extra: vec![7; extra],
    }
}

fn store(records: &[SnapshotRecord]) -> (MemStorage, u64) {
    let mut bytes = Vec::new();
    let mut end = 0;
    for record in records {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(record.encode().expect("short parts"));
        end = bytes.len() as u64;
    }
    let storage = MemStorage::new();
    storage.write_at(HostOffset::new(AT), &bytes).expect("memory takes it");
    (storage, end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tables_come_back(
        parts in prop::collection::vec((0_usize..40_000, 0_usize..40, 0_usize..=1024), 0..12),
    ) {
        let records: Vec<_> = parts
            .iter()
            .map(|(id, name, extra)| record(&"i".repeat(*id), &"n".repeat(*name), *extra))
            .collect();
        let (storage, end) = store(&records);
        let count = u32::try_from(records.len()).expect("few");
        let table = SnapshotTable::read(&storage, &header(count)).expect("an honest table");
        prop_assert_eq!(table.records(), &records[..]);
        prop_assert_eq!(table.bytes(), end);
        // One record more is past the end of the file.
        let more = SnapshotTable::read(&storage, &header(count + 1));
        let named = matches!(more, Err(SnapshotError::Truncated { index, .. }) if index == count);
        prop_assert!(named, "{:?}", more);
    }

    #[test]
    fn any_bytes_are_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), count: u32) {
        let storage = MemStorage::new();
        storage.write_at(HostOffset::new(AT), &bytes).expect("memory takes it");
        if let Ok(table) = SnapshotTable::read(&storage, &header(count % 50)) {
            prop_assert!(table.bytes() <= bytes.len() as u64);
        }
    }
}

#[test]
fn a_word_is_an_id_first_and_a_name_second() {
    let records = [record("1", "2", 16), record("2", "x", 16), record("3", "x", 16)];
    let (storage, _) = store(&records);
    let table = SnapshotTable::read(&storage, &header(3)).expect("an honest table");
    assert_eq!(table.find("2".into()), Some(&records[1]));
    assert_eq!(table.find(SnapshotSelector::Name(b"2")), Some(&records[0]));
    assert_eq!(table.find("x".into()), Some(&records[1]));
    assert_eq!(table.find("4".into()), None);
}

#[test]
fn a_count_past_the_limit_reads_nothing() {
    let storage = MemStorage::new();
    let answer = SnapshotTable::read(&storage, &header(65_537));
    assert!(matches!(answer, Err(SnapshotError::TooMany { count: 65_537 })));
    let answer = SnapshotTable::read(&storage, &header(65_536));
    assert!(matches!(answer, Err(SnapshotError::Truncated { index: 0, .. })));
}

#[test]
fn large_extra_data_is_named() {
    let mut bytes = record("1", "a", 1024).encode().expect("short parts");
    bytes[36..40].copy_from_slice(&u32::MAX.to_be_bytes());
    let storage = MemStorage::new();
    storage.write_at(HostOffset::new(AT), &bytes).expect("memory takes it");
    let answer = SnapshotTable::read(&storage, &header(1));
    assert!(matches!(answer, Err(SnapshotError::Record { index: 0, .. })));
}

/// 65,536 records whose names fill more than 64 MiB.
#[test]
fn a_table_past_64_mib_is_refused() {
    let one = record("1", &"n".repeat(60_000), 16);
    let bytes = one.encode().expect("short parts");
    let count = (64 << 20) / bytes.len() + 1;
    let records = vec![one; count];
    let (storage, _) = store(&records);
    let answer = SnapshotTable::read(&storage, &header(u32::try_from(count).expect("few")));
    assert!(matches!(answer, Err(SnapshotError::TableTooLarge { .. })));
}

/// H19: a table that starts in itself, or far away, only ends.
#[test]
fn a_table_past_the_end_of_the_file_is_truncated() {
    let (storage, _) = store(&[record("1", "a", 16)]);
    let mut header = header(1);
    header.snapshots_offset = HostOffset::new(1 << 62);
    assert!(matches!(
        SnapshotTable::read(&storage, &header),
        Err(SnapshotError::Truncated { index: 0, .. })
    ));
}
