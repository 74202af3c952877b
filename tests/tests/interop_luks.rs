//! Images under LUKS, made by theirs and written by both sides in turn.

mod interop;

use std::sync::Arc;

use holstein::luks::Limits;
use holstein::storage::{FileOptions, FileStorage, LockMode};
use holstein::{ErrorKind, OpenOptions};
use interop::encrypted::{
    PASSPHRASE, create_theirs, judge, options, read_theirs, secret, with_secret, write_theirs,
};
use interop::{Bench, Script, assert_same};

/// Making an image takes theirs a second or two, whatever time it is asked for: not every set-up of ciphers
/// is made with every kind of image.
#[test]
fn both_sides_encrypt_in_turn() {
    let Some(mut bench) = Bench::new("luks") else { return };
    for (bits, list) in [
        (16_u32, "compat=0.10"),
        (9, "encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=plain"),
        (12, "encrypt.cipher-alg=aes-256,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv"),
        (14, "extended_l2=on,encrypt.cipher-alg=aes-192,encrypt.hash-alg=sha512"),
        (16, "compression_type=zstd,encrypt.cipher-alg=aes-128,encrypt.hash-alg=sha1"),
    ] {
        bench.cluster = 1 << bits;
        bench.disk = vec![0; (1 << 20) + 3 * 512];
        let cluster = bench.cluster;
        let list =
            format!("encrypt.format=luks,encrypt.iter-time=10,cluster_size={cluster},{list}");
        create_theirs(&bench, &list).expect("created");
        let mut script = Script::new(u64::from(bits), bench.cluster, bench.size());
        for round in 0..2 {
            let what = format!("{list}, round {round}");
            bench.write_ours_with(&options(), &script.ops(15));
            judge(&bench, &format!("{what}: by ours"));
            write_theirs(&mut bench, &script.ops(10));
            judge(&bench, &format!("{what}: by theirs"));
        }
    }
}

/// An image of theirs with a disk of 1 MiB in clusters of 4 KiB.
fn small(name: &str, more: &str) -> Option<Bench> {
    let mut bench = Bench::new(name)?;
    bench.cluster = 4096;
    bench.disk = vec![0; 1 << 20];
    let list = format!("encrypt.format=luks,encrypt.iter-time=10,cluster_size=4096{more}");
    create_theirs(&bench, &list).expect("created");
    Some(bench)
}

#[test]
fn only_the_passphrase_opens_and_nothing_changes_before_it() {
    let Some(mut bench) = small("luks-passphrase", ",lazy_refcounts=on") else { return };
    write_theirs(&mut bench, &Script::new(1, 4096, 1 << 20).ops(10));
    // As after a crash under lazy refcounts: the next opening for writing repairs.
    let mut bytes = std::fs::read(&bench.image).expect("the image");
    bytes[79] |= 1;
    std::fs::write(&bench.image, &bytes).expect("written");
    let kind = |options: &OpenOptions| {
        let error = options.open(&bench.image).expect_err("it is locked").kind();
        assert_eq!(options.open_read_only(&bench.image).expect_err("locked").kind(), error);
        error
    };
    assert_eq!(kind(&OpenOptions::new()), ErrorKind::NeedsPassphrase);
    let wrong = OpenOptions::new().passphrase(secret("correct horse batterz"));
    assert_eq!(kind(&wrong), ErrorKind::WrongPassphrase);
    let hasty = options().luks_limits(Limits { digests: 1000 });
    assert_eq!(kind(&hasty), ErrorKind::Unsupported);
    assert!(std::fs::read(&bench.image).expect("the image") == bytes);
    options().open(&bench.image).expect("opened").close().expect("closed");
    judge(&bench, "opened");
    assert!(!format!("{:?}", options()).contains(PASSPHRASE));
}

#[test]
fn snapshots_of_both_sides_show_what_was() {
    let Some(mut bench) = small("luks-snapshots", "") else { return };
    let mut script = Script::new(5, bench.cluster, bench.size());
    bench.write_ours_with(&options(), &script.ops(20));
    let then = bench.disk.clone();
    let image = options().open(&bench.image).expect("opened");
    image.create_snapshot("ours").expect("taken");
    image.close().expect("closed");
    bench.write_ours_with(&options(), &script.ops(20));
    judge(&bench, "behind a snapshot");
    write_theirs(&mut bench, &script.ops(20));
    judge(&bench, "behind a snapshot, by theirs");
    let image = options().open_read_only(&bench.image).expect("opened");
    let reader = image.snapshot_reader("ours").expect("listed");
    let mut back = vec![0; then.len()];
    reader.read_at(0, &mut back).expect("read");
    assert_same(&back, &then, "the snapshot");
    drop((reader, image));
    let image = options().open(&bench.image).expect("opened");
    image.apply_snapshot("ours").expect("applied");
    image.close().expect("closed");
    bench.disk = then;
    judge(&bench, "applied");
}

/// Payload in a data file is encrypted by its place there.
#[test]
fn data_files_are_encrypted_by_their_places() {
    for raw in ["off", "on"] {
        let mut bench = {
            let Some(mut bench) = Bench::new("luks-data-file") else { return };
            bench.cluster = 65536;
            bench.disk = vec![0; 1 << 20];
            let data = bench.dir.file("data").display().to_string();
            let list = format!(
                "encrypt.format=luks,encrypt.iter-time=10,data_file={data},data_file_raw={raw}"
            );
            create_theirs(&bench, &list).expect("created");
            bench
        };
        let mut script = Script::new(8, bench.cluster, bench.size());
        let data = || {
            let file = FileOptions { write: true, lock: LockMode::None, ..FileOptions::default() };
            Arc::new(FileStorage::open(bench.dir.file("data"), &file).expect("it is there"))
        };
        // Space of theirs that was prepared reads as noise.
        let whole = options().data_file(data()).open(&bench.image).expect("opened");
        whole.write_at(0, &bench.disk).expect("written");
        whole.close().expect("closed");
        let ours = options().data_file(data());
        let ops = script.ops(15);
        bench.write_ours_with(&ours, &ops);
        assert_same(&read_theirs(&bench), &bench.disk, "by ours");
        write_theirs(&mut bench, &script.ops(10));
        assert_same(&read_theirs(&bench), &bench.disk, "by theirs");
        let mut back = vec![0; bench.disk.len()];
        let image = ours.open_read_only(&bench.image).expect("opened");
        image.read_at(0, &mut back).expect("read");
        assert_same(&back, &bench.disk, "ours, of theirs");
    }
}

/// Streams are plain: those of other writers are read, ours writes none.
#[test]
fn streams_of_a_luks_image_are_read_and_not_written() {
    let Some(mut bench) = small("luks-compressed", "") else { return };
    let [object, data, opts, image] = with_secret(&bench);
    let run = std::process::Command::new(bench.oracle.qemu_io())
        .args([&object, &data, &opts])
        .args(["-c", "write -q -c -P 3 4k 8k", "-c", "write -q -P 4 0 4k"])
        .arg(&image)
        .output()
        .expect("qemu-io starts");
    assert!(run.status.success());
    bench.disk[..4096].fill(4);
    bench.disk[4096..3 * 4096].fill(3);
    judge(&bench, "as made");
    let ours = options().open(&bench.image).expect("opened");
    let refused = ours.write_compressed_at(512 << 10, &[1; 4096]).expect_err("it would tell");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    ours.write_at(5000, &[9; 100]).expect("written");
    ours.close().expect("closed");
    bench.disk[5000..5100].fill(9);
    judge(&bench, "changed");
}
