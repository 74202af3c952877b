//! Hazards of tables that lie: a request that meets one fails, no write is issued, the image is
//! marked corrupt once, and what was there stays.

mod hazard;

use std::sync::Arc;

use hazard::{CLUSTER, COPIED, Crafted, SIZE, is_marked, report};
use holstein::format::Version;
use holstein::{ErrorKind, OpenOptions};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{Entry, RecordingStorage};
use holstein_units::HostOffset;

/// The first byte of the range of the second L2 table.
const SECOND: u64 = CLUSTER / 8 * CLUSTER;

type Recorded = Arc<RecordingStorage<MemStorage>>;

fn recorded(image: &Crafted) -> Recorded {
    Arc::new(RecordingStorage::new(MemStorage::from_bytes(&image.bytes)).expect("memory"))
}

/// Writes, holes and changes of length that were not the corrupt mark.
fn changes(storage: &Recorded) -> Vec<Entry> {
    let is_mark =
        |e: &Entry| matches!(e, Entry::Write { at, data } if at.get() == 72 && data.len() == 8);
    let log = storage.log();
    log.entries().iter().filter(|e| **e != Entry::Flush && !is_mark(e)).cloned().collect()
}

/// What a request is to the image that it meets.
#[derive(Clone, Copy, Debug)]
enum Request {
    Write(u64, usize),
    Zero(u64, u64),
    Discard(u64, u64),
}

/// The request fails as corruption before anything is written, the bit is set once, every later
/// change is refused, and all else reads as before.
fn refused(what: &str, image: &Crafted, request: Request) {
    let storage = recorded(image);
    let open =
        OpenOptions::new().open_storage(Arc::<RecordingStorage<MemStorage>>::clone(&storage));
    let open = open.unwrap_or_else(|e| panic!("{what}: {e}"));
    let result = match request {
        Request::Write(at, len) => open.write_at(at, &vec![0xdd; len]),
        Request::Zero(at, len) => open.write_zeroes(at, len, true),
        Request::Discard(at, len) => open.discard(at, len),
    };
    // What is in memory only reaches the file at a flush.
    let result = result.and_then(|()| open.flush());
    let error = result.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    assert_eq!(changes(&storage), [], "{what}: {error}");
    let marks = || storage.log().entries().iter().filter(|e| **e != Entry::Flush).count();
    let version2 = image.u32(4) == 2;
    assert_eq!(marks(), usize::from(!version2), "{what}: marked once");
    assert_eq!(is_marked(&*storage), !version2, "{what}");
    for at in [0, SECOND, SIZE - 512] {
        let error = open.write_at(at, &[1; 512]).expect_err("marked");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert!(open.discard(at / CLUSTER * CLUSTER, CLUSTER).is_err(), "{what}");
        assert!(open.write_zeroes(at, 512, false).is_err(), "{what}");
        assert!(open.resize(SIZE + CLUSTER, holstein::Preallocation::Off).is_err(), "{what}");
    }
    let _ = open.close();
    assert_eq!(changes(&storage), [], "{what}: after closing");
    assert_eq!(marks(), usize::from(!version2), "{what}: marked once");
    if !version2 {
        let again =
            OpenOptions::new().open_storage(Arc::<RecordingStorage<MemStorage>>::clone(&storage));
        assert_eq!(again.expect_err("marked").kind(), ErrorKind::ReadOnly, "{what}");
    }
    let mut before = vec![0; image.bytes.len()];
    let n = storage.read_at(HostOffset::new(0), &mut before).expect("memory");
    assert_eq!(n, image.bytes.len());
    before[72..80].copy_from_slice(&image.bytes[72..80]);
    assert!(before == image.bytes, "{what}: the file is as it was");
    let open = OpenOptions::new().open_storage_read_only(storage).expect("for reading");
    reads_as_before(what, image, &open);
}

/// Each cluster reads as it did, or fails as it did.
fn reads_as_before(what: &str, image: &Crafted, open: &holstein::ReadOnlyImage) {
    let before = image.open_read_only().expect("for reading");
    for cluster in 0..SIZE / CLUSTER {
        let (mut a, mut b) = (vec![1; CLUSTER as usize], vec![2; CLUSTER as usize]);
        let (x, y) =
            (before.read_at(cluster * CLUSTER, &mut a), open.read_at(cluster * CLUSTER, &mut b));
        assert_eq!(x.is_ok(), y.is_ok(), "{what}: cluster {cluster}");
        assert!(x.is_err() || a == b, "{what}: cluster {cluster}");
    }
}

