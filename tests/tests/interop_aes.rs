//! Images under the first encryption of the format, written by both sides in turn.

mod interop;

use holstein::format::Version;
use holstein::{CreateOptions, ErrorKind, OpenOptions, Preallocation};
use interop::encrypted::{self, PASSPHRASE, judge, options, secret, with_secret, write_theirs};
use interop::{Bench, Script};

fn create_theirs(bench: &Bench, version: Version, cluster: u64) -> Result<(), String> {
    let compat = if version == Version::V2 { "0.10" } else { "1.1" };
    encrypted::create_theirs(
        bench,
        &format!("encrypt.format=aes,cluster_size={cluster},compat={compat}"),
    )
}

#[test]
fn both_sides_encrypt_in_turn() {
    let Some(mut bench) = Bench::new("aes") else { return };
    for (version, bits, ours) in [
        (Version::V3, 16_u32, true),
        (Version::V3, 9, true),
        (Version::V2, 12, true),
        (Version::V3, 12, false),
        (Version::V2, 16, false),
    ] {
        bench.cluster = 1 << bits;
        bench.disk = vec![0; (1 << 20) + 3 * 512];
        if ours {
            CreateOptions::new(bench.size())
                .version(version)
                .cluster_size(bench.cluster)
                .legacy_aes(secret(PASSPHRASE))
                .create(&bench.image)
                .expect("created")
                .close()
                .expect("closed");
        } else if let Err(error) = create_theirs(&bench, version, bench.cluster) {
            // Some builds leave the old cipher out.
            eprintln!("skipped: the oracle makes no such images: {error}");
            return;
        }
        let mut script = Script::new(u64::from(bits), bench.cluster, bench.size());
        for round in 0..3 {
            let what = format!("{version:?}, {bits} bits, round {round}");
            bench.write_ours_with(&options(), &script.ops(15));
            judge(&bench, &format!("{what}: by ours"));
            write_theirs(&mut bench, &script.ops(10));
            judge(&bench, &format!("{what}: by theirs"));
        }
    }
}

/// Streams are plain in encrypted images: those of other writers are read, ours writes none.
#[test]
fn compressed_clusters_of_an_encrypted_image_are_read_and_not_written() {
    let Some(mut bench) = Bench::new("aes-compressed") else { return };
    bench.cluster = 65536;
    bench.disk = vec![0; 1 << 20];
    if let Err(error) = create_theirs(&bench, Version::V3, bench.cluster) {
        eprintln!("skipped: the oracle makes no such images: {error}");
        return;
    }
    let [object, data, opts, image] = with_secret(&bench);
    let run = std::process::Command::new(bench.oracle.qemu_io())
        .args([&object, &data, &opts])
        .args(["-c", "write -q -c -P 3 64k 128k", "-c", "write -q -P 4 0 64k"])
        .arg(&image)
        .output()
        .expect("qemu-io starts");
    assert!(run.status.success());
    bench.disk[..65536].fill(4);
    bench.disk[65536..3 * 65536].fill(3);
    judge(&bench, "as made");
    let ours = options().open(&bench.image).expect("opened");
    let refused = ours.write_compressed_at(512 << 10, &[1; 65536]).expect_err("it would tell");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    // A part of a compressed cluster: the whole is encrypted from then on.
    ours.write_at(70_000, &[9; 100]).expect("written");
    ours.close().expect("closed");
    bench.disk[70_000..70_100].fill(9);
    judge(&bench, "changed");
}

#[test]
fn an_encrypted_image_wants_its_passphrase() {
    let file = std::sync::Arc::new(holstein::storage::MemStorage::new());
    let image = CreateOptions::new(1 << 20)
        .legacy_aes(secret("a"))
        .preallocation(Preallocation::Metadata)
        .create_on(file.clone())
        .expect("created");
    let mut bytes = vec![1; 4096];
    image.read_at(8192, &mut bytes).expect("read");
    assert_eq!(bytes, [0; 4096]);
    image.close().expect("closed");
    let error = OpenOptions::new().open_storage_read_only(file.clone()).expect_err("encrypted");
    assert_eq!(error.kind(), ErrorKind::NeedsPassphrase);
    let error = OpenOptions::new().open_storage(file.clone()).expect_err("encrypted");
    assert_eq!(error.kind(), ErrorKind::NeedsPassphrase);
    let options = OpenOptions::new().passphrase(secret("a"));
    options.open_storage(file).expect("opened").close().expect("closed");
    assert!(!format!("{options:?}").contains("\"a\""));
}
