//! Snapshots that one side takes and the other applies, reads and deletes.

#![forbid(unsafe_code)]

mod interop;

use holstein::format::Version;
use holstein::{Image, OpenOptions, SnapshotSelector};
use holstein_testkit::Rng;
use interop::{Bench, Maker, Script, assert_same};

/// Who does the next thing to the snapshots.
fn ours(rng: &mut Rng) -> bool {
    rng.coin()
}

fn open(bench: &Bench) -> Image {
    OpenOptions::new().open(&bench.image).expect("opened for writing")
}

fn img(bench: &Bench, action: &str, word: &str) {
    let image = bench.image.display().to_string();
    bench.oracle.img_ok(["snapshot", action, word, &image]).expect(action);
}

/// The snapshots read as they should, by both sides, and the list is the same.
fn judge(bench: &Bench, kept: &[(String, Vec<u8>)], what: &str) {
    bench.judge(what);
    let image = OpenOptions::new().open_read_only(&bench.image).expect("opened for reading");
    let listed: Vec<Vec<u8>> =
        image.snapshots().expect("listed").into_iter().map(|record| record.name).collect();
    let names: Vec<Vec<u8>> = kept.iter().map(|(name, _)| name.clone().into_bytes()).collect();
    assert_eq!(listed, names, "{what}");
    for (name, disk) in kept {
        let selector = SnapshotSelector::Name(name.as_bytes());
        let reader = image.snapshot_reader(selector).expect("it opens");
        assert_eq!(reader.virtual_size(), disk.len() as u64, "{what}: {name}");
        let mut found = vec![0; disk.len()];
        reader.read_at(0, &mut found).expect("read");
        assert_same(&found, disk, &format!("{what}: {name}, ours"));
        // Theirs reads it with the size of the disk.
        let mut found = bench.read_qemu(Some(&format!("snapshot.name={name}")));
        found.resize(disk.len(), 0);
        let common = disk.len().min(bench.disk.len());
        assert_same(&found[..common], &disk[..common], &format!("{what}: {name}, theirs"));
    }
}

fn sequence(bench: &mut Bench, maker: Maker, version: Version, bits: u32, width: u32, seed: u64) {
    bench.start(maker, version, bits, width);
    let mut rng = Rng::new(seed);
    let mut script = Script::new(seed, 1 << bits, bench.size());
    let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
    for step in 0..8 {
        let what = format!("{maker:?}, {version:?}, {bits} bits, width {width}, step {step}");
        let ops = script.ops(8);
        if ours(&mut rng) {
            bench.write_ours(&ops)
        } else {
            bench.write_qemu(&ops)
        }
        let most = if width == 2 { 2 } else { 4 };
        match rng.below(4) {
            0 | 1 if kept.len() < most => {
                let name = format!("s{step}");
                if ours(&mut rng) {
                    let image = open(bench);
                    image.create_snapshot(&name).expect("created");
                    image.close().expect("closed");
                } else {
                    img(bench, "-c", &name);
                }
                kept.push((name, bench.disk.clone()));
            }
            2 if !kept.is_empty() && width != 2 => {
                let (name, disk) = &kept[rng.below(kept.len() as u64) as usize];
                if ours(&mut rng) {
                    let image = open(bench);
                    image.apply_snapshot(name.as_str()).expect("applied");
                    image.close().expect("closed");
                } else {
                    img(bench, "-a", name);
                }
                bench.disk.clone_from(disk);
            }
            3 if !kept.is_empty() => {
                let (name, _) = kept.remove(rng.below(kept.len() as u64) as usize);
                if ours(&mut rng) {
                    let image = open(bench);
                    image.delete_snapshot(name.as_str()).expect("deleted");
                    image.close().expect("closed");
                } else {
                    img(bench, "-d", &name);
                }
            }
            _ => {}
        }
        judge(bench, &kept, &what);
    }
}

#[test]
fn either_side_applies_and_deletes_what_the_other_took() {
    let Some(mut bench) = Bench::new("snapshots of both") else { return };
    let mut seed = 0;
    for (version, bits, width) in [
        (Version::V3, 9, 16),
        (Version::V3, 12, 2),
        (Version::V3, 16, 16),
        (Version::V3, 16, 64),
        (Version::V2, 12, 16),
    ] {
        for maker in [Maker::Ours, Maker::Qemu] {
            seed += 1;
            sequence(&mut bench, maker, version, bits, width, seed);
        }
    }
}

/// The disk gets the size that a snapshot has, by either side.
#[test]
fn snapshots_of_other_sizes_bring_their_size_along() {
    let Some(mut bench) = Bench::new("snapshots of other sizes") else { return };
    for bits in [9, 16] {
        for ours in [true, false] {
            bench.start(Maker::Ours, Version::V3, bits, 16);
            let mut script = Script::new(3, 1 << bits, bench.size());
            bench.write_ours(&script.ops(20));
            let mut kept = vec![("small".to_owned(), bench.disk.clone())];
            let image = open(&bench);
            image.create_snapshot("small").expect("created");
            let size = bench.size() + 40 * 512;
            image.resize(size, holstein::Preallocation::Off).expect("grown");
            bench.disk.resize(size as usize, 0);
            image.write_at(size - 700, &[7; 700]).expect("written");
            let end = bench.disk.len();
            bench.disk[end - 700..].fill(7);
            image.create_snapshot("large").expect("created");
            image.close().expect("closed");
            kept.push(("large".to_owned(), bench.disk.clone()));
            for name in ["small", "large", "small"] {
                if ours {
                    let image = open(&bench);
                    image.apply_snapshot(name).expect("applied");
                    image.close().expect("closed");
                } else {
                    img(&bench, "-a", name);
                }
                bench.disk = kept.iter().find(|(n, _)| n == name).expect("kept").1.clone();
                judge(&bench, &kept, &format!("{bits} bits, ours {ours}, {name}"));
            }
        }
    }
}

/// VM state that one side wrote is read by the other, also from an applied snapshot.
#[test]
fn vm_state_lies_where_the_other_side_looks_for_it() {
    let Some(mut bench) = Bench::new("vm state") else { return };
    for bits in [9, 16] {
        bench.start(Maker::Ours, Version::V3, bits, 16);
        let image = open(&bench);
        image.write_vm_state(0, &[9; 5120]).expect("written");
        image.write_vm_state(5120, &[8; 70_144]).expect("written");
        image.close().expect("closed");
        bench.qemu_io(&[], &["read -b -q -P 9 0 5120".into(), "read -b -q -P 8 5120 70144".into()]);
        bench.judge_structure("ours");
        bench.qemu_io(&[], &["write -b -q -P 7 512 1024".into()]);
        let image = open(&bench);
        let mut state = [0; 2048];
        image.read_vm_state(0, &mut state).expect("read");
        assert!(state[..512].iter().all(|b| *b == 9) && state[512..1536].iter().all(|b| *b == 7));
        let mut new = holstein::NewSnapshot::named("with state");
        new.vm_state_size = 75_264;
        image.create_snapshot_with(&new, &mut holstein::NoProgress).expect("created");
        image.close().expect("closed");
        bench.judge_structure("taken");
        img(&bench, "-a", "with state");
        bench.qemu_io(
            &[],
            &["read -b -q -P 7 512 1024".into(), "read -b -q -P 8 5120 70144".into()],
        );
        img(&bench, "-d", "with state");
        bench.judge_structure("deleted");
    }
}
