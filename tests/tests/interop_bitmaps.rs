//! Bitmaps that both sides record in, merge and resize in turn.

mod interop;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use holstein::format::Version;
use holstein::{DirtyBitmap, Granularity, OpenOptions};
use interop::{Bench, Maker, Op, Script};

/// Bits of a model, by number.
#[derive(Clone, Default)]
struct Bits(BTreeSet<u64>);

impl Bits {
    fn record(&mut self, ops: &[Op], unit: u64) {
        for op in ops {
            let (Op::Write { at, len, .. } | Op::Zero { at, len, .. } | Op::Discard { at, len }) =
                op
            else {
                continue;
            };
            if *len > 0 {
                self.0.extend(at / unit..=(at + len - 1) / unit);
            }
        }
    }
}

/// The bits of a bitmap as this side reads them.
fn read(image: &Path, name: &str) -> (DirtyBitmap, BTreeSet<u64>) {
    let image = OpenOptions::new().open_read_only(image).expect("opened");
    let bitmap = image.bitmap(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let unit = bitmap.granularity().bytes();
    let bits =
        bitmap.extents().flat_map(|(at, len)| at / unit..(at + len).div_ceil(unit)).collect();
    (bitmap, bits)
}

impl Bench {
    fn bitmap(&self, words: &[&str], name: &str) {
        let image = self.image.display().to_string();
        let all = ["bitmap", "-f", "qcow2"].iter().chain(words).copied();
        self.oracle.img_ok(all.chain([&*image, name])).expect("done");
    }

    /// What the other side has read of a bitmap of ours: its own copy of it.
    fn through_qemu(&self, name: &str) -> BTreeSet<u64> {
        self.bitmap(&["--add", "--disable", "-g", "512", "--merge", name], "copy");
        let (copy, _) = read(&self.image, "copy");
        let (bitmap, bits) = read(&self.image, name);
        assert_eq!(copy.extents().collect::<Vec<_>>(), bitmap.extents().collect::<Vec<_>>());
        self.bitmap(&["--remove"], "copy");
        bits
    }
}

#[test]
fn both_sides_record_in_turn() {
    let Some(mut bench) = Bench::new("bitmap-turns") else { return };
    for (seed, (bits, unit, maker)) in [
        (9, 512, Maker::Qemu),
        (12, 65_536, Maker::Ours),
        (14, 512, Maker::Ours),
        (16, 4096, Maker::Qemu),
        (21, 1 << 20, Maker::Qemu),
    ]
    .into_iter()
    .enumerate()
    {
        bench.start(maker, Version::V3, bits, 16);
        let mut script = Script::new(seed as u64, bench.cluster, bench.size());
        let granularity = Granularity::new(unit).expect("a granularity");
        let mut model = Bits::default();
        if maker == Maker::Ours {
            let image = OpenOptions::new().open(&bench.image).expect("opened");
            image.add_bitmap("b", granularity, true).expect("added");
            image.add_bitmap("idle", granularity, false).expect("added");
            image.close().expect("closed");
        } else {
            bench.bitmap(&["--add", "-g", &unit.to_string()], "b");
            bench.bitmap(&["--add", "--disable", "-g", &unit.to_string()], "idle");
        }
        for turn in 0..6 {
            let ops = script.ops(6);
            if turn % 2 == 0 {
                bench.write_ours(&ops);
            } else {
                bench.write_qemu(&ops);
            }
            model.record(&ops, unit);
            let what = format!("clusters of {}, turn {turn}", bench.cluster);
            assert_eq!(read(&bench.image, "b").1, model.0, "{what}");
            assert!(read(&bench.image, "idle").1.is_empty(), "{what}");
            if turn % 3 == 2 {
                assert_eq!(bench.through_qemu("b"), model.0, "{what}: as they read it");
            }
            bench.judge(&what);
        }
        // Changes of the bitmap itself, and of the disk's size.
        let size = bench.size();
        let image = OpenOptions::new().open(&bench.image).expect("opened");
        image.merge_bitmap("idle", &image.bitmap("b").expect("there")).expect("merged");
        image.record_in_bitmap("b", false).expect("stopped");
        image.record_in_bitmap("idle", true).expect("started");
        image.clear_bitmap("b").expect("cleared");
        image.write_at(0, &[7; 100]).expect("written");
        image.resize(size + (1 << 20), holstein::Preallocation::Off).expect("grown");
        image.close().expect("closed");
        model.record(&[Op::Write { at: 0, len: 100, byte: 7 }], unit);
        assert!(read(&bench.image, "b").1.is_empty());
        assert_eq!(bench.through_qemu("idle"), model.0, "after growing");
        let small = 300 * 512_u64;
        let name = bench.image.display().to_string();
        bench.oracle.img_ok(["resize", "-q", "--shrink", &name, &small.to_string()]).expect("cut");
        model.0.retain(|bit| bit * unit < small);
        assert_eq!(read(&bench.image, "idle").1, model.0, "after their shrink");
        let image = OpenOptions::new().open(&bench.image).expect("opened");
        image.shrink(small / 2 / 512 * 512).expect("cut");
        image.remove_bitmap("b").expect("removed");
        image.close().expect("closed");
        model.0.retain(|bit| bit * unit < small / 2 / 512 * 512);
        assert_eq!(bench.through_qemu("idle"), model.0, "after our shrink");
        bench.oracle.img_ok(["bitmap", "--remove", &name, "idle"]).expect("removed");
        let (verdict, said) = bench.oracle.check(&bench.image).expect("checked");
        assert_eq!(verdict, holstein_testkit::Verdict::Clean, "{said}");
        let image = OpenOptions::new().open_read_only(&bench.image).expect("opened");
        assert_eq!(image.bitmaps().expect("listed"), []);
        assert_eq!(image.header().autoclear.bits(), 0);
    }
}

#[test]
fn a_server_of_theirs_shows_our_bits() {
    let Some(mut bench) = Bench::new("bitmap-server") else { return };
    let beside = bench.oracle.qemu_img().with_file_name("qemu-nbd");
    let server = if beside.is_file() { beside } else { "qemu-nbd".into() };
    if Command::new(&server).arg("--version").output().is_err() {
        return holstein_testkit::skipped("there is no qemu-nbd");
    }
    bench.start(Maker::Ours, Version::V3, 16, 16);
    let image = OpenOptions::new().open(&bench.image).expect("opened");
    image.add_bitmap("b", Granularity::new(512).expect("one"), true).expect("added");
    // Bits 1 to 3, 9 and the last; bits of bytes of their own, so that their order matters.
    let last = bench.size() - 512;
    for (at, len) in [(512, 1024), (1536, 1), (4608, 512), (last, 512)] {
        image.write_at(at, &vec![1; len]).expect("written");
    }
    image.close().expect("closed");
    let socket = bench.dir.file("s");
    let pid = bench.dir.file("pid");
    let status = Command::new(&server)
        .args(["--fork", "-r", "-f", "qcow2", "-B", "b", "-k"])
        .arg(&socket)
        .arg("--pid-file")
        .arg(&pid)
        .arg(&bench.image)
        .stdin(Stdio::null())
        .status()
        .expect("it starts");
    assert!(status.success());
    let place = format!(
        "driver=nbd,server.type=unix,server.path={},x-dirty-bitmap=qemu:dirty-bitmap:b",
        socket.display()
    );
    let map =
        bench.oracle.img_ok(["map", "--output=json", "--image-opts", &place]).expect("mapped");
    // It ends with its last client.
    let number = |line: &str, key: &str| {
        let rest = line.split(&format!("\"{key}\": ")).nth(1).expect("a field");
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse::<u64>().ok())
    };
    let dirty: Vec<_> = map
        .lines()
        .filter(|line| line.contains("\"data\": false"))
        .map(|line| {
            (number(line, "start").expect("start"), number(line, "length").expect("length"))
        })
        .collect();
    assert_eq!(dirty, [(512, 1536), (4608, 512), (last, 512)]);
}

