//! Single-threaded allocation places clusters where the other side places them: both write the same
//! commands to equal images, and every table and data cluster is at the same offset.

mod interop;

use holstein::OpenOptions;
use holstein::format::Version;
use holstein_testkit::Rng;
use holstein_tests::{Bytes, backing};
use interop::{Bench, Maker, Op, assert_same};

/// Every entry of the tables that says where something is: header fields, L1, L2, refcount table.
fn tables(image: &std::path::Path) -> Vec<(String, u64)> {
    let bytes = std::fs::read(image).expect("the image");
    let number = |at: u64| -> u64 {
        bytes
            .get(at as usize..at as usize + 8)
            .map_or(0, |b| u64::from_be_bytes(b.try_into().expect("8 bytes")))
    };
    let cluster = 1_u64 << (number(16) & 0xffff_ffff);
    let (l1_entries, l1) = (number(36) >> 32, number(40));
    let (refcounts, refcount_clusters) = (number(48), number(56) >> 32);
    let mut all = vec![
        ("l1 table".to_owned(), l1),
        ("refcount table".to_owned(), refcounts),
        ("refcount table clusters".to_owned(), refcount_clusters),
    ];
    for n in 0..l1_entries {
        let entry = number(l1 + n * 8);
        all.push((format!("l1 entry {n}"), entry));
        let table = entry & 0x00ff_ffff_ffff_fe00;
        if table != 0 {
            let entries = (0..cluster / 8).map(|m| number(table + m * 8));
            all.extend((0..).zip(entries).map(|(m, e): (u64, u64)| (format!("l2 {n}/{m}"), e)));
        }
    }
    for n in 0..refcount_clusters * cluster / 8 {
        all.push((format!("refcount table entry {n}"), number(refcounts + n * 8)));
    }
    all
}

/// Writes `ops` to two equal images and compares.
fn check(bench: &mut Bench, what: &str, ops: &[Op]) {
    same_tables(bench, what, &OpenOptions::new(), ops);
    bench.judge(what);
}

/// Writes `ops` to two equal images, to ours as it opens with `options`, and compares their tables.
fn same_tables(bench: &mut Bench, what: &str, options: &OpenOptions, ops: &[Op]) {
    let theirs = bench.dir.file("theirs.qcow2");
    std::fs::copy(&bench.image, &theirs).expect("copied");
    bench.write_ours_with(options, ops);
    let ours = bench.image.clone();
    bench.image = theirs.clone();
    let commands: Vec<String> = ops.iter().map(|op| op.command()).collect();
    bench.qemu_io(&[], &commands);
    bench.image = ours.clone();
    let (a, b) = (tables(&ours), tables(&theirs));
    let differ: Vec<String> = a
        .iter()
        .zip(&b)
        .filter(|(a, b)| a != b)
        .map(|((place, ours), (_, theirs))| format!("{place}: {ours:#x}, not {theirs:#x}"))
        .collect();
    let shown = differ.iter().take(8).map(String::as_str).collect::<Vec<_>>().join("; ");
    assert!(a == b, "{what}: {} of {} entries differ: {shown}", differ.len(), a.len());
}

fn sequential(size: u64, step: u64) -> Vec<Op> {
    (0..size.div_ceil(step))
        .map(|n| Op::Write {
            at: n * step,
            len: step.min(size - n * step),
            byte: 1 + (n % 255) as u8,
        })
        .collect()
}

fn random(seed: u64, size: u64, cluster: u64, n: u64) -> Vec<Op> {
    let mut rng = Rng::new(seed);
    (0..n)
        .map(|_| {
            let at = rng.below(size / 512) * 512;
            let len = (1 + rng.below(3 * cluster / 512)) * 512;
            Op::Write { at, len: len.min(size - at), byte: 1 + rng.below(255) as u8 }
        })
        .collect()
}

fn each(name: &str, f: impl Fn(&mut Bench, u32, u32)) {
    let Some(mut bench) = Bench::new(name) else { return };
    for (bits, width) in [(9, 16), (9, 64), (9, 1), (12, 16), (16, 16), (21, 16)] {
        f(&mut bench, bits, width);
    }
}

#[test]
fn sequential_writes() {
    each("sequential", |bench, bits, width| {
        for step in [1_u64 << bits, 1 << bits >> 1, 3 << bits, (1 << bits) + 512] {
            if step * 400 < bench_size(bits) {
                continue;
            }
            bench.start(Maker::Qemu, Version::V3, bits, width);
            let ops = sequential(bench.size(), step);
            check(bench, &format!("{bits} bits, width {width}, steps of {step}"), &ops);
        }
    });
}

/// The size that [`Bench::start`] gives.
fn bench_size(bits: u32) -> u64 {
    (5_u64 << bits).max(1 << 20) + 3 * 512
}

#[test]
fn one_write_of_the_whole_disk() {
    each("whole", |bench, bits, width| {
        bench.start(Maker::Qemu, Version::V3, bits, width);
        let len = bench.size();
        check(bench, &format!("{bits} bits, width {width}"), &[Op::Write { at: 0, len, byte: 7 }]);
    });
}

#[test]
fn random_writes() {
    each("random", |bench, bits, width| {
        for seed in 0..3 {
            bench.start(Maker::Qemu, Version::V3, bits, width);
            let ops = random(seed, bench.size(), 1 << bits, 120);
            check(bench, &format!("{bits} bits, width {width}, seed {seed}"), &ops);
        }
    });
}

