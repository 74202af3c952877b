//! Volumes that other programs made, and ours before other programs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use holstein_crypto::{CipherMode, Secret};
use holstein_luks::{
    CipherSpec, FileArea, Format, Hash, KeyChange, Limits, LuksError, Vector, Volume,
};
use holstein_storage::{Create, FileOptions, FileStorage, Storage};
use holstein_testkit::{Oracle, Pattern, TempDir, Version, skipped};
use holstein_units::HostOffset;

const PASSPHRASE: &str = "correct horse battery";
const OLDEST: Version = Version { major: 10, minor: 0, patch: 0 };
const SIZE: usize = 300 << 10;

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// Every cipher there is, with the hashes in turn.
fn formats() -> Vec<Format> {
    let mut formats = Vec::new();
    for mode in [CipherMode::Xts, CipherMode::Cbc] {
        for key in [16, 24, 32] {
            for vector in [Vector::Plain, Vector::Plain64, Vector::Essiv(Hash::Sha256)] {
                let hash = Hash::ALL[formats.len() % Hash::ALL.len()];
                let cipher = CipherSpec { key, mode, vector };
                formats.push(Format { cipher, hash, iter_time: Duration::from_millis(1) });
            }
        }
    }
    formats
}

fn file(path: &Path) -> Arc<dyn Storage> {
    let create = if path.exists() { Create::No } else { Create::Truncate };
    let options = FileOptions { write: true, create, ..FileOptions::default() };
    Arc::new(FileStorage::open(path, &options).expect("the folder is ours"))
}

fn read(volume: &Volume) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(volume.len().expect("known")).expect("small")];
    volume.read_at(HostOffset::new(0), &mut bytes).expect("read");
    bytes
}

/// QEMU aborts at key material that is no multiple of a sector.
fn qemu_has(format: &Format) -> bool {
    format.cipher.key_bytes() != 24
}

/// Arguments of the oracle that name a volume.
fn with_secret(path: &Path) -> [String; 4] {
    [
        "--object".to_owned(),
        format!("secret,id=s0,data={PASSPHRASE}"),
        "--image-opts".to_owned(),
        format!("driver=luks,key-secret=s0,file.filename={}", path.display()),
    ]
}

#[test]
fn volumes_made_here_are_read_and_written_by_qemu() {
    let Some(oracle) = Oracle::find_or_skip("luks volumes", OLDEST) else { return };
    let dir = TempDir::new("luks").expect("a folder");
    for format in formats().into_iter().filter(qemu_has) {
        let path = dir.file("v.luks");
        let mut model = Pattern::new(3).bytes(0, SIZE);
        let volume = Volume::create(file(&path), &format, &secret(PASSPHRASE), SIZE as u64);
        let volume = volume.expect("made");
        volume.write_at(HostOffset::new(0), &model).expect("written");
        volume.write_at(HostOffset::new(1000), &[9; 3000]).expect("written");
        model[1000..4000].fill(9);
        drop(volume);
        let [object, data, opts, image] = with_secret(&path);
        let mut run = Command::new(oracle.qemu_io());
        run.args([&object, &data, &opts]).stdin(Stdio::null());
        run.args(["-c", "write -P 5 4096 8k", "-c", "write -P 6 100k 700"]);
        let output = run.arg(&image).output().expect("qemu-io starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !text.contains("failed"), "{format:?}: {text}");
        model[4096..12_288].fill(5);
        model[102_400..103_100].fill(6);
        let raw = dir.file("v.raw").display().to_string();
        oracle
            .img_ok(["convert", &object, &data, &opts, "-O", "raw", &image, &raw])
            .unwrap_or_else(|error| panic!("{format:?}: {error}"));
        assert!(std::fs::read(&raw).expect("the copy") == model, "{format:?}: theirs");
        let volume = Volume::open(file(&path), &secret(PASSPHRASE), Limits::default());
        assert!(read(&volume.expect("opened")) == model, "{format:?}: ours");
        std::fs::remove_file(&path).expect("removed");
    }
}

#[test]
fn volumes_made_by_qemu_are_read_and_written_here() {
    let Some(oracle) = Oracle::find_or_skip("luks volumes", OLDEST) else { return };
    let dir = TempDir::new("luks").expect("a folder");
    // Their making one takes seconds, whatever time is asked for: each part is in here once.
    for format in [0, 8, 16].map(|at| formats()[at]) {
        let path = dir.file("v.luks");
        let [object, data, opts, image] = with_secret(&path);
        let mode = format.cipher.mode_text();
        let (mode, vector) = mode.split_once('-').expect("both are there");
        let (vector, hash) = vector.split_once(':').unwrap_or((vector, "sha256"));
        let list = format!(
            "key-secret=s0,iter-time=10,cipher-alg=aes-{},cipher-mode={mode},ivgen-alg={vector},\
             ivgen-hash-alg={hash},hash-alg={}",
            format.cipher.key * 8,
            format.hash.name()
        );
        let (name, size) = (path.display().to_string(), SIZE.to_string());
        oracle
            .img_ok(["create", "-q", &object, &data, "-f", "luks", "-o", &list, &name, &size])
            .unwrap_or_else(|error| panic!("{list}: {error}"));
        let model = Pattern::new(4).bytes(0, SIZE);
        let wrong = Volume::open(file(&path), &secret("wrong"), Limits::default());
        assert!(matches!(wrong.expect_err("it is wrong"), LuksError::Passphrase));
        let volume = Volume::open(file(&path), &secret(PASSPHRASE), Limits::default());
        let volume = volume.unwrap_or_else(|error| panic!("{list}: {error}"));
        assert_eq!(volume.len().expect("known"), SIZE as u64);
        volume.write_at(HostOffset::new(0), &model).expect("written");
        drop(volume);
        let raw = dir.file("v.raw").display().to_string();
        oracle
            .img_ok(["convert", &object, &data, &opts, "-O", "raw", &image, &raw])
            .unwrap_or_else(|error| panic!("{list}: {error}"));
        assert!(std::fs::read(&raw).expect("the copy") == model, "{list}");
        std::fs::remove_file(&path).expect("removed");
    }
}

/// The program, or why the test is skipped.
fn cryptsetup() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join("cryptsetup")).find(|path| path.is_file());
    if found.is_none() {
        skipped("luks volumes: there is no cryptsetup (package cryptsetup-bin)");
    }
    found
}