#[test]
fn bitmaps_that_were_not_saved_are_listed_and_can_be_removed() {
    let Some(mut bench) = Bench::new("bitmap-lost") else { return };
    bench.start(Maker::Ours, Version::V3, 12, 16);
    let name = bench.image.display().to_string();
    bench.bitmap(&["--add"], "theirs");
    let image = OpenOptions::new().open(&bench.image).expect("opened");
    image.add_bitmap("ours", Granularity::for_clusters(4096), true).expect("added");
    image.close().expect("closed");
    // A program that dies.
    let image = OpenOptions::new().open(&bench.image).expect("opened");
    let bytes = std::fs::read(&bench.image).expect("read");
    drop(image);
    std::fs::write(&bench.image, &bytes).expect("written");
    for pass in ["after a death", "after one more session"] {
        let image = OpenOptions::new().open_read_only(&bench.image).expect("opened");
        let found = image.bitmaps().expect("listed");
        let names: Vec<_> = found.iter().map(|b| (&b.name[..], b.inconsistent)).collect();
        assert_eq!(names, [(&b"theirs"[..], true), (b"ours", true)], "{pass}");
        assert!(image.bitmap("ours").is_err(), "{pass}");
        drop(image);
        let info = bench.oracle.img_ok(["info", &name]).expect("shown");
        assert_eq!(info.matches("in-use").count(), 2, "{pass}: {info}");
        let image = OpenOptions::new().open(&bench.image).expect("opened");
        assert!(
            image.merge_bitmap("ours", &DirtyBitmap::new(1, Granularity::for_clusters(1))).is_err()
        );
        assert!(
            image.clear_bitmap("ours").is_err() && image.record_in_bitmap("ours", true).is_err()
        );
        assert!(image.resize(8 << 20, holstein::Preallocation::Off).is_err(), "{pass}");
        image.write_at(0, &[1; 512]).expect("written");
        image.close().expect("closed");
    }
    bench.bitmap(&["--remove"], "ours");
    let image = OpenOptions::new().open(&bench.image).expect("opened");
    image.remove_bitmap("theirs").expect("removed");
    image.close().expect("closed");
    let (verdict, said) = bench.oracle.check(&bench.image).expect("checked");
    assert_eq!(verdict, holstein_testkit::Verdict::Clean, "{said}");
}

