//! Every kind of finding, planted and found; where QEMU knows it, with QEMU's words and numbers.

mod common;

use common::{Builder, Folder, Image, compare, have_qemu, lines, qemu_check};
use holstein_check::CheckError;
use holstein_format::{
    AutoclearFeatures, BitmapDirectoryEntry, BitmapFlags, BitmapsExtension, COPIED, CryptMethod,
    HeaderExtension, IncompatibleFeatures, Version,
};
use holstein_units::HostOffset;

const K64: u64 = 1 << 16;

/// Header, L1, L2, four data clusters, a kept zero cluster, a zero cluster, two compressed ones
/// packed in one host cluster.
fn plain(version: Version, order: u32) -> Image {
    let mut b = Builder::new(16, version, false, order, 64 << 20);
    for guest in 0..4 {
        b.data(guest);
    }
    if version == Version::V3 {
        let zero = b.allocate(1);
        b.set_entry(5, zero | COPIED | 1);
        b.set_entry(6, 1);
    }
    if order > 0 {
        let packed = b.allocate(1);
        b.references.insert(packed / K64, 0);
        b.compressed(8, packed, 1000);
        b.compressed(9, packed + 1000, 2000);
    }
    b.finish()
}

/// The plain image and two snapshots: one shares the L2 table, one has its own, which shares data.
fn snapshots() -> Image {
    let mut b = Builder::new(16, Version::V3, false, 4, 64 << 20);
    for guest in 0..4 {
        b.data(guest);
    }
    let l1 = b.l1();
    let l2 = b.l2_of(0);
    let old = b.allocate(2);
    let (l1_a, l1_b) = (old, old + K64);
    let own = b.allocate(1);
    b.put(l1, l2);
    b.put(l1_a, l2);
    b.put(l1_b, own | COPIED);
    b.refer(l2 / K64, 1);
    for guest in 0..4 {
        let at = b.get(l2 + guest * 8) & !COPIED;
        b.put(l2 + guest * 8, at);
        b.refer(at / K64, 1);
        if guest < 2 {
            b.put(own + guest * 8, at);
            b.refer(at / K64, 1);
        }
    }
    b.snapshots(&[(l1_a, 1), (l1_b, 1)]);
    b.finish()
}

fn extended() -> Image {
    let mut b = Builder::new(16, Version::V3, true, 4, 1 << 30);
    for guest in 0..3 {
        b.data(guest);
    }
    let packed = b.allocate(1);
    b.references.insert(packed / K64, 0);
    b.compressed(8, packed, 1000);
    let packed = b.allocate(1);
    b.references.insert(packed / K64, 0);
    b.compressed(4096 + 8, packed, 1000);
    b.finish()
}

fn data_file() -> Image {
    let mut b = Builder::new(16, Version::V3, false, 4, 64 << 20);
    b.header.incompatible.insert(IncompatibleFeatures::DATA_FILE);
    b.header.extensions.push(HeaderExtension::DataFile(b"data.raw".to_vec()));
    for guest in 0..4 {
        b.set_entry(guest, (guest * K64) | COPIED);
    }
    b.finish()
}

const DIRECTORY: u64 = 0;
const TABLE: u64 = K64;

/// An image with two bitmaps; returns where directory and first table are.
fn bitmaps() -> (Image, u64) {
    let mut b = Builder::new(16, Version::V3, false, 4, 64 << 20);
    b.data(0);
    let at = b.allocate(4);
    for (number, name) in [(0, "b0"), (1, "bitmap1")] {
        let entry = BitmapDirectoryEntry {
            table_offset: HostOffset::new(at + TABLE + number * K64),
            table_size: 1,
            flags: BitmapFlags(0),
            kind: 1,
            granularity_bits: 16,
            extra: Vec::new(),
            name: name.into(),
        };
        let bytes = entry.encode().expect("short");
        let start = usize::try_from(at + number * 32).expect("small");
        b.bytes[start..start + 32].copy_from_slice(&bytes);
    }
    b.put(at + TABLE, at + 3 * K64);
    b.header.autoclear.insert(AutoclearFeatures::BITMAPS);
    b.header.extensions.push(HeaderExtension::Bitmaps(BitmapsExtension {
        nb_bitmaps: 2,
        reserved: 0,
        directory_size: 64,
        directory_offset: HostOffset::new(at + DIRECTORY),
    }));
    (b.finish(), at)
}