/// Whether the program opens the volume with the passphrase, or with any slot's but another's.
fn opens(cryptsetup: &Path, volume: &Path, passphrase: &str, more: &[&str]) -> bool {
    let mut run = Command::new(cryptsetup);
    run.args(["open", "--type", "luks1", "--test-passphrase", "--key-file", "-"]).args(more);
    run.arg(volume).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = run.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("it is a pipe");
    input.write_all(passphrase.as_bytes()).expect("it is read");
    drop(input);
    child.wait().expect("it ends").success()
}

#[test]
fn volumes_made_here_are_opened_by_cryptsetup() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let dir = TempDir::new("cryptsetup").expect("a folder");
    // Neither the program nor the kernel has XTS with keys of 192 bits.
    for format in formats().into_iter().filter(|format| format.cipher.key_bytes() != 48) {
        let path = dir.file("v.luks");
        let made = Volume::create(file(&path), &format, &secret(PASSPHRASE), 1 << 20);
        drop(made.expect("made"));
        let dump = Command::new(&cryptsetup).arg("luksDump").arg(&path).output();
        let dump = String::from_utf8_lossy(&dump.expect("it starts").stdout).into_owned();
        for line in [
            "Version:       \t1".to_owned(),
            "Cipher name:   \taes".to_owned(),
            format!("Cipher mode:   \t{}", format.cipher.mode_text()),
            format!("Hash spec:     \t{}", format.hash.name()),
            format!("MK bits:       \t{}", format.cipher.key_bytes() * 8),
            "Key Slot 0: ENABLED".to_owned(),
            "Key Slot 7: DISABLED".to_owned(),
        ] {
            assert!(dump.contains(&line), "{format:?}: {line:?} is not in {dump}");
        }
        assert!(opens(&cryptsetup, &path, PASSPHRASE, &[]), "{format:?}");
        assert!(!opens(&cryptsetup, &path, "wrong", &[]), "{format:?}");
        std::fs::remove_file(&path).expect("removed");
    }
}

#[test]
fn slots_changed_here_are_seen_by_cryptsetup_and_the_reverse() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let dir = TempDir::new("cryptsetup").expect("a folder");
    let path = dir.file("v.luks");
    std::fs::File::create(&path).and_then(|file| file.set_len(4 << 20)).expect("made");
    let passphrase = dir.file("passphrase");
    std::fs::write(&passphrase, PASSPHRASE).expect("written");
    let made = Command::new(&cryptsetup)
        .args(["luksFormat", "--type", "luks1", "--batch-mode", "--pbkdf-force-iterations=1000"])
        .args(["--cipher", "aes-cbc-essiv:sha256", "--key-size", "192", "--key-file"])
        .args([&passphrase, &path])
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{text}");
    let storage = file(&path);
    let add = KeyChange::Add {
        passphrase: secret("second"),
        slot: Some(6),
        iter_time: Duration::from_millis(1),
    };
    let (current, limits) = (secret(PASSPHRASE), Limits::default());
    add.apply(&FileArea::whole(&*storage), &current, false, limits).expect("slot 6 is free");
    assert!(opens(&cryptsetup, &path, "second", &["--key-slot", "6"]));
    assert!(opens(&cryptsetup, &path, PASSPHRASE, &["--key-slot", "0"]));
    let erase = KeyChange::ErasePassphrase(current.clone());
    erase.apply(&FileArea::whole(&*storage), &current, false, limits).expect("another is left");
    assert!(!opens(&cryptsetup, &path, PASSPHRASE, &[]));
    assert!(opens(&cryptsetup, &path, "second", &[]));
}
