//! The server and the client beside the programs of libnbd, nbdkit and fio.
//!
//! What is not installed is skipped, which is said; on Debian the packages are libnbd-bin, nbdkit and fio.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use holstein_testkit::{Rng, TempDir, skipped};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

const OURS: &str = env!("CARGO_BIN_EXE_holstein");

/// Whether all these programs are there; says which is not.
fn have(test: &str, programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| {
        let started = Command::new(program).arg("--version").output();
        !started.is_ok_and(|output| output.status.success())
    });
    if let Some(program) = missing {
        skipped(&format!("{test}: there is no {program}"));
    }
    missing.is_none()
}

fn run(dir: &Path, program: &str, words: &[&str]) -> TestResult<Output> {
    Ok(Command::new(program).args(words).current_dir(dir).stdin(Stdio::null()).output()?)
}

/// Runs a program that must succeed; what it said on standard output.
fn ok(dir: &Path, program: &str, words: &[&str]) -> TestResult<String> {
    let output = run(dir, program, words)?;
    if !output.status.success() {
        return Err(format!("{program} {words:?}: {output:?}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A server, which ends with the test.
struct Server(Child);

impl Server {
    /// Starts it and waits for its socket, `s`.
    fn start(dir: &Path, program: &str, words: &[&str]) -> TestResult<Self> {
        let socket = dir.join("s");
        // One that is left of a server that was killed is in the way.
        let _ = fs::remove_file(&socket);
        let child =
            Command::new(program).args(words).current_dir(dir).stdin(Stdio::null()).spawn()?;
        let mut server = Self(child);
        let begin = Instant::now();
        while !socket.exists() {
            if server.0.try_wait()?.is_some() || begin.elapsed() > Duration::from_secs(30) {
                return Err(format!("{program} {words:?} does not listen").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn ours(dir: &Path, words: &[&str]) -> TestResult<Self> {
        let socket = dir.join("s").display().to_string();
        Self::start(dir, OURS, &[&["nbd", "-t", "-k", &socket, "-e", "4"], words].concat())
    }

    /// Ends it as a signal does; it must end well.
    fn end(mut self) -> TestResult {
        ok(Path::new("/"), "kill", &[&self.0.id().to_string()])?;
        let status = self.0.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to be killed where it ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const MIB: usize = 1 << 20;
const URI: &str = "nbd+unix:///?socket=s";

/// A disk of 8 MiB: noise, zeros, noise.
fn content() -> Vec<u8> {
    let mut bytes = vec![0; 8 * MIB];
    let mut numbers = Rng::new(77);
    for range in [0..2 * MIB, 5 * MIB + 4096..7 * MIB] {
        for chunk in bytes[range].chunks_mut(8) {
            chunk.copy_from_slice(&numbers.next_u64().to_be_bytes()[..chunk.len()]);
        }
    }
    bytes
}

fn make_image(dir: &Path) -> TestResult<Vec<u8>> {
    let bytes = content();
    fs::write(dir.join("raw"), &bytes)?;
    ok(dir, OURS, &["convert", "-f", "raw", "-O", "qcow2", "raw", "image"])?;
    Ok(bytes)
}

/// What the image holds, after a check.
fn held(dir: &Path) -> TestResult<Vec<u8>> {
    ok(dir, OURS, &["check", "-q", "-f", "qcow2", "image"])?;
    ok(dir, OURS, &["convert", "-f", "qcow2", "-O", "raw", "image", "held"])?;
    Ok(fs::read(dir.join("held"))?)
}

#[test]
fn libnbd_reads_maps_and_copies() -> TestResult {
    if !have("libnbd_reads_maps_and_copies", &["nbdinfo", "nbdcopy"]) {
        return Ok(());
    }
    let dir = TempDir::new("nbd-libnbd")?;
    let dir = dir.path();
    let bytes = make_image(dir)?;
    ok(dir, OURS, &["bitmap", "--add", "image", "b"])?;
    ok(dir, OURS, &["io", "-c", "write -P 9 1M 64k", "image"])?;
    let mut bytes = bytes;
    bytes[MIB..MIB + 65536].fill(9);

    let server = Server::ours(dir, &["-f", "qcow2", "-B", "b", "-D", "words", "image"])?;
    let info = ok(dir, "nbdinfo", &["--json", URI])?;
    for part in [
        "\"export-size\": 8388608",
        "\"description\": \"words\"",
        "\"base:allocation\"",
        "\"qemu:dirty-bitmap:b\"",
        "\"can_multi_conn\": true",
        "\"can_fast_zero\": true",
        "\"structured\": true",
    ] {
        assert!(info.contains(part), "{part}: {info}");
    }
    let map = ok(dir, "nbdinfo", &["--map", URI])?;
    let map: Vec<Vec<&str>> = map.lines().map(|line| line.split_whitespace().collect()).collect();
    let begin = (5 * MIB).to_string();
    assert!(map.iter().any(|row| row[0] == begin && row[3] == "data"), "{map:?}");
    assert!(map.iter().any(|row| row[0] == "2097152" && row[2] == "3"), "{map:?}");
    let dirty = ok(dir, "nbdinfo", &["--map=qemu:dirty-bitmap:b", URI])?;
    assert!(
        dirty.lines().any(|line| line.split_whitespace().eq(["1048576", "65536", "1", "dirty"]))
    );
    let list = ok(dir, "nbdinfo", &["--list", URI])?;
    assert!(list.contains("export=\"\""), "{list}");

    ok(dir, "nbdcopy", &[URI, "copy"])?;
    assert!(fs::read(dir.join("copy"))? == bytes);
    bytes.reverse();
    fs::write(dir.join("new"), &bytes)?;
    ok(dir, "nbdcopy", &["--connections=3", "--flush", "new", URI])?;
    server.end()?;
    assert!(held(dir)? == bytes);
    Ok(())
}

#[test]
fn fio_finds_what_it_wrote() -> TestResult {
    let engines = Command::new("fio").arg("--enghelp").output();
    let named = engines.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line.trim() == "nbd")
    });
    if !named {
        skipped("fio_finds_what_it_wrote: there is no fio with the engine nbd");
        return Ok(());
    }
    let dir = TempDir::new("nbd-fio")?;
    let dir = dir.path();
    make_image(dir)?;
    let server = Server::ours(dir, &["-f", "qcow2", "image"])?;
    let uri = format!("--uri={URI}");
    let words = "--name=job --ioengine=nbd --rw=randwrite --bs=512-32k --size=8m --iodepth=16 \
                 --verify=crc32c --verify_fatal=1 --do_verify=1 --fsync=100 --randseed=5 --trim_percentage=0 \
                 --output=fio.log";
    let words: Vec<&str> = words.split_whitespace().chain([uri.as_str()]).collect();
    ok(dir, "fio", &words)?;
    server.end()?;
    held(dir)?;
    Ok(())
}

#[test]
fn two_clients_see_what_the_other_has_flushed() -> TestResult {
    let dir = TempDir::new("nbd-two")?;
    let dir = dir.path();
    make_image(dir)?;
    let server = Server::ours(dir, &["-f", "qcow2", "image"])?;
    for round in 1..=20_u32 {
        let pattern = format!("-P {}", round % 200);
        let write = format!("write {pattern} {}k 12k", round * 37);
        ok(dir, OURS, &["io", "-f", "raw", "-t", "writeback", "-c", &write, "-c", "flush", URI])?;
        let read = format!("read {pattern} {}k 12k", round * 37);
        let said = ok(dir, OURS, &["io", "-f", "raw", "-r", "-c", &read, URI])?;
        assert!(!said.contains("verification failed"), "{said}");
    }
    server.end()?;
    held(dir)?;
    Ok(())
}

#[test]
fn nbdkit_serves_images_well_and_badly() -> TestResult {
    if !have("nbdkit_serves_images_well_and_badly", &["nbdkit"]) {
        return Ok(());
    }
    let dir = TempDir::new("nbd-nbdkit")?;
    let dir = dir.path();
    let bytes = make_image(dir)?;
    let convert = ["convert", "-n", "-f", "qcow2", "-O", "raw", "image", URI];

    let server = Server::start(dir, "nbdkit", &["-f", "-U", "s", "memory", "8M"])?;
    ok(dir, OURS, &convert)?;
    let same = ok(dir, OURS, &["compare", "-f", "qcow2", "-F", "raw", "image", URI])?;
    assert!(same.contains("identical"), "{same}");
    ok(dir, OURS, &["io", "-f", "raw", "-c", "write -z -u 1M 1M", "-c", "discard 0 64k", URI])?;
    ok(dir, OURS, &["convert", "-f", "raw", "-O", "raw", URI, "copy"])?;
    let mut expected = bytes.clone();
    expected[MIB..2 * MIB].fill(0);
    let copy = fs::read(dir.join("copy"))?;
    // What was discarded may read as anything.
    assert!(copy[65536..] == expected[65536..]);
    drop(server);

    // Slow answers in any order.
    let delay = ["-f", "-U", "s", "--filter=delay", "memory", "8M", "rdelay=3ms", "wdelay=2ms"];
    let server = Server::start(dir, "nbdkit", &delay)?;
    ok(dir, OURS, &convert)?;
    let same = ok(dir, OURS, &["compare", "-f", "qcow2", "-F", "raw", "image", URI])?;
    assert!(same.contains("identical"), "{same}");
    drop(server);

    // Every write fails, and that is said in words; nothing waits.
    let error = [
        "-f",
        "-U",
        "s",
        "--filter=error",
        "memory",
        "8M",
        "error-pwrite=ENOSPC",
        "error-pwrite-rate=1",
    ];
    let server = Server::start(dir, "nbdkit", &error)?;
    let failed = run(dir, OURS, &convert)?;
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("No space left on device"), "{said}");
    drop(server);

    // A server that nobody reaches any more.
    let failed = run(dir, OURS, &["info", "-f", "raw", URI])?;
    assert_eq!(failed.status.code(), Some(1));
    Ok(())
}