/// Spoils an image, expects these lines, and compares with QEMU if it is there.
fn planted(name: &str, image: &Image, spoil: impl FnOnce(&mut Image), expected: &[&str]) {
    check_planted(name, image, spoil, expected, true);
}

/// As `planted`, for what QEMU does not find or refuses to look at.
fn planted_alone(name: &str, image: &Image, spoil: impl FnOnce(&mut Image), expected: &[&str]) {
    check_planted(name, image, spoil, expected, false);
}

fn check_planted(
    name: &str,
    image: &Image,
    spoil: impl FnOnce(&mut Image),
    expected: &[&str],
    with_qemu: bool,
) {
    let mut image = image.clone();
    spoil(&mut image);
    let report = image.check().expect("the check comes to its end");
    assert_eq!(lines(&report), expected, "{name}");
    if with_qemu && have_qemu() {
        let folder = Folder::new();
        let path = folder.0.join("image.qcow2");
        std::fs::write(&path, &image.bytes).expect("written");
        if image.header().data_file().is_some() {
            std::fs::write(folder.0.join("data.raw"), []).expect("written");
            let options = format!(
                "driver=qcow2,file.driver=file,file.filename={},data-file.driver=file,\
                 data-file.filename={}",
                path.display(),
                folder.0.join("data.raw").display()
            );
            compare(name, &report, &common::qemu_check_options(&options));
        } else {
            compare(name, &report, &qemu_check(&path));
        }
    }
}

#[test]
fn clean_images_are_clean() {
    for order in 0..=6 {
        let image = plain(Version::V3, order);
        planted("version 3", &image, |_| {}, &[]);
        assert!(image.check().expect("checked").is_clean());
    }
    planted("version 2", &plain(Version::V2, 4), |_| {}, &[]);
    planted("snapshots", &snapshots(), |_| {}, &[]);
    planted("extended", &extended(), |_| {}, &[]);
    planted("data file", &data_file(), |_| {}, &[]);
    planted("bitmaps", &bitmaps().0, |_| {}, &[]);
}

#[test]
fn statistics_are_those_of_the_disk() {
    let report = plain(Version::V3, 4).check().expect("checked");
    assert_eq!(report.total_clusters, 1024);
    assert_eq!(report.allocated_clusters, 7);
    assert_eq!(report.compressed_clusters, 2);
    assert_eq!(report.fragmented_clusters, 2);
    assert_eq!(report.image_end_offset, plain(Version::V3, 4).bytes.len() as u64);
}

#[test]
fn refcounts_that_disagree() {
    for order in 1..=6 {
        let image = plain(Version::V3, order);
        let data = image.get(image.l2()) & !COPIED;
        let cluster = data / K64;
        planted(
            "too low",
            &image,
            |i| i.set_refcount(cluster, 0),
            &[
                "ERROR cluster 3 refcount=0 reference=1",
                "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000030000 refcount=0",
            ],
        );
        planted(
            "too high",
            &image,
            |i| i.set_refcount(cluster, 2),
            &[
                "Leaked cluster 3 refcount=2 reference=1",
                "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000030000 refcount=2",
            ],
        );
        planted(
            "a cluster that nothing names",
            &image,
            |i| {
                let end = i.bytes.len() as u64 + K64;
                i.put(end - 8, 1);
                i.set_refcount(end / K64 - 1, 1);
            },
            &[format!("Leaked cluster {} refcount=1 reference=0", image.bytes.len() as u64 / K64)
                .as_str()],
        );
    }
}

