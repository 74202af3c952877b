//! Images with what only the other side makes: snapshots, compressed clusters, backing chains,
//! preallocation, reserved zero clusters.

mod interop;

use holstein::format::Version;
use holstein::{CreateOptions, OpenOptions, Preallocation};
use holstein_tests::{Below, Bytes, backing};
use interop::{Bench, Maker, Op, Script, assert_same, judge_file};

const CLUSTERS: [u32; 3] = [9, 12, 16];

fn each(name: &str, mut f: impl FnMut(&mut Bench, Version, u32)) {
    let Some(mut bench) = Bench::new(name) else { return };
    for version in [Version::V2, Version::V3] {
        for bits in CLUSTERS {
            f(&mut bench, version, bits);
        }
    }
}

/// Writes through ours copy shared clusters and shared L2 tables, and snapshots stay as they are.
#[test]
fn snapshots_stay_while_ours_writes() {
    each("snapshots", |bench, version, bits| {
        for width in [16, 2, 64] {
            if version == Version::V2 && width != 16 {
                continue;
            }
            bench.start(Maker::Qemu, version, bits, width);
            let mut script = Script::new(u64::from(bits + width), 1 << bits, bench.size());
            bench.write_qemu(&script.ops(25));
            let mut snapshots = Vec::new();
            // Width 2 counts to 3: the disk and two snapshots.
            for name in ["one", "two"] {
                let image = bench.image.display().to_string();
                bench.oracle.img_ok(["snapshot", "-c", name, &image]).expect("a snapshot");
                snapshots.push((name, bench.disk.clone()));
                let what = format!("{version:?}, {bits} bits, width {width}, after {name}");
                bench.write_ours(&script.ops(15));
                bench.judge(&what);
                bench.write_qemu(&script.ops(5));
                bench.write_ours(&script.ops(10));
                bench.judge(&what);
                for (name, disk) in &snapshots {
                    let found = bench.read_qemu(Some(name));
                    assert_same(&found, disk, &format!("{what}: snapshot {name}"));
                }
            }
            // What the snapshots held is released by the other side without a leak.
            let image = bench.image.display().to_string();
            for (name, _) in &snapshots {
                bench.oracle.img_ok(["snapshot", "-d", name, &image]).expect("deleted");
                bench.judge(&format!("{version:?}, {bits} bits: without {name}"));
            }
        }
    });
}

#[test]
fn compressed_clusters_are_read_and_overwritten() {
    each("compressed", |bench, version, bits| {
        bench.start(Maker::Qemu, version, bits, 16);
        let mut script = Script::new(7 + u64::from(bits), 1 << bits, bench.size());
        // Content that compresses badly in places, so that streams end anywhere.
        let ops = script.ops(25);
        bench.write_qemu(&ops);
        let raw = bench.dir.file("in.raw");
        for (n, sector) in bench.disk.chunks_mut(512).enumerate() {
            if n % 3 == 1 {
                let mut x = n as u64 + 1;
                for byte in sector.iter_mut().take(n % 200) {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *byte = (x >> 56) as u8;
                }
            }
        }
        std::fs::write(&raw, &bench.disk).expect("written");
        let compat = if version == Version::V2 { "0.10" } else { "1.1" };
        let options = format!("cluster_size={},compat={compat}", 1 << bits);
        let (from, to) = (raw.display().to_string(), bench.image.display().to_string());
        bench
            .oracle
            .img_ok(["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", &options, &from, &to])
            .expect("compressed");
        bench.judge(&format!("{version:?}, {bits} bits: as made"));
        for round in 0..3 {
            bench.write_ours(&script.ops(12));
            bench.judge(&format!("{version:?}, {bits} bits: round {round}"));
        }
        // All of it, so that no compressed cluster is left and all their space is given back.
        let len = bench.size();
        bench.write_ours(&[Op::Write { at: 0, len, byte: 9 }]);
        bench.judge(&format!("{version:?}, {bits} bits: overwritten"));
    });
}

