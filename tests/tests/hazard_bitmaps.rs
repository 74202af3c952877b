//! Hazards of bitmaps: structures that lie, and marks that say what must not be used (H26, H27, H16, H19).

mod hazard;

use std::sync::Arc;

use hazard::{CLUSTER, Crafted, SIZE, report};
use holstein::format::{BitmapDirectoryEntry, BitmapFlags, DecodePurpose, Header};
use holstein::{CreateOptions, ErrorKind, Granularity, OpenOptions};
use holstein_storage::MemStorage;
use holstein_testkit::{Entry, RecordingStorage};

/// Where the structures of an image with the bitmaps `a` and `b` are.
struct Places {
    directory: u64,
    table: u64,
}

/// Both bitmaps have bits, in one cluster each.
fn crafted() -> (Crafted, Places) {
    let storage = Arc::new(MemStorage::new());
    let image = CreateOptions::new(SIZE).cluster_size(CLUSTER).create_on(Arc::clone(&storage) as _);
    let image = image.expect("a new image");
    image.write_at(0, &[1; CLUSTER as usize]).expect("written");
    for name in ["a", "b"] {
        image.add_bitmap(name, Granularity::new(512).expect("one"), true).expect("added");
    }
    image.write_at(SIZE - 512, &[2; 512]).expect("written");
    image.close().expect("closed");
    let image = Crafted { bytes: storage.to_bytes().expect("small") };
    let directory = header(&image).bitmaps().expect("there").directory_offset.get();
    let table = image.u64(directory);
    (image, Places { directory, table })
}

fn header(image: &Crafted) -> Header {
    Header::decode(&image.bytes, image.bytes.len() as u64, DecodePurpose::Use).expect("whole")
}

fn entries(storage: &MemStorage) -> Vec<BitmapDirectoryEntry> {
    let image = Crafted { bytes: storage.to_bytes().expect("small") };
    let Some(extension) = header(&image).bitmaps().copied() else { return Vec::new() };
    let mut at = extension.directory_offset.get() as usize;
    let mut found = Vec::new();
    for _ in 0..extension.nb_bitmaps {
        let (entry, len) = BitmapDirectoryEntry::decode(&image.bytes[at..]).expect("an entry");
        found.push(entry);
        at += len;
    }
    found
}

#[test]
fn h26_bitmaps_that_cannot_be_trusted_are_kept_and_never_used() {
    let (image, places) = crafted();
    let Places { directory, table } = places;
    let l1 = image.u64(40);
    let l2 = image.u64(l1) & hazard::OFFSET;
    let block = image.block();
    let put_u64 = |at: u64, value: u64| image.clone().put_u64(at, value);
    let put_u32 = |at: u64, value: u32| image.clone().put_u32(at, value);
    let put = |at: u64, byte: u8| image.clone().put(at, &[byte]);
    for (what, image) in [
        ("in use", put_u32(directory + 12, 1)),
        ("an unknown flag", put_u32(directory + 12, 2 | 8)),
        ("another type", put(directory + 16, 2)),
        ("granularity 0", put(directory + 17, 0)),
        ("granularity 63", put(directory + 17, 63)),
        ("a huge table", put_u32(directory + 8, 0x800_0000)),
        ("a table of 512 MiB", put_u32(directory + 8, (512 << 20) / CLUSTER as u32)),
        ("no table", put_u32(directory + 8, 0)),
        ("a table off its cluster", put_u64(directory, table + 8)),
        ("a table at 0", put_u64(directory, 0)),
        ("a table past the end", put_u64(directory, 1 << 40)),
        ("a table that is the L1 table", put_u64(directory, l1)),
        ("a table that is an L2 table", put_u64(directory, l2)),
        ("a table that is a refcount block", put_u64(directory, block)),
        ("a table that is the directory", put_u64(directory, directory)),
        ("bits that are the table", put_u64(table, table)),
        ("bits that are an L2 table", put_u64(table, l2)),
        ("bits past the end", put_u64(table, 1 << 40)),
        ("a reserved bit", put_u64(table, image.u64(table) | 1 << 57)),
        ("a flag beside an offset", put_u64(table, image.u64(table) | 1)),
    ] {
        let storage = image.storage();
        let all = |storage: &MemStorage| Crafted { bytes: storage.to_bytes().expect("small") };
        let open = OpenOptions::new().open_storage(Arc::clone(&storage) as _);
        let open = open.unwrap_or_else(|e| panic!("{what}: {e}"));
        let list = open.bitmaps().expect("listed");
        let states: Vec<_> = list.iter().map(|b| (&b.name[..], b.inconsistent)).collect();
        assert_eq!(states, [(&b"a"[..], true), (b"b", false)], "{what}");
        let error = open.bitmap("a").expect_err("never used");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        let marked = entries(&storage);
        assert!(marked.iter().all(|e| e.flags.contains(BitmapFlags::IN_USE)), "{what}");
        open.write_at(CLUSTER, &[3; 512]).unwrap_or_else(|e| panic!("{what}: {e}"));
        open.close().unwrap_or_else(|e| panic!("{what}: {e}"));
        let [a, b] = &entries(&storage)[..] else { panic!("{what}: two bitmaps") };
        assert_eq!(a, &marked[0], "{what}: kept as it is");
        assert!(!b.flags.contains(BitmapFlags::IN_USE), "{what}");

        let open = all(&storage).open().expect("opened");
        let bits = open.bitmap("b").expect("used");
        assert!(bits.is_dirty(CLUSTER) && bits.is_dirty(SIZE - 1) && !bits.is_dirty(0), "{what}");
        drop(open);
        let open = OpenOptions::new().open_storage(Arc::clone(&storage) as _).expect("opened");
        open.remove_bitmap("a").unwrap_or_else(|e| panic!("{what}: {e}"));
        open.write_at(8 * CLUSTER, &vec![4; 40 * CLUSTER as usize]).expect("written");
        open.close().unwrap_or_else(|e| panic!("{what}: {e}"));
        let report = report(&*storage);
        assert_eq!(report.corruptions, 0, "{what}: {:?}", report.findings);
        let open = all(&storage).open_read_only().expect("opened");
        let mut found = [0; 512];
        for (at, byte) in [(0, 1), (CLUSTER, 3), (20 * CLUSTER, 4), (SIZE - 512, 2)] {
            open.read_at(at, &mut found).expect("read");
            assert_eq!(found, [byte; 512], "{what} at {at:#x}");
        }
    }
}