/// Disks that take many refcount blocks. Where a larger refcount table goes is up to each side: it is
/// first needed at 2 MiB of 512-byte clusters with 64-bit counters, and at 16 TiB with the defaults.
#[test]
fn growth_of_refcount_blocks() {
    let Some(mut bench) = Bench::new("growth") else { return };
    for (bits, width, size) in [(9, 64, 1800 << 10), (9, 16, 7 << 20), (12, 64, 24 << 20)] {
        bench.start(Maker::Qemu, Version::V3, bits, width);
        bench.disk = vec![0; size];
        let options = format!("cluster_size={},refcount_bits={width}", 1 << bits);
        bench.oracle.create(&bench.image, &options, size as u64).expect("created");
        let ops = sequential(size as u64, 64 << 10);
        check(&mut bench, &format!("{bits} bits, width {width}"), &ops);
    }
}

/// Which subclusters have data and which are zeros, after writes and zeros of parts of clusters, is in
/// every bit what the other side says.
#[test]
fn subclusters_of_extended_entries() {
    let Some(mut bench) = Bench::new("extended") else { return };
    for bits in [14, 16, 21] {
        for seed in 0..4 {
            bench.start(Maker::Qemu, Version::V3, bits, 16);
            let options = format!("cluster_size={},extended_l2=on", 1 << bits);
            let size = bench.size();
            bench.oracle.create(&bench.image, &options, size).expect("created");
            bench.disk.fill(0);
            let sub = 1_u64 << bits >> 5;
            let mut rng = Rng::new(seed + u64::from(bits));
            let mut ops = random(seed, size, sub, 60);
            ops.extend(random(seed + 100, size, 1 << bits, 10));
            for op in &mut ops {
                // Some are zeros, most of whole subclusters.
                if let (Op::Write { at, len, .. }, 0) = (&*op, rng.below(3)) {
                    let at = at / sub * sub;
                    let len = len.next_multiple_of(sub).min(size - at);
                    // What unmapping frees is used again later by ours than by theirs.
                    *op = Op::Zero { at, len, unmap: false };
                }
            }
            check(&mut bench, &format!("extended, {bits} bits, seed {seed}"), &ops);
        }
    }
}

/// Zeros up to the end of a disk that ends within a cluster and within a subcluster, and discards of what
/// no cluster is behind, change the bits that the other side changes and no others.
#[test]
fn zeros_and_discards_of_extended_entries() {
    let Some(mut bench) = Bench::new("extended-zeros") else { return };
    for bits in [14, 16, 21] {
        let (cluster, sub) = (1_u64 << bits, 1_u64 << bits >> 5);
        for (seed, unmap) in [(1, false), (2, true), (3, false), (4, true)] {
            bench.start(Maker::Qemu, Version::V3, bits, 16);
            let options = format!("cluster_size={cluster},extended_l2=on");
            let size = 5 * cluster + (3 * seed * sub) + 512 * (seed % 2);
            bench.oracle.create(&bench.image, &options, size).expect("created");
            bench.disk = vec![0; size as usize];
            let last = 5 * cluster;
            let ops = [
                // Zeros where nothing was, of subclusters and of a cluster, and discards of them.
                Op::Zero { at: sub, len: 2 * sub, unmap: false },
                Op::Zero { at: cluster, len: cluster, unmap: false },
                Op::Discard { at: 0, len: 4 * cluster },
                Op::Write { at: 4 * cluster, len: cluster, byte: 1 },
                Op::Write { at: last, len: sub, byte: 2 },
                // From within the last cluster to the end, and again from its start.
                Op::Zero { at: last + sub, len: size - last - sub, unmap },
                Op::Zero { at: 4 * cluster + 5 * sub, len: 3 * sub, unmap },
                Op::Zero { at: last, len: size - last, unmap },
            ];
            check(&mut bench, &format!("extended zeros, {bits} bits, seed {seed}"), &ops);
        }
    }
}

/// Where the format has no zero flag, zeros are data, whose clusters lie where the other side puts them:
/// in a row for as much as one request covers.
#[test]
fn zeros_that_are_written_as_data() {
    let Some(mut bench) = Bench::new("zero-data") else { return };
    for bits in [9, 12, 16, 20] {
        bench.start(Maker::Qemu, Version::V2, bits, 16);
        let size = bench.size();
        bench.disk.fill(7);
        std::fs::write(bench.dir.file("below.raw"), &bench.disk).expect("written");
        let options = format!("compat=0.10,cluster_size={}", 1 << bits);
        bench.overlay(&options, ("below.raw", "raw"), size);
        // Leaves the place of a cluster free that is too small for the row.
        let cluster = 1_u64 << bits;
        let gap = ["write -q -c -P 1 0", "write -q -P 2 0"];
        bench.qemu_io(&[], &gap.map(|write| format!("{write} {cluster}")));
        bench.disk[..cluster as usize].fill(2);
        let ops = [
            Op::Zero { at: cluster, len: 128 << 10, unmap: false },
            Op::Zero { at: cluster + (129 << 10), len: size - cluster - (130 << 10), unmap: false },
        ];
        let open = OpenOptions::new().backing(backing(Bytes(bench.disk.clone())));
        let what = format!("zeros as data, {bits} bits");
        same_tables(&mut bench, &what, &open, &ops);
        bench.judge_structure(&what);
        assert_same(&bench.read_qemu(None), &bench.disk, &what);
    }
}