#[test]
fn h14_l1_entries_that_name_no_table() {
    for (name, entry) in [
        ("unaligned", COPIED | (1 << 20) | 512),
        ("unaligned, shared", 1 << 20 | 1024),
        ("past the end", COPIED | 1 << 40),
        ("past the end, shared", 1 << 40),
        ("at the end of the format", COPIED | ((1 << 56) - CLUSTER)),
    ] {
        let image = Crafted::new();
        let at = image.l1_at(0);
        let image = image.put_u64(at, entry);
        let open = image.open_read_only().expect("the header is fine");
        let error = open.read_at(0, &mut [0; 512]).expect_err(name);
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::Corrupt, Some(5)), "{name}");
        // That request only.
        let mut bytes = [0; 4];
        open.read_at(SECOND, &mut bytes).expect("another table");
        assert_eq!(bytes, [9; 4]);
        refused(name, &image, Request::Write(0, 512));
        refused(name, &image, Request::Zero(0, CLUSTER));
        refused(name, &image, Request::Discard(0, 2 * CLUSTER));
    }
}

#[test]
fn h14_l2_entries_that_name_no_cluster() {
    for (name, entry) in [
        ("unaligned", COPIED | (1 << 14) | 512),
        ("unaligned, shared", 1 << 14 | 2048),
        ("unaligned zero", COPIED | (1 << 14) | 512 | 1),
    ] {
        let image = Crafted::new();
        let at = image.l2_at(1);
        let image = image.put_u64(at, entry);
        let open = image.open_read_only().expect("the header is fine");
        let error = open.read_at(CLUSTER, &mut [0; 512]).expect_err(name);
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::Corrupt, Some(5)), "{name}");
        let mut bytes = [0; 4];
        open.read_at(2 * CLUSTER, &mut bytes).expect("the next cluster");
        assert_eq!(bytes, [3; 4]);
        refused(name, &image, Request::Write(CLUSTER, 512));
        refused(name, &image, Request::Write(CLUSTER, CLUSTER as usize));
        refused(name, &image, Request::Zero(CLUSTER, CLUSTER));
        refused(name, &image, Request::Discard(CLUSTER, CLUSTER));
    }
    // Past the end of the file: reads as zeros (H13), and is counted as free when it is written.
    let image = Crafted::new();
    let at = image.l2_at(1);
    let image = image.put_u64(at, COPIED | 1 << 40);
    image.open_read_only().expect("fine").read_at(CLUSTER, &mut [0; 512]).expect("zeros");
    refused("past the end", &image, Request::Write(CLUSTER, 512));
}

#[test]
fn h14_refcount_entries_that_name_no_block() {
    for (name, entry) in [
        ("unaligned", (1_u64 << 14) | 512),
        ("reserved bits", 0x1ff),
        ("past the end", 1 << 40),
        ("past 2^63", 1 << 63),
    ] {
        let image = Crafted::new();
        let table = image.u64(48);
        let image = image.put_u64(table, entry);
        // Reads do not need it.
        let mut bytes = [0; 4];
        image.open_read_only().expect("fine").read_at(0, &mut bytes).expect("read");
        assert_eq!(bytes, [1; 4]);
        refused(name, &image, Request::Write(0, 512));
        refused(name, &image, Request::Write(8 * CLUSTER, 512));
    }
}

#[test]
fn h14_a_version_2_image_has_no_mark_and_refuses_all_the_same() {
    let image = Crafted::version(Version::V2);
    let at = image.l2_at(1);
    let image = image.put_u64(at, COPIED | (1 << 14) | 512);
    refused("version 2", &image, Request::Write(CLUSTER, 512));
}

#[test]
fn h15_offset_0_is_never_a_place() {
    let l1 = Crafted::new();
    let at = l1.l1_at(0);
    refused("l1", &l1.put_u64(at, COPIED), Request::Write(0, 512));
    let l2 = Crafted::new();
    let at = l2.l2_at(0);
    let l2 = l2.put_u64(at, COPIED);
    assert_eq!(
        l2.open_read_only().expect("fine").read_at(0, &mut [0]).expect_err("at 0").kind(),
        ErrorKind::Corrupt
    );
    refused("l2", &l2, Request::Write(0, 512));
    refused("l2", &l2, Request::Zero(0, CLUSTER));
    // A refcount table entry of 0 is no block. With its first block gone the counts are all 0, and
    // the first table that would be given out is found to be there.
    let table = Crafted::new();
    let at = table.u64(48);
    refused("refcount table", &table.put_u64(at, 0), Request::Write(8 * CLUSTER, 512));
}