#[test]
fn more_references_than_can_be_counted() {
    let overflow = [
        "ERROR: overflow cluster offset=0x30000",
        "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a \
         clean copy if the image cannot be opened for writing",
        "Leaked cluster 4 refcount=1 reference=0",
    ];
    planted("1 bit", &plain(Version::V3, 0), |i| i.put(i.l2() + 8, i.get(i.l2())), &overflow);
}

#[test]
fn l1_entries() {
    let image = plain(Version::V3, 4);
    let (l1, l2) = (image.get(40), image.l2());
    planted(
        "reserved",
        &image,
        |i| i.put(l1, l2 | COPIED | 1 << 56 | 1),
        &["ERROR found L1 entry with reserved bits set: 8100000000020001"],
    );
    planted(
        "not copied",
        &image,
        |i| i.put(l1, l2),
        &["ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=20000 refcount=1"],
    );
    planted(
        "unaligned and past the end",
        &image,
        |i| i.put(l1, COPIED | 0x100_0200),
        &[
            "ERROR: counting reference for region exceeding the end of the file by one cluster or \
             more: offset 0x1000200 size 0x10000",
            "ERROR l2_offset=1000200: Table is not cluster aligned; L1 entry corrupted",
            "Leaked cluster 2 refcount=1 reference=0",
            "Leaked cluster 3 refcount=1 reference=0",
            "Leaked cluster 4 refcount=1 reference=0",
            "Leaked cluster 5 refcount=1 reference=0",
            "Leaked cluster 6 refcount=1 reference=0",
            "Leaked cluster 7 refcount=1 reference=0",
            "Leaked cluster 8 refcount=2 reference=0",
            "ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=8000000001000200 refcount=0",
        ],
    );
    planted(
        "itself",
        &image,
        |i| i.put(l1, COPIED | l1),
        &[
            "ERROR cluster 1 refcount=1 reference=3",
            "Leaked cluster 2 refcount=1 reference=0",
            "Leaked cluster 3 refcount=1 reference=0",
            "Leaked cluster 4 refcount=1 reference=0",
            "Leaked cluster 5 refcount=1 reference=0",
            "Leaked cluster 6 refcount=1 reference=0",
            "Leaked cluster 7 refcount=1 reference=0",
            "Leaked cluster 8 refcount=2 reference=0",
        ],
    );
    planted_alone(
        "at the header",
        &image,
        |i| {
            i.put(l1, COPIED);
            for (cluster, value) in (2..9).zip([0; 7]) {
                i.set_refcount(cluster, value);
            }
        },
        &["ERROR l1_index=0 l1_entry=8000000000000000: Table is at the header; L1 entry corrupted"],
    );
}

