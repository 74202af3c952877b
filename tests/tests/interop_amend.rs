//! Images amended by one side and used by the other.

mod interop;

use holstein::format::{CompressionType, SnapshotRecord, Version};
use holstein::{AmendOptions, CreateOptions, ErrorKind, OpenOptions};
use holstein_testkit::{Oracle, TempDir, Verdict, Version as Oldest};
use interop::{Bench, Maker, Op, Script, assert_same};

/// Amends the image, and returns the library's answer.
fn amend(bench: &Bench, options: &AmendOptions) -> Result<(), holstein::Error> {
    let mut image = OpenOptions::new().no_backing().open(&bench.image)?;
    let mut last = 0;
    let result = image.amend(options, &mut |done, total| {
        assert!(last <= done && done <= total, "progress goes from {last} to {done} of {total}");
        last = done;
    });
    image.close()?;
    result
}

/// Every width to some other, with snapshots and compressed clusters in the image.
#[test]
fn every_width_is_reached_and_counts_the_same() {
    let Some(mut bench) = Bench::new("widths") else { return };
    for (bits, widths) in
        [(9, &[16, 64, 2, 8, 4, 32, 16][..]), (12, &[16, 4, 64, 32, 2]), (16, &[16, 2, 64, 8, 16])]
    {
        bench.start(Maker::Ours, Version::V3, bits, widths[0]);
        let mut script = Script::new(u64::from(bits) + 3, 1 << bits, bench.size());
        bench.write_qemu(&script.ops(25));
        let image = bench.image.display().to_string();
        bench.oracle.img_ok(["snapshot", "-c", "one", &image]).expect("a snapshot");
        let before = bench.disk.clone();
        bench.write_ours(&script.ops(10));
        for &width in &widths[1..] {
            let what = format!("{bits} bits, width {width}");
            amend(&bench, &AmendOptions::new().refcount_bits(width)).expect("amended");
            bench.judge(&what);
            bench.write_ours(&script.ops(6));
            bench.write_qemu(&script.ops(6));
            bench.judge(&format!("{what}, written"));
            assert_same(&bench.read_qemu(Some("one")), &before, &what);
        }
        // Two references do not fit in one bit, and nothing changes.
        bench.oracle.img_ok(["snapshot", "-c", "two", &image]).expect("a snapshot");
        let bytes = std::fs::read(&bench.image).expect("read");
        let error = amend(&bench, &AmendOptions::new().refcount_bits(1)).expect_err("too narrow");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(bytes == std::fs::read(&bench.image).expect("read"), "something was written");
        for name in ["one", "two"] {
            bench.oracle.img_ok(["snapshot", "-d", name, &image]).expect("deleted");
        }
        amend(&bench, &AmendOptions::new().refcount_bits(1)).expect("one bit is enough now");
        bench.judge(&format!("{bits} bits, width 1"));
    }
}

/// Down to version 2 and up again, with zero clusters of all kinds in the disk and in a snapshot.
#[test]
fn a_downgrade_leaves_no_zero_cluster_and_changes_no_byte() {
    let Some(mut bench) = Bench::new("downgrade") else { return };
    for bits in [9, 12, 16] {
        for backed in [false, true] {
            let what = format!("{bits} bits, backing: {backed}");
            bench.start(Maker::Qemu, Version::V3, bits, 16);
            let size = bench.size();
            let image = bench.image.display().to_string();
            if backed {
                let base = bench.dir.file("base.raw");
                let below: Vec<u8> = (0..size).map(|n| (n / 512 % 255 + 1) as u8).collect();
                std::fs::write(&base, &below).expect("written");
                let options = format!("cluster_size={}", 1 << bits);
                bench.overlay(&options, ("base.raw", "raw"), size);
                bench.disk = below;
            }
            let mut script = Script::new(u64::from(bits) + 31, 1 << bits, size);
            bench.write_qemu(&script.ops(30));
            let snapshot = bench.disk.clone();
            bench.oracle.img_ok(["snapshot", "-c", "one", &image]).expect("a snapshot");
            bench.oracle.img_ok(["snapshot", "-c", "two", &image]).expect("a snapshot");
            bench.write_qemu(&script.ops(20));
            for version in [Version::V2, Version::V3, Version::V2] {
                amend(&bench, &AmendOptions::new().version(version)).expect("amended");
                let what = format!("{what}, {version:?}");
                assert_same(&bench.read_qemu(None), &bench.disk, &what);
                bench.judge_structure(&what);
                for name in ["one", "two"] {
                    assert_same(&bench.read_qemu(Some(name)), &snapshot, &what);
                }
            }
            // A discard does nothing in version 2 over a backing file.
            let mut ops = script.ops(10);
            ops.retain(|op| !matches!(op, Op::Discard { .. }));
            bench.write_qemu(&ops);
            assert_same(&bench.read_qemu(None), &bench.disk, &what);
            for name in ["one", "two"] {
                bench.oracle.img_ok(["snapshot", "-d", name, &image]).expect("deleted");
                bench.judge_structure(&format!("{what}: without {name}"));
            }
            assert_same(&bench.read_qemu(None), &bench.disk, &what);
        }
    }
}