#[test]
fn a_writer_that_does_not_know_bitmaps_makes_them_void() {
    let Some(mut bench) = Bench::new("bitmap-void") else { return };
    bench.start(Maker::Qemu, Version::V3, 16, 16);
    bench.bitmap(&["--add"], "b");
    // What such a program does: it clears the autoclear bit.
    let mut bytes = std::fs::read(&bench.image).expect("read");
    assert_eq!(bytes[95], 1);
    bytes[95] = 0;
    std::fs::write(&bench.image, &bytes).expect("written");
    let image = OpenOptions::new().open_read_only(&bench.image).expect("opened");
    assert_eq!(image.bitmaps().expect("listed"), []);
    drop(image);
    let image = OpenOptions::new().open(&bench.image).expect("opened");
    assert_eq!(image.bitmaps().expect("listed"), []);
    image.write_at(0, &[1; 512]).expect("written");
    image.close().expect("closed");
    // The old ones are leaks, and a new one takes its place.
    let (verdict, said) = bench.oracle.check(&bench.image).expect("checked");
    assert_eq!(verdict, holstein_testkit::Verdict::Leaks, "{said}");
    let image = OpenOptions::new().open(&bench.image).expect("opened");
    image.add_bitmap("b", Granularity::for_clusters(65_536), true).expect("added");
    image.write_at(1 << 19, &[1; 512]).expect("written");
    image.close().expect("closed");
    assert_eq!(bench.through_qemu("b"), BTreeSet::from([8]));
}

#[test]
fn bitmaps_stay_through_snapshots_amend_and_repair() {
    let Some(mut bench) = Bench::new("bitmap-beside") else { return };
    bench.start(Maker::Qemu, Version::V3, 12, 16);
    bench.bitmap(&["--add", "-g", "4096"], "b");
    let mut image = OpenOptions::new().open(&bench.image).expect("opened");
    image.write_at(4096, &[1; 4096]).expect("written");
    image.create_snapshot("s").expect("taken");
    image.write_at(3 * 4096, &[2; 4096]).expect("written");
    let error = image.apply_snapshot("s").expect_err("bitmaps could not follow");
    assert_eq!(error.kind(), holstein::ErrorKind::Unsupported, "{error}");
    // What was recorded and is not in the file yet goes along.
    let wide = holstein::AmendOptions::new().refcount_bits(64);
    image.amend(&wide, &mut |_, _| {}).expect("amended");
    image.write_at(5 * 4096, &[3; 4096]).expect("written");
    let old = holstein::AmendOptions::new().refcount_bits(16).version(Version::V2);
    let error = image.amend(&old, &mut |_, _| {}).expect_err("they would be void");
    assert_eq!(error.kind(), holstein::ErrorKind::Unsupported, "{error}");
    image.delete_snapshot("s").expect("deleted");
    image.close().expect("closed");
    assert_eq!(bench.through_qemu("b"), BTreeSet::from([1, 3, 5]));
    // A leak is repaired; so are refcounts that have to be made anew.
    for damage in [false, true] {
        let mut bytes = std::fs::read(&bench.image).expect("read");
        if damage {
            // The refcount table names nothing.
            let table = u64::from_be_bytes(bytes[48..56].try_into().expect("8 bytes")) as usize;
            bytes[table..table + 8].fill(0);
        } else {
            let end = bytes.len();
            bytes.resize(end + 3 * 4096, 0);
        }
        std::fs::write(&bench.image, &bytes).expect("written");
        holstein::repair(&bench.image, holstein::check::RepairKind::All).expect("repaired");
        assert_eq!(bench.through_qemu("b"), BTreeSet::from([1, 3, 5]), "damage: {damage}");
    }
    let (verdict, said) = bench.oracle.check(&bench.image).expect("checked");
    assert_eq!(verdict, holstein_testkit::Verdict::Clean, "{said}");
}