/// An overlay made by the other side, written by ours, over a raw and over a shorter qcow2 file.
#[test]
fn overlays_show_what_is_below() {
    each("overlays", |bench, version, bits| {
        for (format, part) in [("raw", 4), ("qcow2", 3), ("raw", 2)] {
            let cluster = 1_u64 << bits;
            let size = (5 * cluster).max(1 << 20) + 3 * 512;
            // Shorter than the overlay, and not ending with a cluster.
            let below_len = (size * part / 4 / 512 * 512).min(size);
            let below: Vec<u8> = (0..below_len).map(|n| (n / 512 * 37 + n % 251) as u8).collect();
            let raw = bench.dir.file("below.raw");
            std::fs::write(&raw, &below).expect("written");
            let base = bench.dir.file("below.qcow2");
            bench.oracle.convert((&raw, "raw"), (&base, "qcow2")).expect("converted");
            let name = if format == "raw" { "below.raw" } else { "below.qcow2" };
            let compat = if version == Version::V2 { "0.10" } else { "1.1" };
            let options = format!("cluster_size={cluster},compat={compat}");
            bench.overlay(&options, (name, format), size);
            bench.cluster = cluster;
            bench.disk = vec![0; size as usize];
            bench.disk[..below.len()].copy_from_slice(&below);
            let open = || {
                let options = OpenOptions::new();
                if format == "raw" {
                    options.backing(backing(Bytes(below.clone())))
                } else {
                    let below = OpenOptions::new().open_read_only(&base).expect("the base");
                    options.backing(backing(Below(below)))
                }
            };
            let what = format!("{version:?}, {bits} bits, over {format} of {below_len}");
            let mut script = Script::new(u64::from(bits) + part, cluster, size);
            for round in 0..2 {
                let mut ops = script.ops(12);
                // In version 2 a discard would show the old backing data, and does nothing here;
                // the other side does the same.
                if version == Version::V2 {
                    ops.retain(|op| !matches!(op, Op::Discard { .. }));
                }
                bench.write_ours_with(&open(), &ops);
                let what = format!("{what}, round {round}");
                bench.judge_structure(&what);
                assert_same(&bench.read_qemu(None), &bench.disk, &what);
                let mut ops = script.ops(6);
                if version == Version::V2 {
                    ops.retain(|op| !matches!(op, Op::Discard { .. }));
                }
                bench.write_qemu(&ops);
                bench.judge_structure(&what);
                let image = open().open_read_only(&bench.image).expect("opened");
                let mut back = vec![0; bench.disk.len()];
                image.read_at(0, &mut back).expect("read");
                assert_same(&back, &bench.disk, &format!("{what}: ours after theirs"));
            }
            // Hazard H47: nothing shows through, in version 2 a discard is ignored.
            if version == Version::V2 {
                let len = bench.size();
                let image = open().open(&bench.image).expect("opened");
                image.discard(0, len).expect("ignored");
                let mut back = vec![0; bench.disk.len()];
                image.read_at(0, &mut back).expect("read");
                assert_same(&back, &bench.disk, &format!("{what}: discarded in version 2"));
                image.close().expect("closed");
            }
        }
    });
}

#[test]
fn a_chain_of_three_reads_alike() {
    let Some(mut bench) = Bench::new("chain") else { return };
    let size = (1_u64 << 20) + 512;
    let names = ["base.qcow2", "middle.qcow2", "a.qcow2"];
    bench.disk = vec![0; size as usize];
    bench.cluster = 4096;
    let mut script = Script::new(99, 4096, size);
    for (n, name) in names.iter().enumerate() {
        let path = bench.dir.file(name);
        let mut options = CreateOptions::new(size).cluster_size(4096 << n);
        if n > 0 {
            let below = names[n - 1].as_bytes().to_vec();
            options = options.backing_file(below, Some(b"qcow2".to_vec()));
        }
        options.create(&path).expect("created").close().expect("closed");
        let open = || {
            let open = |name: &str, below: Option<Below>| {
                let options = match below {
                    Some(below) => OpenOptions::new().backing(backing(below)),
                    None => OpenOptions::new(),
                };
                options.open_read_only(bench.dir.file(name)).expect("opened")
            };
            match n {
                0 => OpenOptions::new(),
                1 => OpenOptions::new().backing(backing(Below(open(names[0], None)))),
                _ => {
                    let base = Below(open(names[0], None));
                    OpenOptions::new().backing(backing(Below(open(names[1], Some(base)))))
                }
            }
        };
        let mut ops = script.ops(20);
        for op in &mut ops {
            // Discards reach whole clusters, which differ from file to file.
            if let Op::Discard { at, len } = *op {
                *op = Op::Write { at, len, byte: 1 + n as u8 };
            }
        }
        let options = open();
        let image = options.open(&path).expect("opened");
        for op in &ops {
            op.apply(&image).expect("done");
            op.model(&mut bench.disk, 4096 << n);
        }
        let mut back = vec![0; bench.disk.len()];
        image.read_at(0, &mut back).expect("read");
        assert_same(&back, &bench.disk, name);
        image.close().expect("closed");
        judge_file(&path, name);
        let raw = bench.dir.file("out.raw");
        bench.oracle.convert((&path, "qcow2"), (&raw, "raw")).expect("converted");
        assert_same(&std::fs::read(&raw).expect("read"), &bench.disk, name);
    }
}

