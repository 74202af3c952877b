//! Images that another process holds.

mod common;
#[path = "common/writers.rs"]
mod writers;

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use writers::{SHARERS, WRITERS};

type TestResult = Result<(), Box<dyn Error>>;

const PROGRAM: &str = env!("CARGO_BIN_EXE_holstein");

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("locks-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        for tool in ["qemu-img", "qemu-io"] {
            symlink(PROGRAM, path.join(tool))?;
        }
        Ok(Self(path))
    }

    fn run(&self, program: impl AsRef<Path>, line: &str) -> std::io::Result<Output> {
        let words = line.split_whitespace();
        Command::new(program.as_ref()).args(words).current_dir(&self.0).output()
    }

    fn ours(&self, line: &str) -> std::io::Result<Output> {
        self.run(PROGRAM, line)
    }

    fn image(&self) -> TestResult {
        let made = self.ours("create -q -f qcow2 a 1M")?;
        assert!(made.status.success(), "{made:?}");
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over is in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An exerciser that has the image open until it is told to end.
struct Holder(Child);

impl Holder {
    fn start(program: &Path, first: &[&str], dir: &Path) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(program)
            .args(first)
            .arg("a")
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // Its answer shows that the image is open.
        child.stdin.as_mut().ok_or("no input")?.write_all(b"length\n")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        assert!(line.contains("1 MiB"), "{line}");
        Ok(Self(child))
    }

    fn end(mut self) -> TestResult {
        drop(self.0.stdin.take());
        self.0.wait()?;
        Ok(())
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const FAILED: &str = "holstein: Could not open 'a': Failed to get shared \"write\" lock\n\
                      Is another process using the image [a]?";

#[test]
fn the_holder_of_an_image_is_named() -> TestResult {
    let scratch = Scratch::new("named")?;
    scratch.image()?;
    let holder = Holder::start(Path::new(PROGRAM), &["io"], &scratch.0)?;
    let named =
        format!(" It is held by holstein (process {}); --wait waits for it.\n", holder.0.id());
    let refused = scratch.ours("info a")?;
    assert_eq!((refused.status.code(), text(&refused)), (Some(1), format!("{FAILED}{named}")));
    // Scripts compare the messages of the classic names.
    let refused = scratch.run(scratch.0.join("qemu-img"), "info a")?;
    let classic = FAILED.replacen("holstein", "qemu-img", 1) + "\n";
    assert_eq!((refused.status.code(), text(&refused)), (Some(1), classic));
    let shared = scratch.ours("info -U a")?;
    assert!(shared.status.success(), "{shared:?}");
    holder.end()
}

#[test]
fn every_command_that_writes_refuses_while_another_program_holds_the_image() -> TestResult {
    let test = "every_command_that_writes_refuses_while_another_program_holds_the_image";
    let Some(oracle) = common::oracle(test) else { return Ok(()) };
    let scratch = Scratch::new("refused")?;
    scratch.image()?;
    let made = scratch.ours("create -q -f raw r 1M")?;
    assert!(made.status.success(), "{made:?}");
    let holder = Holder::start(oracle.qemu_io(), &[], &scratch.0)?;
    let named = format!("(process {})", holder.0.id());
    let before = std::fs::read(scratch.0.join("a"))?;
    for line in WRITERS {
        let refused = scratch.ours(line)?;
        assert_eq!(refused.status.code(), Some(1), "{line}: {refused:?}");
        let said = text(&refused);
        assert!(said.contains("lock\n") && said.contains(&named), "{line}: {said}");
    }
    assert!(std::fs::read(scratch.0.join("a"))? == before);
    for line in SHARERS {
        let output = scratch.ours(line)?;
        assert!(output.status.success(), "{line}: {output:?}");
    }
    holder.end()
}

#[test]
fn the_program_waits_for_the_holder_if_it_is_asked_to() -> TestResult {
    let scratch = Scratch::new("wait")?;
    scratch.image()?;
    let holder = Holder::start(Path::new(PROGRAM), &["io"], &scratch.0)?;
    let waiting = format!(
        "holstein: waiting for 'a', which is in use by holstein (process {})\n",
        holder.0.id()
    );
    let began = Instant::now();
    let refused = scratch.ours("resize --wait=0.4 a 2M")?;
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused);
    let failed = FAILED.replacen("shared ", "", 1);
    assert!(said.starts_with(&(waiting.clone() + &failed)), "{said}");
    let mut resize = Command::new(PROGRAM)
        .args(["resize", "-q", "--wait", "a", "2M"])
        .current_dir(&scratch.0)
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(resize.stderr.take().ok_or("no output")?).read_line(&mut line)?;
    assert_eq!(line, waiting);
    assert!(resize.try_wait()?.is_none());
    holder.end()?;
    assert!(resize.wait()?.success());
    let info = scratch.ours("info a")?;
    assert!(String::from_utf8_lossy(&info.stdout).contains("2 MiB"), "{info:?}");
    let wrong = scratch.ours("info --wait=x a")?;
    assert_eq!(text(&wrong), "holstein: --wait takes a number of seconds, not 'x'\n");
    Ok(())
}

/// Starts the program, which has to wait, and reads that it does.
fn waiting(scratch: &Scratch, line: &str, holder: &Holder) -> Result<Child, Box<dyn Error>> {
    let mut child = Command::new(PROGRAM)
        .args(line.split_whitespace())
        .current_dir(&scratch.0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    BufReader::new(child.stderr.take().ok_or("no output")?).read_line(&mut said)?;
    let by = holder.0.id();
    let expected =
        format!("holstein: waiting for 'a', which is in use by holstein (process {by})\n");
    assert_eq!(said, expected, "{line}");
    assert!(child.try_wait()?.is_none(), "{line}");
    Ok(child)
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> TestResult {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > Duration::from_secs(30) {
            return Err(format!("{what} does not come").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn kill(process: &str) -> TestResult {
    assert!(Command::new("kill").arg(process).status()?.success());
    Ok(())
}

#[test]
fn the_exerciser_and_the_server_wait_as_well() -> TestResult {
    let scratch = Scratch::new("wait-io-nbd")?;
    scratch.image()?;
    let hold = || Holder::start(Path::new(PROGRAM), &["io"], &scratch.0);
    let socket = scratch.0.join("s");
    let server = format!("nbd --wait -t -k {} a", socket.display());
    let holder = hold()?;
    for line in ["io --wait=0.3 -c length a", &server.replace("--wait", "--wait=0.3")] {
        let began = Instant::now();
        let refused = scratch.ours(line)?;
        assert_eq!(refused.status.code(), Some(1), "{line}: {refused:?}");
        assert!(began.elapsed() >= Duration::from_millis(300), "{line}");
        assert!(text(&refused).starts_with("holstein: waiting for 'a'"), "{line}: {refused:?}");
    }
    let wrong = scratch.ours("io --wait=x a")?;
    assert_eq!(text(&wrong), "holstein: --wait takes a number of seconds, not 'x'\n");
    let classic = scratch.run(scratch.0.join("qemu-io"), "--wait -c length a")?;
    assert!(text(&classic).contains("unrecognized option '--wait'"), "{classic:?}");
    let mut child = waiting(&scratch, "io --wait -c length a", &holder)?;
    holder.end()?;
    assert!(child.wait()?.success());

    // Nobody finds the socket before the image is there.
    let holder = hold()?;
    let mut child = waiting(&scratch, &server, &holder)?;
    assert!(!socket.exists());
    holder.end()?;
    until("the socket", || socket.exists())?;
    kill(&child.id().to_string())?;
    assert!(child.wait()?.success());

    // In the background, it is the command that waits.
    let holder = hold()?;
    let pid = scratch.0.join("pid");
    let server = server.replace("-t", &format!("--fork --pid-file {} -t", pid.display()));
    let mut command = Command::new(PROGRAM);
    command.args(server.split_whitespace()).current_dir(&scratch.0).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait()?.is_none() && !pid.exists());
    holder.end()?;
    let output = child.wait_with_output()?;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    kill(std::fs::read_to_string(&pid)?.trim())?;
    until("the end", || !socket.exists())
}