#[test]
fn l2_entries() {
    let image = plain(Version::V3, 4);
    let l2 = image.l2();
    let entry = image.get(l2);
    planted(
        "reserved",
        &image,
        |i| i.put(l2, entry | 2 | 1 << 60),
        &["ERROR found l2 entry with reserved bits set: 9000000000030002"],
    );
    planted(
        "not copied",
        &image,
        |i| i.put(l2, entry & !COPIED),
        &["ERROR OFLAG_COPIED data cluster: l2_entry=30000 refcount=1"],
    );
    planted(
        "unaligned",
        &image,
        |i| i.put(l2, entry | 0x200),
        &[
            "ERROR offset=30200: Data cluster is not properly aligned; L2 entry corrupted.",
            "ERROR cluster 4 refcount=1 reference=2",
        ],
    );
    planted(
        "unaligned zeros",
        &image,
        |i| i.put(l2, entry | 0x201),
        &[
            "ERROR offset=30200: Preallocated cluster is not properly aligned; L2 entry corrupted.",
            "ERROR cluster 4 refcount=1 reference=2",
        ],
    );
    planted(
        "past the end",
        &image,
        |i| i.put(l2, COPIED | 0x100_0000),
        &[
            "ERROR: counting reference for region exceeding the end of the file by one cluster or \
             more: offset 0x1000000 size 0x10000",
            "Leaked cluster 3 refcount=1 reference=0",
            "ERROR OFLAG_COPIED data cluster: l2_entry=8000000001000000 refcount=0",
        ],
    );
    planted(
        "twice",
        &image,
        |i| i.put(l2 + 8, entry),
        &["ERROR cluster 3 refcount=1 reference=2", "Leaked cluster 4 refcount=1 reference=0"],
    );
    planted(
        "itself",
        &image,
        |i| i.put(l2, COPIED | l2),
        &["ERROR cluster 2 refcount=1 reference=2", "Leaked cluster 3 refcount=1 reference=0"],
    );
    planted_alone(
        "at the header",
        &image,
        |i| {
            i.put(l2, COPIED);
            i.set_refcount(3, 0);
        },
        &["ERROR l2_entry=8000000000000000: Data cluster is at the header; L2 entry corrupted."],
    );
    planted_alone(
        "zero flag in version 2",
        &plain(Version::V2, 4),
        |i| i.put(i.l2(), i.get(i.l2()) | 1),
        &["ERROR l2_entry=8000000000030001: Zero flag in a version 2 image"],
    );
}

#[test]
fn compressed_entries() {
    let image = plain(Version::V3, 4);
    let at = image.l2() + 8 * 8;
    let entry = image.get(at);
    planted(
        "copied",
        &image,
        |i| i.put(at, entry | COPIED),
        &["ERROR: coffset=0x80000: copied flag must never be set for compressed clusters"],
    );
    planted(
        "past the end",
        &image,
        |i| i.put(at, 1 << 62 | 40 << 54 | 0x100_0000),
        &[
            "ERROR: counting reference for region exceeding the end of the file by one cluster or \
             more: offset 0x1000000 size 0x5200",
            "Leaked cluster 8 refcount=2 reference=1",
        ],
    );
    planted(
        "in the header",
        &image,
        |i| i.put(at, 1 << 62),
        &["ERROR cluster 0 refcount=1 reference=2", "Leaked cluster 8 refcount=2 reference=1"],
    );
}

#[test]
fn extended_entries() {
    let image = extended();
    let l2 = image.l2();
    planted(
        "data and zero",
        &image,
        |i| i.put(l2 + 8, 1 << 32 | 1),
        &["ERROR offset=30000: Allocated cluster has corrupted subcluster allocation bitmap"],
    );
    planted(
        "data in no cluster",
        &image,
        |i| i.put(l2 + 24 * 16 + 8, 1),
        &["ERROR: Unallocated cluster has non-zero subcluster allocation map"],
    );
    planted(
        "compressed with a bitmap",
        &image,
        |i| i.put(l2 + 8 * 16 + 8, 1),
        &[
            "ERROR compressed cluster 8 with non-zero subcluster allocation bitmap, \
             entry=0x4040000000060000",
            "Leaked cluster 6 refcount=1 reference=0",
        ],
    );
    let second = image.get(image.get(40) + 8) & !COPIED;
    planted(
        "compressed with a bitmap, second table",
        &image,
        |i| i.put(second + 8 * 16 + 8, 1),
        &[
            "ERROR compressed cluster 8 with non-zero subcluster allocation bitmap, \
             entry=0x4040000000070000",
            "Leaked cluster 7 refcount=1 reference=0",
        ],
    );
    for (bitmap, what) in
        [(0xffff_ffff, "Data"), (0xffff_ffff << 32, "Preallocated"), (0, "Preallocated")]
    {
        planted(
            "unaligned",
            &image,
            |i| {
                i.put(l2, i.get(l2) | 0x200);
                i.put(l2 + 8, bitmap);
            },
            &[
                format!("ERROR offset=30200: {what} cluster is not properly aligned; L2 entry corrupted.").as_str(),
                "ERROR cluster 4 refcount=1 reference=2",
            ],
        );
    }
    planted("the bit that is zero elsewhere", &image, |i| i.put(l2, i.get(l2) | 1), &[]);
}