#[test]
fn preallocated_images_of_either_side() {
    each("preallocation", |bench, version, bits| {
        let compat = if version == Version::V2 { "0.10" } else { "1.1" };
        for theirs in [true, false] {
            bench.start(Maker::Ours, version, bits, 16);
            let size = bench.size();
            if theirs {
                let options =
                    format!("cluster_size={},compat={compat},preallocation=metadata", 1 << bits);
                bench.oracle.create(&bench.image, &options, size).expect("created");
            } else {
                CreateOptions::new(size)
                    .version(version)
                    .cluster_size(1 << bits)
                    .preallocation(Preallocation::Metadata)
                    .create(&bench.image)
                    .expect("created")
                    .close()
                    .expect("closed");
            }
            let what = format!("{version:?}, {bits} bits, made by theirs: {theirs}");
            bench.judge(&what);
            let len = std::fs::metadata(&bench.image).expect("there").len();
            let mut script = Script::new(3 + u64::from(bits), 1 << bits, size);
            let writes = |ops: Vec<Op>| -> Vec<Op> {
                ops.into_iter().filter(|op| matches!(op, Op::Write { .. })).collect()
            };
            let ops = writes(script.ops(20));
            bench.write_ours(&ops);
            bench.judge(&what);
            let ops = writes(script.ops(20));
            bench.write_qemu(&ops);
            bench.judge(&what);
            // Everything had its place before.
            assert_eq!(std::fs::metadata(&bench.image).expect("there").len(), len, "{what}");
            let ops = script.ops(20);
            bench.write_ours(&ops);
            bench.judge(&what);
        }
    });
}

/// Zero clusters that keep their place, made by either side, are written by the other.
#[test]
fn zero_clusters_with_a_place_of_their_own() {
    let Some(mut bench) = Bench::new("zero-clusters") else { return };
    for bits in CLUSTERS {
        for theirs in [true, false] {
            bench.start(Maker::Qemu, Version::V3, bits, 16);
            let cluster = 1_u64 << bits;
            let make = [
                Op::Write { at: 0, len: 4 * cluster, byte: 0xaa },
                Op::Flush,
                Op::Zero { at: 0, len: 4 * cluster, unmap: false },
            ];
            let what = format!("{bits} bits, made by theirs: {theirs}");
            if theirs {
                bench.write_qemu(&make);
            } else {
                bench.write_ours(&make);
            }
            bench.judge(&what);
            let len = std::fs::metadata(&bench.image).expect("there").len();
            // A part of the first, all of the second, a border in the middle of the last two.
            let refill = [
                Op::Write { at: 7, len: cluster / 2, byte: 1 },
                Op::Write { at: cluster, len: cluster, byte: 2 },
                Op::Write { at: 3 * cluster - 3, len: 7, byte: 3 },
            ];
            if theirs {
                bench.write_ours(&refill);
            } else {
                bench.write_qemu(&refill);
            }
            bench.judge(&what);
            assert_eq!(std::fs::metadata(&bench.image).expect("there").len(), len, "{what}");
        }
    }
}
