//! Images whose clusters both sides compress in turn, in every size of clusters and width of counts.

mod interop;

use std::sync::atomic::{AtomicU64, Ordering};

use holstein::format::{CompressionType, Version};
use holstein::{CreateOptions, OpenOptions};
use holstein_testkit::Rng;
use interop::{Bench, Maker, Op, Script, assert_same};

/// Bytes of which a part, from none to all, is noise: streams of all lengths, and some that do not
/// get shorter.
fn content(len: usize, rng: &mut Rng) -> Vec<u8> {
    let byte = 1 + rng.below(255) as u8;
    let noise = len * rng.below(9) as usize / 8;
    let mut bytes: Vec<u8> = (0..noise).map(|_| rng.below(256) as u8).collect();
    bytes.resize(len, byte);
    bytes
}

/// Clusters, the last of the disk often among them, with what is to be in them.
fn clusters(bench: &Bench, rng: &mut Rng) -> Vec<(u64, Vec<u8>)> {
    let all = bench.size().div_ceil(bench.cluster);
    (0..8)
        .map(|n| {
            let cluster = if n == 3 { all - 1 } else { rng.below(all) };
            let at = cluster * bench.cluster;
            let len = bench.cluster.min(bench.size() - at);
            (at, content(len as usize, rng))
        })
        .collect()
}