/// Records of old writers get all known fields on the way to version 3, as QEMU's amend writes them.
#[test]
fn snapshots_of_old_writers_come_along_to_version_3() {
    let Some(mut bench) = Bench::new("old-records") else { return };
    for bits in [9, 12, 16] {
        bench.start(Maker::Qemu, Version::V2, bits, 16);
        let mut script = Script::new(u64::from(bits) + 77, 1 << bits, bench.size());
        let image = bench.image.display().to_string();
        let mut disks = Vec::new();
        for name in ["none", "one field", "part", "unknown"] {
            bench.write_qemu(&script.ops(8));
            bench.oracle.img_ok(["snapshot", "-c", name, &image]).expect("a snapshot");
            disks.push((name, bench.disk.clone()));
        }
        let mut file = std::fs::read(&bench.image).expect("read");
        let short = list(&file).into_iter().zip([0, 8, 13, 40]).map(|(mut record, extra)| {
            record.extra.resize(extra, b'x');
            record
        });
        put_list(&mut file, &short.collect::<Vec<_>>());
        std::fs::write(&bench.image, &file).expect("written");
        bench.judge("before");

        let theirs = bench.dir.file("theirs.qcow2");
        std::fs::write(&theirs, &file).expect("written");
        let path = theirs.display().to_string();
        bench.oracle.img_ok(["amend", "-o", "compat=v3", &path]).expect("amended");
        amend(&bench, &AmendOptions::new().version(Version::V3)).expect("amended");
        bench.judge(&format!("{bits} bits"));
        let found = list(&std::fs::read(&bench.image).expect("read"));
        assert_eq!(found, list(&std::fs::read(&theirs).expect("read")));
        assert!(found.iter().all(|record| record.extra.len() >= 24), "{found:?}");
        for (name, disk) in &disks {
            assert_same(&bench.read_qemu(Some(name)), disk, name);
        }
    }
}

/// The records of the list of snapshots in a file.
fn list(file: &[u8]) -> Vec<SnapshotRecord> {
    let (count, mut at) = place(file);
    let mut next = || {
        let (record, len) = SnapshotRecord::decode(&file[at..]).expect("a record");
        at = (at + len).next_multiple_of(8);
        record
    };
    (0..count).map(|_| next()).collect()
}

/// Puts a list over the one that is there, which is not shorter.
fn put_list(file: &mut [u8], records: &[SnapshotRecord]) {
    let mut at = place(file).1;
    for record in records {
        let bytes = record.encode().expect("it fits");
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        at = (at + bytes.len()).next_multiple_of(8);
    }
}

/// How many records the list has, and where it is.
fn place(file: &[u8]) -> (u64, usize) {
    let field = |at: usize| u64::from_be_bytes(file[at..at + 8].try_into().expect("8 bytes"));
    (field(60) >> 32, usize::try_from(field(64)).expect("small"))
}

