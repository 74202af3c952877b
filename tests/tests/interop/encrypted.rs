//! Images that both sides open with one passphrase.

use std::process::{Command, Stdio};

use holstein::{OpenOptions, Secret};

use super::{Bench, Op, assert_same, judge_file};

pub(crate) const PASSPHRASE: &str = "correct horse battery";

pub(crate) fn secret(passphrase: &str) -> Secret {
    Secret::new(passphrase.as_bytes().to_vec())
}

pub(crate) fn options() -> OpenOptions {
    OpenOptions::new().passphrase(secret(PASSPHRASE))
}

/// Arguments of the oracle that name the image with its passphrase.
pub(crate) fn with_secret(bench: &Bench) -> [String; 4] {
    [
        "--object".to_owned(),
        format!("secret,id=s0,data={PASSPHRASE}"),
        "--image-opts".to_owned(),
        format!("driver=qcow2,encrypt.key-secret=s0,file.filename={}", bench.image.display()),
    ]
}

/// Makes an image of theirs with a list of options, to which the secret is added.
pub(crate) fn create_theirs(bench: &Bench, list: &str) -> Result<(), String> {
    let [object, data, ..] = with_secret(bench);
    let list = format!("encrypt.key-secret=s0,{list}");
    let (image, size) = (bench.image.display().to_string(), bench.size().to_string());
    bench
        .oracle
        .img_ok(["create", "-q", &object, &data, "-f", "qcow2", "-o", &list, &image, &size])
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The disk as the oracle reads it.
pub(crate) fn read_theirs(bench: &Bench) -> Vec<u8> {
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

pub(crate) fn write_theirs(bench: &mut Bench, ops: &[Op]) {
    let [object, data, opts, image] = with_secret(bench);
    let mut run = Command::new(bench.oracle.qemu_io());
    run.args([&object, &data, &opts]).args(["-d", "unmap"]).stdin(Stdio::null());
    for op in ops {
        run.args(["-c", &op.command()]);
        op.model(&mut bench.disk, bench.cluster);
    }
    let output = run.arg(&image).output().expect("qemu-io starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !text.contains("failed"), "{text}");
}

pub(crate) fn judge(bench: &Bench, what: &str) {
    // Our check needs no passphrase; theirs does.
    judge_file(&bench.image, what);
    let [object, data, opts, image] = with_secret(bench);
    bench.oracle.img_ok(["check", "-q", &object, &data, &opts, &image]).expect("clean");
    let image = options().open_read_only(&bench.image).expect("opened");
    let mut back = vec![0; bench.disk.len()];
    image.read_at(0, &mut back).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_same(&back, &bench.disk, &format!("{what}: ours"));
    assert_same(&read_theirs(bench), &bench.disk, &format!("{what}: theirs"));
}
