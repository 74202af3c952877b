//! Images under the first encryption of the format, written by both sides in turn.

mod interop;

use holstein::format::Version;
use holstein::{CreateOptions, ErrorKind, OpenOptions, Preallocation, Secret};
use interop::{Bench, Script, assert_same};

const PASSPHRASE: &str = "correct horse battery";

fn secret(passphrase: &str) -> Secret {
    Secret::new(passphrase.as_bytes().to_vec())
}

fn options() -> OpenOptions {
    OpenOptions::new().passphrase(secret(PASSPHRASE))
}

/// Arguments of the oracle that name the image with its passphrase.
fn with_secret(bench: &Bench) -> [String; 4] {
    [
        "--object".to_owned(),
        format!("secret,id=s0,data={PASSPHRASE}"),
        "--image-opts".to_owned(),
        format!("driver=qcow2,encrypt.key-secret=s0,file.filename={}", bench.image.display()),
    ]
}

fn create_theirs(bench: &Bench, version: Version, cluster: u64) -> Result<(), String> {
    let [object, data, ..] = with_secret(bench);
    let compat = if version == Version::V2 { "0.10" } else { "1.1" };
    let list =
        format!("encrypt.format=aes,encrypt.key-secret=s0,cluster_size={cluster},compat={compat}");
    let (image, size) = (bench.image.display().to_string(), bench.size().to_string());
    bench
        .oracle
        .img_ok(["create", "-q", &object, &data, "-f", "qcow2", "-o", &list, &image, &size])
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The disk as the oracle reads it.
fn read_theirs(bench: &Bench) -> Vec<u8> {
    let [object, data, opts, image] = with_secret(bench);
    let raw = bench.dir.file("a.raw");
    let to = raw.display().to_string();
    bench
        .oracle
        .img_ok(["convert", &object, &data, &opts, "-O", "raw", &image, &to])
        .expect("converted");
    let bytes = std::fs::read(&raw).expect("the copy");
    std::fs::remove_file(&raw).expect("removed");
    bytes
}

fn write_theirs(bench: &mut Bench, ops: &[interop::Op]) {
    let [object, data, opts, image] = with_secret(bench);
    let mut run = std::process::Command::new(bench.oracle.qemu_io());
    run.args([&object, &data, &opts]).args(["-d", "unmap"]).stdin(std::process::Stdio::null());
    for op in ops {
        run.args(["-c", &op.command()]);
        op.model(&mut bench.disk, bench.cluster);
    }
    let output = run.arg(&image).output().expect("qemu-io starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !text.contains("failed"), "{text}");
}

fn judge(bench: &Bench, what: &str) {
    // Our check needs no passphrase; theirs does.
    interop::judge_file(&bench.image, what);
    let [object, data, opts, image] = with_secret(bench);
    bench.oracle.img_ok(["check", "-q", &object, &data, &opts, &image]).expect("clean");
    let image = options().open_read_only(&bench.image).expect("opened");
    let mut back = vec![0; bench.disk.len()];
    image.read_at(0, &mut back).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_same(&back, &bench.disk, &format!("{what}: ours"));
    assert_same(&read_theirs(bench), &bench.disk, &format!("{what}: theirs"));
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