#[test]
fn what_cannot_be_is_refused_before_anything_changes() {
    let Some(mut bench) = Bench::new("refused") else { return };
    bench.start(Maker::Ours, Version::V3, 12, 8);
    let size = bench.size();
    bench.write_ours(&Script::new(4, 4096, size).ops(10));
    let image = bench.image.display().to_string();
    bench.oracle.img_ok(["snapshot", "-c", "one", &image]).expect("a snapshot");
    let bytes = std::fs::read(&bench.image).expect("read");
    let new = AmendOptions::new;
    for (options, kind) in [
        (new().version(Version::V2), ErrorKind::InvalidInput),
        (new().version(Version::V2).refcount_bits(16).size(size * 2), ErrorKind::Unsupported),
        (
            new().version(Version::V2).refcount_bits(16).lazy_refcounts(true),
            ErrorKind::InvalidInput,
        ),
        (new().refcount_bits(24), ErrorKind::InvalidInput),
        (new().refcount_bits(4).size(1000), ErrorKind::InvalidInput),
    ] {
        let error = amend(&bench, &options).expect_err("refused");
        assert_eq!(error.kind(), kind, "{options:?}: {error}");
        assert!(bytes == std::fs::read(&bench.image).expect("read"), "{options:?} wrote");
    }
    // All at once, in the order in which it is possible.
    let all = new().version(Version::V2).refcount_bits(16).lazy_refcounts(false);
    amend(&bench, &all).expect("amended");
    bench.judge("version 2");
    let back = new().version(Version::V3).refcount_bits(64).lazy_refcounts(true).size(size + 512);
    amend(&bench, &back).expect("amended");
    let header = OpenOptions::new().open_read_only(&bench.image).expect("opened").header();
    assert_eq!(header.compatible.bits(), 1);
    bench.disk.resize(bench.disk.len() + 512, 0);
    bench.judge("version 3 again");
}

/// Streams of zstd have no place in version 2, wherever they are; without any the way is free, and
/// streams that follow are of the other kind.
#[test]
fn zstd_goes_with_a_downgrade_unless_a_stream_is_left() {
    let oldest = Oldest { major: 10, minor: 0, patch: 0 };
    let Some(oracle) = Oracle::find_or_skip("zstd to version 2", oldest) else { return };
    let dir = TempDir::new("zstd").expect("a folder");
    let path = dir.file("image");
    let new = CreateOptions::new(1 << 20).compression(CompressionType::Zstd);
    let image = new.create(&path).expect("created");
    let old = vec![3; 65536];
    image.write_compressed_at(65536, &old).expect("compressed");
    image.create_snapshot("kept").expect("a snapshot");
    image.write_at(65536, &[4; 65536]).expect("no stream in the disk");
    image.close().expect("closed");
    let bytes = std::fs::read(&path).expect("read");
    let to_v2 = AmendOptions::new().version(Version::V2);
    let mut image = OpenOptions::new().open(&path).expect("opened");
    let error = image.amend(&to_v2, &mut |_, _| {}).expect_err("a snapshot has a stream");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    image.close().expect("closed");
    assert!(bytes == std::fs::read(&path).expect("read"), "something was written");

    let mut image = OpenOptions::new().open(&path).expect("opened");
    image.delete_snapshot("kept").expect("deleted");
    image.write_compressed_at(131_072, &old).expect("compressed");
    image.amend(&to_v2, &mut |_, _| {}).expect_err("the disk has a stream");
    image.discard(131_072, 65536).expect("discarded");
    image.amend(&to_v2, &mut |_, _| {}).expect("no stream is left");
    let header = image.header();
    assert_eq!((header.version, header.compression), (Version::V2, CompressionType::Deflate));
    image.write_compressed_at(196_608, &old).expect("compressed");
    image.close().expect("closed");
    let reads = ["read -q -P 4 65536 65536", "read -q -P 3 196608 65536"].map(str::to_owned);
    oracle.io((&path, "qcow2"), &reads).expect("they read both");
    assert_eq!(oracle.check(&path).expect("checked").0, Verdict::Clean);
}