#[test]
fn h16_data_over_metadata_is_not_written() {
    let good = Crafted::new();
    let places = [
        ("l1 table", good.u64(40)),
        ("its own l2 table", good.l2_at(0)),
        ("another l2 table", good.l2_at(CLUSTER / 8) / CLUSTER * CLUSTER),
        ("refcount table", good.u64(48)),
        ("refcount block", good.block()),
    ];
    for (name, host) in places {
        let at = good.l2_at(1);
        let image = good.clone().put_u64(at, COPIED | host);
        refused(name, &image, Request::Write(CLUSTER, 512));
        refused(name, &image, Request::Write(CLUSTER + 100, CLUSTER as usize - 100));
        // A zero cluster that keeps its place there.
        let image = good.clone().put_u64(at, COPIED | host | 1);
        refused(name, &image, Request::Write(CLUSTER, 512));
    }
}

#[test]
fn h16_an_l2_table_over_other_metadata_is_not_written() {
    let good = Crafted::new();
    for (name, host) in [
        ("l1 table", good.u64(40)),
        ("refcount table", good.u64(48)),
        ("refcount block", good.block()),
    ] {
        let at = good.l1_at(2);
        let image = good.clone().put_u64(at, COPIED | host);
        refused(name, &image, Request::Write(2 * SECOND + 2 * CLUSTER, 512));
    }
}

#[test]
fn h17_free_clusters_that_hold_metadata_are_not_given_out() {
    let good = Crafted::new();
    for (name, host) in [
        ("l2 table", good.l2_at(0)),
        ("second l2 table", good.l2_at(CLUSTER / 8)),
        ("l1 table", good.u64(40)),
        ("refcount table", good.u64(48)),
        ("refcount block", good.block()),
    ] {
        let image = good.clone().count(host, 0);
        refused(name, &image, Request::Write(8 * CLUSTER, 512));
    }
}

#[test]
fn h18_the_copied_flag_is_believed_only_where_the_count_is_1() {
    // Two guest clusters in one host cluster, both with the flag, counted twice.
    let good = Crafted::new();
    let (a, b) = (good.l2_at(0), good.l2_at(1));
    let (shared, left) = (good.data_at(0), good.data_at(1));
    let image = good.clone().put_u64(b, good.u64(a)).count(shared, 2).count(left, 0);
    let storage = image.storage();
    let open = OpenOptions::new()
        .open_storage(Arc::<MemStorage>::clone(&storage))
        .expect("the header is fine");
    open.write_at(100, &[0xdd; 100]).expect("copied");
    let mut bytes = [0; 512];
    open.read_at(CLUSTER, &mut bytes).expect("read");
    assert_eq!(bytes, [1; 512], "the other cluster is as it was");
    open.read_at(0, &mut bytes).expect("read");
    assert!(bytes[..100] == [1; 100] && bytes[100..200] == [0xdd; 100]);
    open.close().expect("closed");
    assert!(report(&*storage).is_clean(), "{:?}", report(&*storage).findings);

    // Two L1 entries with one L2 table, both with the flag, counted twice; its clusters too.
    let l1 = good.l1_at(2);
    let mut image = good.clone().put_u64(l1, good.u64(good.l1_at(0)));
    image = image.count(good.l2_at(0), 2);
    for cluster in 0..4 {
        image = image.count(good.data_at(cluster), 2);
    }
    let storage = image.storage();
    let open = OpenOptions::new()
        .open_storage(Arc::<MemStorage>::clone(&storage))
        .expect("the header is fine");
    // The third table maps three clusters of the disk.
    open.write_at(2 * SECOND + 512, &[0xee; 512]).expect("copied");
    open.read_at(512, &mut bytes).expect("read");
    assert_eq!(bytes, [1; 512], "the other range is as it was");
    open.write_at(CLUSTER, &[0xdd; 512]).expect("written");
    open.read_at(2 * SECOND + CLUSTER, &mut bytes).expect("read");
    assert_eq!(bytes, [2; 512]);
    open.close().expect("closed");
    let report = report(&*storage);
    assert_eq!(report.leaks, 0, "{:?}", report.findings);
    // What is left are the flags that lied from the start; every reference is counted.
    let miscounted = |f: &holstein::check::Finding| f.to_string().contains("refcount=");
    let counts: Vec<String> =
        report.findings.iter().filter(|f| miscounted(f)).map(ToString::to_string).collect();
    assert!(counts.iter().all(|f| f.starts_with("ERROR OFLAG_COPIED")), "{counts:?}");
}