fn model(bench: &mut Bench, clusters: &[(u64, Vec<u8>)]) {
    for (at, bytes) in clusters {
        bench.disk[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
    }
}

/// Each cluster is given up and written compressed.
fn compress_ours(bench: &mut Bench, clusters: &[(u64, Vec<u8>)]) {
    let image = OpenOptions::new().open(&bench.image).expect("opened");
    for (at, bytes) in clusters {
        image.discard(*at, bytes.len() as u64).expect("discarded");
        image.write_compressed_at(*at, bytes).unwrap_or_else(|e| panic!("at {at:#x}: {e}"));
    }
    image.close().expect("closed");
    model(bench, clusters);
}

fn compress_qemu(bench: &mut Bench, clusters: &[(u64, Vec<u8>)]) {
    let mut commands = Vec::new();
    for (n, (at, bytes)) in clusters.iter().enumerate() {
        let file = bench.dir.file(&format!("c{n}"));
        std::fs::write(&file, bytes).expect("written");
        commands.push(format!("discard -q {at} {}", bytes.len()));
        commands.push(format!("write -q -c -s {} {at} {}", file.display(), bytes.len()));
    }
    bench.qemu_io(&[], &commands);
    model(bench, clusters);
}

#[test]
fn both_sides_compress_in_turn() {
    let Some(mut bench) = Bench::new("compressed-turns") else { return };
    let kinds = [
        (Version::V2, 9, 16),
        (Version::V3, 9, 1),
        (Version::V2, 12, 16),
        (Version::V3, 12, 2),
        (Version::V3, 16, 4),
        (Version::V3, 16, 64),
        (Version::V2, 21, 16),
    ];
    for (version, bits, width) in kinds {
        let maker = if width == 2 { Maker::Qemu } else { Maker::Ours };
        bench.start(maker, version, bits, width);
        let mut rng = Rng::new(u64::from(bits * 100 + width));
        let mut script = Script::new(u64::from(bits), 1 << bits, bench.size());
        for round in 0..3 {
            let what = format!("{version:?}, {bits} bits, width {width}, round {round}");
            let ours = clusters(&bench, &mut rng);
            compress_ours(&mut bench, &ours);
            bench.judge(&format!("{what}: compressed by ours"));
            bench.write_qemu(&script.ops(4));
            let theirs = clusters(&bench, &mut rng);
            compress_qemu(&mut bench, &theirs);
            bench.write_ours(&script.ops(6));
            bench.judge(&format!("{what}: compressed by theirs, changed by ours"));
        }
        // All space of streams is given back.
        let len = bench.size();
        bench.write_ours(&[Op::Zero { at: 0, len, unmap: true }]);
        bench.judge(&format!("{version:?}, {bits} bits: zeroed"));
    }
}

/// The same under zstd, in an image that one side makes and both change.
#[test]
fn both_sides_compress_in_turn_with_zstd() {
    let Some(mut bench) = Bench::new("zstd-turns") else { return };
    for (bits, ours) in [(9_u32, true), (12, false), (16, true), (21, false)] {
        bench.cluster = 1 << bits;
        let size = (5 * bench.cluster).max(1 << 20) + 3 * 512;
        bench.disk = vec![0; size as usize];
        if ours {
            let image = CreateOptions::new(size)
                .cluster_size(bench.cluster)
                .compression(CompressionType::Zstd)
                .create(&bench.image)
                .expect("created");
            image.close().expect("closed");
        } else {
            let options = format!("cluster_size={},compression_type=zstd", bench.cluster);
            if let Err(error) = bench.oracle.create(&bench.image, &options, size) {
                eprintln!("skipped: the oracle makes no such images: {error}");
                return;
            }
        }
        let mut rng = Rng::new(u64::from(bits));
        let mut script = Script::new(u64::from(bits), bench.cluster, size);
        for round in 0..2 {
            let mine = clusters(&bench, &mut rng);
            compress_ours(&mut bench, &mine);
            bench.judge(&format!("{bits} bits, round {round}: compressed by ours"));
            let theirs = clusters(&bench, &mut rng);
            compress_qemu(&mut bench, &theirs);
            bench.write_ours(&script.ops(6));
            bench.judge(&format!("{bits} bits, round {round}: changed by ours"));
        }
    }
}

/// Streams of a snapshot are shared, and stay when ours goes on compressing and overwriting.
#[test]
fn streams_of_snapshots_stay() {
    let Some(mut bench) = Bench::new("compressed-snapshots") else { return };
    for bits in [9, 12, 16] {
        bench.start(Maker::Ours, Version::V3, bits, 4);
        let mut rng = Rng::new(u64::from(bits));
        let first = clusters(&bench, &mut rng);
        compress_ours(&mut bench, &first);
        let image = bench.image.display().to_string();
        bench.oracle.img_ok(["snapshot", "-c", "one", &image]).expect("a snapshot");
        let then = bench.disk.clone();
        for round in 0..3 {
            let more = clusters(&bench, &mut rng);
            compress_ours(&mut bench, &more);
            let (at, bytes) = &more[0];
            let op = Op::Write { at: at + 1, len: bytes.len() as u64 / 2, byte: 7 };
            bench.write_ours(&[op]);
            bench.judge(&format!("{bits} bits, round {round}"));
            assert_same(&bench.read_qemu(Some("one")), &then, "the snapshot");
        }
        bench.oracle.img_ok(["snapshot", "-d", "one", &image]).expect("deleted");
        bench.judge(&format!("{bits} bits: without the snapshot"));
    }
}

/// Threads that compress beside each other, and others that write and discard between them.
#[test]
fn threads_compress_beside_each_other() {
    let Some(mut bench) = Bench::new("compressed-threads") else { return };
    for (bits, width) in [(12, 2), (16, 16)] {
        bench.start(Maker::Ours, Version::V3, bits, width);
        let all = bench.size().div_ceil(bench.cluster);
        let mut rng = Rng::new(5);
        let contents: Vec<(u64, Vec<u8>)> = (0..all)
            .map(|cluster| {
                let at = cluster * bench.cluster;
                (at, content(bench.cluster.min(bench.size() - at) as usize, &mut rng))
            })
            .collect();
        let image = OpenOptions::new().open(&bench.image).expect("opened");
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let Some((at, bytes)) = contents.get(n as usize) else { return };
                        let len = bytes.len() as u64;
                        image.write_compressed_at(*at, bytes).expect("compressed");
                        match n % 8 {
                            // Once more: its first room is given back while others ask for some.
                            1 => {
                                image.discard(*at, len).expect("discarded");
                                image.write_compressed_at(*at, bytes).expect("compressed again");
                            }
                            3 => image.write_at(*at, &bytes[..len as usize / 2]).expect("written"),
                            5 => image.flush().expect("flushed"),
                            _ => {}
                        }
                    }
                });
            }
        });
        image.close().expect("closed");
        model(&mut bench, &contents);
        bench.judge(&format!("{bits} bits, width {width}"));
    }
}
