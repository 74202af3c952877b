//! Images with extended L2 entries, changed by both sides in turn.

mod interop;

use holstein::{CreateOptions, OpenOptions};
use holstein_tests::{Bytes, backing};
use interop::{Bench, Maker, Op, Script, assert_same};

/// Of 16 KiB, the least there is, 64 KiB, and 2 MiB: subclusters of 512 bytes, 2 KiB and 64 KiB.
const CLUSTERS: [u32; 3] = [14, 16, 21];

fn each(name: &str, mut f: impl FnMut(&mut Bench, u32)) {
    let Some(mut bench) = Bench::new(name) else { return };
    for bits in CLUSTERS {
        bench.cluster = 1 << bits;
        let size = (5_u64 << bits).max(1 << 20) + 3 * 512;
        bench.disk = vec![0; size as usize];
        f(&mut bench, bits);
    }
}

/// Changes of about a subcluster among changes of whole clusters.
fn ops(seed: u64, bench: &Bench) -> Vec<Op> {
    let mut ops = Script::new(seed, bench.cluster >> 5, bench.size()).ops(20);
    ops.extend(Script::new(seed + 1000, bench.cluster, bench.size()).ops(5));
    ops
}

#[test]
fn both_sides_write_in_turn() {
    each("extended-turns", |bench, bits| {
        for maker in [Maker::Ours, Maker::Qemu] {
            bench.disk.fill(0);
            match maker {
                Maker::Ours => CreateOptions::new(bench.size())
                    .cluster_size(bench.cluster)
                    .extended_l2(true)
                    .create(&bench.image)
                    .expect("a new image")
                    .close()
                    .expect("closed"),
                Maker::Qemu => {
                    let options = format!("cluster_size={},extended_l2=on", bench.cluster);
                    bench.oracle.create(&bench.image, &options, bench.size()).expect("created");
                }
            }
            for round in 0..4 {
                bench.write_ours(&ops(round, bench));
                bench.judge(&format!("extended, {bits} bits, ours, round {round}"));
                bench.write_qemu(&ops(round + 50, bench));
                bench.judge(&format!("extended, {bits} bits, theirs, round {round}"));
            }
        }
    });
}

/// A write to a cluster that a snapshot holds copies what it must; the snapshot stays.
#[test]
fn shared_clusters_are_copied_by_subcluster() {
    each("extended-shared", |bench, bits| {
        let options = format!("cluster_size={},extended_l2=on", bench.cluster);
        bench.oracle.create(&bench.image, &options, bench.size()).expect("created");
        bench.write_qemu(&ops(7, bench));
        let kept = bench.disk.clone();
        let image = bench.image.display().to_string();
        bench.oracle.img_ok(["snapshot", "-c", "kept", &image]).expect("a snapshot");
        for round in 0..3 {
            bench.write_ours(&ops(round + 20, bench));
            bench.judge(&format!("extended, {bits} bits, shared, round {round}"));
            assert_same(&bench.read_qemu(Some("kept")), &kept, "the snapshot");
        }
        bench.oracle.img_ok(["snapshot", "-d", "kept", &image]).expect("deleted");
        bench.judge(&format!("extended, {bits} bits, without the snapshot"));
    });
}

/// Subclusters that were not written show what is below, beside those that were; compressed clusters
/// are written over in part.
#[test]
fn overlays_and_compressed_clusters() {
    each("extended-below", |bench, bits| {
        let size = bench.size();
        // Shorter than the overlay, and not ending with a subcluster.
        let below: Vec<u8> =
            (0..size * 3 / 4 / 512 * 512).map(|n| (n / 512 * 37 + n % 251) as u8).collect();
        let raw = bench.dir.file("below.raw");
        std::fs::write(&raw, &below).expect("written");
        let options = format!("cluster_size={},extended_l2=on", bench.cluster);
        bench.overlay(&options, ("below.raw", "raw"), size);
        bench.disk[..below.len()].copy_from_slice(&below);
        let open = || OpenOptions::new().backing(backing(Bytes(below.clone())));
        // Some clusters of the overlay are compressed.
        let cluster = bench.cluster;
        let half = vec![0x2f_u8; cluster as usize];
        let compressed: Vec<String> = (0..size / cluster)
            .step_by(3)
            .map(|n| format!("write -q -c -P 47 {} {cluster}", n * cluster))
            .collect();
        bench.qemu_io(&[], &compressed);
        for n in (0..size / cluster).step_by(3) {
            let at = (n * cluster) as usize;
            bench.disk[at..at + half.len()].copy_from_slice(&half);
        }
        for round in 0..3 {
            let what = format!("extended, {bits} bits, overlay, round {round}");
            let now = ops(round + 70, bench);
            bench.write_ours_with(&open(), &now);
            bench.judge_structure(&what);
            assert_same(&bench.read_qemu(None), &bench.disk, &what);
            let now = ops(round + 90, bench);
            bench.write_qemu(&now);
            bench.judge_structure(&what);
            let image = open().open_read_only(&bench.image).expect("opened");
            let mut back = vec![0; bench.disk.len()];
            image.read_at(0, &mut back).expect("read");
            assert_same(&back, &bench.disk, &format!("{what}: ours after theirs"));
        }
    });
}