#[test]
fn h19_walks_of_cycles_end() {
    let good = Crafted::new();
    let (l1, table) = (good.u64(40), good.u64(48));
    let l2 = good.l2_at(0);
    for (name, image) in [
        ("l1 entry to the l1 table", good.clone().put_u64(l1, COPIED | l1)),
        ("l1 entry to its l2 table's data", good.clone().put_u64(l2, COPIED | l2)),
        ("refcount table to itself", good.clone().put_u64(table, table)),
        ("refcount table to the l1 table", good.clone().put_u64(table, l1)),
        ("refcount table to an l2 table", good.clone().put_u64(table, l2)),
    ] {
        let found = report(&*image.storage());
        assert!(found.corruptions + found.check_errors > 0, "{name}");
        let open = image.open_read_only().expect("the header is fine");
        for cluster in 0..SIZE / CLUSTER {
            let _ = open.read_at(cluster * CLUSTER, &mut [0; 512]);
            let _ = open.extent_at(cluster * CLUSTER, CLUSTER);
        }
        let storage = image.storage();
        let open = OpenOptions::new()
            .open_storage(Arc::<MemStorage>::clone(&storage))
            .expect("the header is fine");
        for at in [0, 8 * CLUSTER, SECOND] {
            let _ = open.write_at(at, &[1; 512]).and_then(|()| open.flush());
        }
        let _ = open.close();
        // The tables that were named twice are whole.
        for at in [0, l1, table] {
            let mut now = vec![0; 64];
            storage.read_at(HostOffset::new(at), &mut now).expect("memory");
            if at == 0 {
                now[..].copy_from_slice(&image.bytes[..64]);
            }
            assert!(now == image.bytes[at as usize..at as usize + 64], "{name}: table at {at:#x}");
        }
    }
}

#[test]
fn h20_compressed_descriptors_that_lie() {
    let good = Crafted::new();
    let (len, l1) = (good.bytes.len() as u64, good.u64(40));
    // Clusters of 2^12: the number of further sectors is above bit 58.
    let descriptor = |at: u64, sectors: u64| 1 << 62 | sectors << 58 | at;
    for (name, entry) in [
        ("past the end", descriptor(1 << 40, 1)),
        ("ends past the end", descriptor(len - 10, 15)),
        ("in the l1 table", descriptor(l1 + 3, 2)),
        ("in the header", descriptor(0, 0)),
        ("with the copied flag", COPIED | descriptor(len - 512, 0)),
        ("with the zero flag", descriptor(len - 512, 0) | 1),
        ("over data", descriptor(good.data_at(2), 7)),
    ] {
        let at = good.l2_at(1);
        let image = good.clone().put_u64(at, entry);
        let open = image.open_read_only().expect("the header is fine");
        let error = open.read_at(CLUSTER, &mut [0; 512]).expect_err(name);
        assert_eq!(error.raw_os_error(), Some(5), "{name}: {error}");
        let mut bytes = [0; 4];
        open.read_at(2 * CLUSTER, &mut bytes).expect("the next cluster");
        assert_eq!(bytes, [3; 4]);
        // A part of it cannot be kept: the write fails, and nothing has changed.
        let storage = image.storage();
        let open = OpenOptions::new()
            .open_storage(Arc::<MemStorage>::clone(&storage))
            .expect("the header is fine");
        open.write_at(CLUSTER, &[1; 512]).expect_err(name);
        let _ = open.close();
        let mut now = [0; 8];
        storage.read_at(HostOffset::new(at), &mut now).expect("memory");
        assert_eq!(u64::from_be_bytes(now), entry, "{name}");
        assert!(report(&*image.storage()).corruptions > 0, "{name}");
    }
}