#[test]
fn data_file_entries() {
    let image = data_file();
    let l2 = image.l2();
    planted(
        "not copied",
        &image,
        |i| i.put(l2 + 8, K64),
        &["ERROR OFLAG_COPIED data cluster: l2_entry=10000 refcount=1"],
    );
    planted(
        "unaligned",
        &image,
        |i| i.put(l2 + 8, COPIED | 0x1_0200),
        &["ERROR offset=10200: Data cluster is not properly aligned; L2 entry corrupted."],
    );
    planted(
        "compressed",
        &image,
        |i| i.put(l2 + 8, 1 << 62 | K64),
        &["ERROR compressed cluster 1 with data file, entry=0x4000000000010000"],
    );
    planted_alone(
        "at another place",
        &image,
        |i| i.put(l2 + 8, COPIED | 0x5_0000),
        &["ERROR offset=50000: Data file cluster is not at guest offset 10000; L2 entry \
             corrupted."],
    );
    planted(
        "snapshots",
        &image,
        |i| {
            let at = i.bytes.len() as u64;
            i.put(at + K64 - 8, 0);
            i.put(at, i.get(40));
            i.put_bytes(at + 8, &[0, 0, 0, 1, 0, 1, 0, 1]);
            i.put_bytes(at + 36, &[0, 0, 0, 16]);
            i.put_bytes(at + 56, b"1a");
            i.put_bytes(60, &[0, 0, 0, 1]);
            i.put(64, at);
        },
        &[
            "ERROR 1 snapshots in image with data file",
            "ERROR cluster 1 refcount=1 reference=2",
            "ERROR cluster 2 refcount=1 reference=2",
            "ERROR cluster 5 refcount=0 reference=1",
        ],
    );
}

#[test]
fn refcount_structures() {
    let image = plain(Version::V3, 4);
    let table = image.refcount_table();
    let block = image.get(table);
    let n = block / K64;
    planted(
        "reserved",
        &image,
        |i| i.put(table, block | 1),
        &[
            "ERROR refcount table entry 0 has reserved bits set",
            format!("Leaked cluster {n} refcount=1 reference=0").as_str(),
        ],
    );
    let clusters = image.bytes.len() as u64 / K64;
    let mut unreadable = vec![
        "ERROR refcount block 0 is not cluster aligned; refcount table entry corrupted".into(),
    ];
    for cluster in 0..clusters {
        unreadable.push(format!("Can't get refcount for cluster {cluster}: Input/output error"));
    }
    let unreadable: Vec<&str> = unreadable.iter().map(String::as_str).collect();
    planted("unaligned", &image, |i| i.put(table, block | 0x200), &unreadable);
    for far in [0x100_0000, 1 << 63] {
        planted(
            "past the end",
            &image,
            |i| i.put(table + 8, far),
            &["ERROR refcount block 1 is outside image"],
        );
    }
    planted(
        "a block twice",
        &image,
        |i| i.put(table + 8, block),
        &[
            "ERROR refcount block 1 refcount=2",
            format!("ERROR cluster {n} refcount=1 reference=2").as_str(),
        ],
    );
    planted(
        "the table as a block",
        &image,
        |i| i.put(table + 8, table),
        &[
            "ERROR refcount block 1 refcount=2",
            format!("ERROR cluster {} refcount=1 reference=2", table / K64).as_str(),
        ],
    );
    let all: Vec<String> = (0..clusters)
        .filter(|c| *c != n)
        .map(|c| format!("ERROR cluster {c} refcount=0 reference={}", if c == 8 { 2 } else { 1 }))
        .chain([
            "ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=8000000000020000 refcount=0".into()
        ])
        .chain([3, 4, 5, 6].map(|c| {
            format!("ERROR OFLAG_COPIED data cluster: l2_entry={:x} refcount=0", COPIED | c << 16)
        }))
        .chain(["ERROR OFLAG_COPIED data cluster: l2_entry=8000000000070001 refcount=0".into()])
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    planted("no block", &image, |i| i.put(table, 0), &all);
    let mut none = all.clone();
    let block_line = format!("ERROR cluster {n} refcount=0 reference=1");
    none.retain(|line| {
        *line != format!("ERROR cluster {} refcount=0 reference=1", table / K64)
            && *line != block_line
    });
    planted("no table", &image, |i| i.put_bytes(56, &[0; 4]), &none);
    let mut at_header = vec!["ERROR Refcount table is at the header"];
    at_header.extend(&none);
    planted_alone("table at the header", &image, |i| i.put(48, 0), &at_header);
    planted(
        "counts past the end of the file are not looked at",
        &image,
        |i| i.set_refcount(400, 1),
        &[],
    );
}

