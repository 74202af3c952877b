//! Under our own name a target is there in whole, or what was there before is.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use holstein_storage::{FileOptions, FileStorage, LockMode};
use holstein_testkit::{TempDir, skipped};

const OURS: &str = env!("CARGO_BIN_EXE_holstein");
const OLD: &[u8] = b"what was there before";
/// A disk of 4 GiB that is read slowly.
const SLOW: &str =
    r#"json:{"driver":"raw","file":{"driver":"null-co","size":"4G","latency-ns":"10000000"}}"#;

const INT: i32 = 2;
const TERM: i32 = 15;

type TestResult = Result<(), Box<dyn Error>>;

/// An empty directory that goes away at the end.
struct Scratch(TempDir);

impl Scratch {
    fn new(name: &str) -> std::io::Result<Self> {
        Ok(Self(TempDir::new(&format!("native-{name}"))?))
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.file(name)
    }

    /// The names of all that is there, in order.
    fn names(&self) -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.0.path())? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> std::io::Result<Output> {
        Command::new(program)
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
    }

    fn holstein(&self, arguments: &[&str]) -> std::io::Result<Output> {
        self.run(Path::new(OURS), arguments)
    }

    /// How many bytes of what is being made have their place, if anything is.
    fn made(&self) -> std::io::Result<Option<u64>> {
        let names = self.names()?;
        let part = names.into_iter().find(|name| name.starts_with(".holstein-"));
        Ok(part.and_then(|name| Some(fs::metadata(self.join(&name)).ok()?.blocks() * 512)))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn send(child: &Child, signal: i32) -> TestResult {
    let status =
        Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status()?;
    if status.success() { Ok(()) } else { Err("kill failed".into()) }
}

/// Waits until `ready`, or ends the test.
fn wait_until(what: &str, mut ready: impl FnMut() -> std::io::Result<bool>) -> TestResult {
    let end = Instant::now() + Duration::from_secs(60);
    while !ready()? {
        if Instant::now() > end {
            return Err(format!("no {what} after a minute").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Starts the program, sends the signal once it has made something, and waits for its end.
fn interrupted(
    scratch: &Scratch,
    line: &[&str],
    signal: i32,
) -> Result<ExitStatus, Box<dyn Error>> {
    let mut child = Command::new(OURS)
        .args(line)
        .current_dir(scratch.0.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let running = || -> TestResult {
        wait_until("part", || Ok(scratch.made()?.is_some_and(|bytes| bytes >= 256 << 10)))?;
        send(&child, signal)
    };
    if let Err(error) = running() {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    Ok(child.wait()?)
}

/// Whether this process, and so what it starts, ignores a signal.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

#[test]
fn a_signal_leaves_what_was_there_before() -> TestResult {
    let test = "a_signal_leaves_what_was_there_before";
    let scratch = Scratch::new("signals")?;
    fs::write(scratch.join("source"), vec![7; 32 << 20])?;
    let slow = format!("if={SLOW}");
    let lines: [&[&str]; 4] = [
        &["convert", "--rate-limit", "4M", "-O", "qcow2", "source", "target"],
        &["convert", "--rate-limit", "4M", "-O", "raw", "source", "target"],
        &["dd", "-O", "raw", &slow, "of=target"],
        &["create", "-f", "raw", "-o", "preallocation=full", "target", "64G"],
    ];
    for signal in [TERM, INT] {
        if is_ignored(signal) {
            skipped(&format!("{test}: signal {signal} is ignored here"));
            continue;
        }
        for line in lines {
            let status = interrupted(&scratch, line, signal)?;
            assert_eq!(status.signal(), Some(signal), "{line:?}: {status}");
            assert_eq!(scratch.names()?, ["source"], "{line:?} {signal}");
            fs::write(scratch.join("target"), OLD)?;
            let status = interrupted(&scratch, line, signal)?;
            assert_eq!(status.signal(), Some(signal), "{line:?}: {status}");
            assert_eq!(scratch.names()?, ["source", "target"], "{line:?} {signal}");
            assert_eq!(fs::read(scratch.join("target"))?, OLD, "{line:?} {signal}");
            fs::remove_file(scratch.join("target"))?;
        }
    }
    Ok(())
}

#[test]
fn a_signal_that_is_ignored_ends_nothing() -> TestResult {
    let scratch = Scratch::new("ignored")?;
    // As a shell without job control starts what it puts into the background.
    let line =
        format!("trap '' INT; exec '{OURS}' convert --rate-limit 4M -m 1 -O qcow2 source target");
    fs::write(scratch.join("source"), vec![7; 4 << 20])?;
    let mut child = Command::new("sh")
        .args(["-c", &line])
        .current_dir(scratch.0.path())
        .stdin(Stdio::null())
        .spawn()?;
    wait_until("part", || Ok(scratch.made()?.is_some_and(|bytes| bytes >= 256 << 10)))?;
    send(&child, INT)?;
    let status = child.wait()?;
    assert!(status.success(), "{status}");
    assert_eq!(scratch.names()?, ["source", "target"]);
    Ok(())
}

#[test]
fn an_error_leaves_what_was_there_before_and_names_the_target() -> TestResult {
    let scratch = Scratch::new("failed")?;
    fs::write(scratch.join("source"), vec![7; 1 << 20])?;
    fs::write(scratch.join("target"), OLD)?;
    let broken = "driver=raw,file.driver=blkdebug,file.image.driver=file,\
                  file.image.filename=source,file.inject-error.0.event=none,\
                  file.inject-error.0.iotype=read,file.inject-error.0.sector=1000";
    let input = format!("if={broken}");
    for line in [
        &["convert", "--image-opts", broken, "-O", "qcow2", "target"][..],
        &["convert", "--image-opts", broken, "target"],
        &["dd", "--image-opts", &input, "of=target"],
        &[
            "create",
            "-f",
            "qcow2",
            "-o",
            "preallocation=metadata",
            "-b",
            "target",
            "-F",
            "raw",
            "target",
        ],
        &["create", "-f", "qcow2", "-b", "./target", "-F", "raw", "target"],
        &["create", "-f", "qcow2", "-o", "encrypt.format=luks", "target", "1M"],
    ] {
        let output = scratch.holstein(line)?;
        assert_eq!(output.status.code(), Some(1), "{line:?}");
        assert_eq!(scratch.names()?, ["source", "target"], "{line:?}");
        assert_eq!(fs::read(scratch.join("target"))?, OLD, "{line:?}");
        let said = text(&output.stderr);
        assert!(!said.is_empty() && !said.contains(".holstein-"), "{line:?}: {said}");
        assert!(!said.contains("was there before"), "{line:?}: {said}");
    }
    // A device that is full says so of the target.
    let output = scratch.holstein(&["convert", "-O", "raw", "source", "no/target"])?;
    assert_eq!(
        text(&output.stderr),
        "holstein: no/target: error while converting raw: Could not create 'no/target': No such file or directory\n"
    );
    Ok(())
}

#[test]
fn a_file_in_use_is_not_replaced() -> TestResult {
    let scratch = Scratch::new("used")?;
    fs::write(scratch.join("source"), vec![7; 1 << 16])?;
    fs::write(scratch.join("target"), OLD)?;
    let options = FileOptions { write: true, lock: LockMode::Write, ..FileOptions::default() };
    let held = FileStorage::open(scratch.join("target"), &options)?;
    for line in [
        &["convert", "-O", "qcow2", "source", "target"][..],
        &["dd", "-O", "qcow2", "if=source", "of=target"],
        &["create", "-f", "qcow2", "target", "1M"],
        &["create", "-f", "raw", "target", "1M"],
    ] {
        let output = scratch.holstein(line)?;
        assert_eq!(output.status.code(), Some(1), "{line:?}");
        assert!(text(&output.stderr).contains("lock"), "{line:?}: {output:?}");
        assert_eq!(fs::read(scratch.join("target"))?, OLD, "{line:?}");
        assert_eq!(scratch.names()?, ["source", "target"], "{line:?}");
    }
    drop(held);
    assert!(scratch.holstein(&["create", "-f", "qcow2", "target", "1M"])?.status.success());
    Ok(())
}

#[test]
fn a_target_keeps_its_permissions_and_links_to_it_stay() -> TestResult {
    let scratch = Scratch::new("kept")?;
    fs::write(scratch.join("source"), vec![7; 1 << 16])?;
    fs::create_dir(scratch.join("below"))?;
    fs::write(scratch.join("below/real"), OLD)?;
    fs::set_permissions(scratch.join("below/real"), fs::Permissions::from_mode(0o600))?;
    symlink("below/real", scratch.join("link"))?;
    let before = fs::metadata(scratch.join("link"))?.ino();
    let output = scratch.holstein(&["convert", "-O", "raw", "source", "link"])?;
    assert!(output.status.success(), "{output:?}");
    assert!(fs::symlink_metadata(scratch.join("link"))?.is_symlink());
    let after = fs::metadata(scratch.join("link"))?;
    assert_ne!(after.ino(), before, "it is another file");
    assert_eq!(after.mode() & 0o7777, 0o600);
    assert_eq!(fs::read(scratch.join("below/real"))?, vec![7; 1 << 16]);
    assert_eq!(scratch.names()?, ["below", "link", "source"]);
    assert_eq!(fs::read_dir(scratch.join("below"))?.count(), 1);
    // A link that leads nowhere is followed.
    symlink("below/new", scratch.join("dangling"))?;
    assert!(scratch.holstein(&["create", "-f", "qcow2", "dangling", "1M"])?.status.success());
    assert!(scratch.join("below/new").exists());
    Ok(())
}

#[test]
fn relative_backing_files_and_colons_are_those_of_the_target() -> TestResult {
    let scratch = Scratch::new("names")?;
    fs::create_dir(scratch.join("a:b"))?;
    fs::write(scratch.join("a:b/base"), vec![7; 1 << 16])?;
    for line in [
        &["create", "-f", "qcow2", "-b", "base", "-F", "raw", "file:a:b/top"][..],
        &["create", "-f", "qcow2", "-b", "base", "-F", "raw", "./a:b/top"],
        &["convert", "-O", "qcow2", "-B", "base", "-F", "raw", "./a:b/base", "file:a:b/copy"],
        &["convert", "-O", "qcow2", "-B", "base", "-F", "raw", "./a:b/base", "./a:b/copy"],
        &["compare", "./a:b/base", "./a:b/top"],
        &["compare", "./a:b/base", "./a:b/copy"],
    ] {
        let output = scratch.holstein(line)?;
        assert!(output.status.success(), "{line:?}: {output:?}");
        assert!(!text(&output.stdout).contains(".holstein-"), "{output:?}");
    }
    let info = text(&scratch.holstein(&["info", "./a:b/top"])?.stdout);
    assert!(info.contains("backing file: base (actual path: "), "{info}");
    Ok(())
}

#[test]
fn classic_names_write_targets_where_they_are() -> TestResult {
    let scratch = Scratch::new("place")?;
    let classic = scratch.join("qemu-img");
    symlink(OURS, &classic)?;
    fs::write(scratch.join("source"), vec![7; 1 << 16])?;
    fs::write(scratch.join("target"), OLD)?;
    let before = fs::metadata(scratch.join("target"))?.ino();
    for line in [
        &["convert", "-O", "qcow2", "source", "target"][..],
        &["create", "-q", "-f", "qcow2", "target", "1M"],
        &["dd", "-O", "qcow2", "if=source", "of=target"],
    ] {
        let output = scratch.run(&classic, line)?;
        assert!(output.status.success(), "{line:?}: {output:?}");
        assert_eq!(fs::metadata(scratch.join("target"))?.ino(), before, "{line:?}");
    }
    // So do ours where the target is said to exist.
    let line = ["convert", "-n", "-O", "qcow2", "source", "target"];
    assert!(scratch.holstein(&line)?.status.success());
    assert_eq!(fs::metadata(scratch.join("target"))?.ino(), before);
    Ok(())
}