#[test]
fn h26_a_broken_directory_refuses_writers_and_no_readers() {
    let (image, Places { directory, .. }) = crafted();
    let header = header(&image);
    let with = |change: &dyn Fn(&mut holstein::format::BitmapsExtension)| {
        let mut header = header.clone();
        for extension in &mut header.extensions {
            if let holstein::format::HeaderExtension::Bitmaps(bitmaps) = extension {
                change(bitmaps);
            }
        }
        image.clone().put(0, &header.encode().expect("encoded"))
    };
    let at = holstein_units::HostOffset::new;
    for (what, image) in [
        ("more bitmaps than announced", with(&|e| e.nb_bitmaps = 1)),
        ("fewer", with(&|e| e.nb_bitmaps = 3)),
        ("cut off", with(&|e| e.directory_size -= 8)),
        ("longer than its entries", with(&|e| e.directory_size += 8)),
        ("past the end", with(&|e| e.directory_offset = at(1 << 40))),
        ("64 MiB that are not there", with(&|e| e.directory_size = 65_535 * 1024)),
        ("at the L1 table", with(&|e| e.directory_offset = at(image.u64(40)))),
        ("a name twice", image.clone().put(directory + 32 + 24, b"a")),
        ("a name that passes the end", image.clone().put(directory + 32 + 18, &[3, 255])),
        ("extra data that passes the end", image.clone().put_u32(directory + 20, u32::MAX)),
    ] {
        let memory = MemStorage::from_bytes(&image.bytes);
        let storage = Arc::new(RecordingStorage::new(memory).expect("memory"));
        let error = OpenOptions::new().open_storage(Arc::clone(&storage) as _).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        let log = storage.log();
        assert!(log.entries().iter().all(|e| *e == Entry::Flush), "{what}: {log}");
        let open = image.open_read_only().unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(open.bitmaps().expect_err(what).kind(), ErrorKind::Corrupt);
        let mut found = [0; 512];
        open.read_at(0, &mut found).expect("read");
        assert_eq!(found, [1; 512], "{what}");
    }
}

#[test]
fn h27_without_the_autoclear_bit_bitmaps_are_ignored_and_their_clusters_leaks() {
    let (image, _) = crafted();
    let mut void = header(&image);
    void.autoclear = Default::default();
    let image = image.put(0, &void.encode().expect("encoded"));
    assert_eq!(image.open_read_only().expect("opened").bitmaps().expect("listed"), []);
    let storage = image.storage();
    let open = OpenOptions::new().open_storage(Arc::clone(&storage) as _).expect("opened");
    assert_eq!(open.bitmaps().expect("listed"), []);
    open.write_at(0, &[5; 512]).expect("written");
    open.close().expect("closed");
    let now = Crafted { bytes: storage.to_bytes().expect("small") };
    assert!(header(&now).extensions.is_empty(), "nobody can take them for true again");
    let report = report(&*storage);
    assert_eq!((report.corruptions, report.leaks > 0), (0, true));
}

#[test]
fn h49_bitmaps_follow_the_size_of_the_disk() {
    let (image, _) = crafted();
    let storage = image.storage();
    let open = OpenOptions::new().open_storage(Arc::clone(&storage) as _).expect("opened");
    open.shrink(SIZE / 2 / 512 * 512).expect("cut");
    open.resize(2 * SIZE, holstein::Preallocation::Off).expect("grown");
    open.close().expect("closed");
    let now = Crafted { bytes: storage.to_bytes().expect("small") };
    let bits = now.open_read_only().expect("opened").bitmap("b").expect("used");
    assert_eq!((bits.size(), bits.dirty_bytes()), (2 * SIZE, 0));
    assert!(report(&*storage).is_clean());
    // A disk of nothing has none, and version 2 neither.
    let open = now.open().expect("opened");
    assert!(open.shrink(0).is_err());
    drop(open);
    let none = CreateOptions::new(0).create_on(Arc::new(MemStorage::new())).expect("made");
    assert!(none.add_bitmap("b", Granularity::for_clusters(1), true).is_err());
    let old = Crafted::version(holstein::format::Version::V2).open().expect("opened");
    let error = old.add_bitmap("b", Granularity::for_clusters(1), true).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
