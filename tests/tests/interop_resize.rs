//! Sizes changed by one side and used by the other.

mod interop;

use holstein::format::Version;
use holstein::{OpenOptions, Preallocation};
use interop::{Bench, Maker, Script, assert_same};

fn small(n: u64) -> usize {
    usize::try_from(n).expect("small")
}

/// Shrinks and grows with snapshots in the image; the other side then grows over what was cut.
#[test]
fn what_ours_cuts_is_not_there_for_the_other_side() {
    let Some(mut bench) = Bench::new("resize") else { return };
    for (version, bits) in [
        (Version::V2, 9),
        (Version::V3, 9),
        (Version::V2, 16),
        (Version::V3, 12),
        (Version::V3, 16),
    ] {
        let what = format!("{version:?}, {bits} bits");
        bench.start(Maker::Qemu, version, bits, 16);
        let size = bench.size();
        let mut script = Script::new(u64::from(bits) + 77, 1 << bits, size);
        bench.write_qemu(&script.ops(30));
        let image = bench.image.display().to_string();
        let before = bench.disk.clone();
        if version == Version::V3 {
            bench.oracle.img_ok(["snapshot", "-c", "one", &image]).expect("a snapshot");
            bench.write_ours(&script.ops(10));
        }
        for part in [7, 3, 1] {
            let new = size * part / 8 / 512 * 512 + 512;
            let opened = OpenOptions::new().open(&bench.image).expect("opened");
            opened.shrink(new).expect("cut");
            opened.close().expect("closed");
            bench.disk.truncate(small(new));
            bench.judge(&format!("{what}: cut to {new}"));
        }
        // The other side grows it, and sees nothing of what was there.
        let grown = size.to_string();
        bench.oracle.img_ok(["resize", "-q", &image, &grown]).expect("grown");
        bench.disk.resize(small(size), 0);
        bench.judge(&format!("{what}: grown again"));
        bench.write_ours(&script.ops(10));
        bench.judge(&format!("{what}: written again"));
        if version == Version::V3 {
            let found = bench.read_qemu(Some("one"));
            assert_same(&found, &before, &format!("{what}: the snapshot"));
            bench.oracle.img_ok(["snapshot", "-d", "one", &image]).expect("deleted");
            bench.judge(&format!("{what}: without the snapshot"));
        }
    }
}

/// The other side shrinks and leaves bytes in the last cluster; ours grows.
#[test]
fn each_way_to_grow_hides_what_was_cut() {
    let Some(mut bench) = Bench::new("grow") else { return };
    for (bits, version) in [(9, Version::V2), (12, Version::V3), (16, Version::V3)] {
        for how in [
            Preallocation::Off,
            Preallocation::Metadata,
            Preallocation::Falloc,
            Preallocation::Full,
        ] {
            bench.start(Maker::Ours, version, bits, 16);
            let size = bench.size();
            let mut script = Script::new(u64::from(bits) + 99, 1 << bits, size);
            bench.write_ours(&script.ops(25));
            let image = bench.image.display().to_string();
            let cut = size / 2 / 512 * 512 + 512;
            let text = cut.to_string();
            bench.oracle.img_ok(["resize", "-q", "--shrink", &image, &text]).expect("cut");
            let opened = OpenOptions::new().open(&bench.image).expect("opened");
            opened.resize(size, how).expect("grown");
            opened.close().expect("closed");
            bench.disk.truncate(small(cut));
            bench.disk.resize(small(size), 0);
            bench.judge(&format!("{version:?}, {bits} bits, {how:?}"));
        }
    }
}

/// A shrink is the first thing that a program does to an image: no count was looked at before.
#[test]
fn a_cut_right_after_opening_leaves_no_leak() {
    let Some(mut bench) = Bench::new("cut") else { return };
    for bits in [9, 16] {
        bench.start(Maker::Ours, Version::V3, bits, 1);
        let size = bench.size();
        bench.write_ours(&Script::new(5, 1 << bits, size).ops(20));
        let opened = OpenOptions::new().open(&bench.image).expect("opened");
        opened.shrink(0).expect("cut");
        opened.close().expect("closed");
        bench.disk.clear();
        bench.judge(&format!("{bits} bits, nothing left"));
    }
}