#[test]
fn snapshot_tables() {
    let image = snapshots();
    let at = image.get(64);
    let leaks = [
        "Leaked cluster 2 refcount=2 reference=1",
        "Leaked cluster 3 refcount=3 reference=2",
        "Leaked cluster 4 refcount=3 reference=2",
        "Leaked cluster 5 refcount=2 reference=1",
        "Leaked cluster 6 refcount=2 reference=1",
        "Leaked cluster 7 refcount=1 reference=0",
    ];
    let with = |line: &'static str| [&[line], &leaks[..]].concat();
    planted(
        "unaligned",
        &image,
        |i| i.put(at, i.get(at) | 0x200),
        &with(
            "ERROR snapshot 1 (s1) l1_offset=0x70200: L1 table is not cluster aligned; snapshot \
             table entry corrupted",
        ),
    );
    planted(
        "too large",
        &image,
        |i| i.put_bytes(at + 8, &[1, 0, 0, 0]),
        &with(
            "ERROR snapshot 1 (s1) l1_size=0x1000000: L1 table is too large; snapshot table entry \
             corrupted",
        ),
    );
    planted(
        "past the end",
        &image,
        |i| i.put(at, 0x100_0000),
        &with(
            "ERROR: counting reference for region exceeding the end of the file by one cluster or \
             more: offset 0x1000000 size 0x8",
        ),
    );
    planted_alone(
        "at the header",
        &image,
        |i| i.put(at, 0),
        &with("ERROR L1 table is at the header"),
    );
    planted(
        "one record too many",
        &image,
        |i| i.put_bytes(60, &[0, 0, 0, 3]),
        &["ERROR snapshot table entry 2 is incomplete"],
    );
    planted(
        "reserved bits in a table of a snapshot",
        &image,
        |i| i.put(0x8_0000, i.get(0x8_0000) | 1 << 56),
        &["ERROR found L1 entry with reserved bits set: 8100000000090000"],
    );
    planted(
        "copied on shared clusters",
        &image,
        |i| {
            i.put(i.get(40), i.l2() | COPIED);
            i.put(i.l2(), i.get(i.l2()) | COPIED);
        },
        &[
            "ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=8000000000020000 refcount=2",
            "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000030000 refcount=3",
        ],
    );
    let mut hostile = image.clone();
    hostile.put_bytes(at + 36, &[0xff; 4]);
    let error = hostile.check().expect_err("too much extra data");
    assert!(matches!(error, CheckError::SnapshotExtra { index: 0, size: u32::MAX }));
    let mut hostile = image.clone();
    hostile.put_bytes(60, &[0, 1, 0, 1]);
    let error = hostile.check().expect_err("too many");
    assert!(matches!(error, CheckError::TooManySnapshots { count: 65_537 }));
    let mut hostile = image.clone();
    hostile.put(64, at | 0x200);
    let error = hostile.check().expect_err("unaligned");
    assert!(matches!(error, CheckError::SnapshotTableOffset { .. }));
}

#[test]
fn bitmap_structures() {
    let (image, at) = bitmaps();
    let (first, data) = (at + DIRECTORY, (at + 3 * K64) / K64);
    let leak = format!("Leaked cluster {data} refcount=1 reference=0");
    planted("all ones", &image, |i| i.put(at + TABLE, 1), &[leak.as_str()]);
    planted(
        "past the end",
        &image,
        |i| i.put(at + TABLE, 0x1000_0000),
        &[
            "ERROR: counting reference for region exceeding the end of the file by one cluster or \
             more: offset 0x10000000 size 0x10000",
            leak.as_str(),
        ],
    );
    let ignored: Vec<String> = (at / K64..at / K64 + 4)
        .map(|cluster| format!("Leaked cluster {cluster} refcount=1 reference=0"))
        .collect();
    let ignored: Vec<&str> = ignored.iter().map(String::as_str).collect();
    planted_alone("without the autoclear bit", &image, |i| i.put(88, 0), &ignored);
    planted_alone(
        "reserved",
        &image,
        |i| i.put(at + TABLE, i.get(at + TABLE) | 2),
        &[
            format!(
                "ERROR bitmap b0 table 0: entry {:#018x} has the reserved bits \
                 0x0000000000000002 set",
                at + 3 * K64 + 2
            )
            .as_str(),
            leak.as_str(),
        ],
    );
    planted_alone(
        "unknown flags are named and the bitmap is counted",
        &image,
        |i| i.put_bytes(first + 12, &[0, 0, 0, 8]),
        &["ERROR bitmap b0: bitmap has the unknown flags 0x8"],
    );
    planted_alone(
        "a granularity of 1 byte",
        &image,
        |i| i.put_bytes(first + 17, &[0]),
        &["ERROR bitmap b0: bitmap has granularity bits 0, not within 9..=31"],
    );
    planted_alone(
        "a name twice",
        &image,
        |i| {
            i.put_bytes(first + 32 + 18, &[0, 2]);
            i.put_bytes(first + 32 + 24, b"b0");
        },
        &["ERROR bitmap b0 is there twice"],
    );
    planted_alone(
        "an entry that walks out",
        &image,
        |i| i.put_bytes(first + 32 + 20, &[0xff; 4]),
        &[
            "ERROR bitmap directory holds 1 bitmaps, the header announces 2",
            format!("Leaked cluster {} refcount=1 reference=0", at / K64 + 2).as_str(),
        ],
    );
    planted_alone(
        "the directory as a table",
        &image,
        |i| i.put(first, at),
        &[
            "ERROR cluster 4 refcount=1 reference=3",
            "Leaked cluster 5 refcount=1 reference=0",
            "Leaked cluster 7 refcount=1 reference=0",
        ],
    );
}

#[test]
fn a_luks_area_is_counted() {
    let mut b = Builder::new(16, Version::V3, false, 4, 64 << 20);
    b.data(0);
    let at = b.allocate(32);
    b.header.crypt_method = CryptMethod::Luks;
    b.header
        .extensions
        .push(HeaderExtension::EncryptionHeader { offset: HostOffset::new(at), length: 2_068_480 });
    let image = b.finish();
    planted_alone("clean", &image, |_| {}, &[]);
    // The pointer is the first extension behind the header of 112 bytes and its frame.
    planted_alone(
        "past the end",
        &image,
        |i| {
            i.put(120, 0x1000_0000);
            for cluster in at / K64..at / K64 + 32 {
                i.set_refcount(cluster, 0);
            }
        },
        &["ERROR: counting reference for region exceeding the end of the file by one cluster or \
           more: offset 0x10000000 size 0x1f9000"],
    );
}
