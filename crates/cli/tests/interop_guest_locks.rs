//! An image that a virtual machine has open, and one that our server has open.
//!
//! The machine is paused: its guest never runs. Without a machine nothing is tested, which is said.

#[path = "common/machine.rs"]
mod machine;
#[path = "common/server.rs"]
mod server;
#[path = "common/writers.rs"]
mod writers;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use holstein_testkit::TempDir;
use machine::Machine;
use server::Server;
use writers::{SHARERS, WRITERS};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

const PROGRAM: &str = env!("CARGO_BIN_EXE_holstein");
const WRITABLE: &str = "file=a,format=qcow2";
const READ_ONLY: &str = "file=a,format=qcow2,readonly=on,if=none,id=d";

fn ours(dir: &Path, line: &str) -> TestResult<Output> {
    Ok(Command::new(PROGRAM)
        .args(line.split_whitespace())
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()?)
}

fn ok(dir: &Path, line: &str) -> TestResult {
    let output = ours(dir, line)?;
    assert!(output.status.success(), "{line}: {output:?}");
    Ok(())
}

/// Makes the image `a` and the raw file `r`.
fn images(dir: &Path) -> TestResult {
    ok(dir, "create -q -f qcow2 a 1M")?;
    ok(dir, "create -q -f raw r 1M")
}

#[test]
fn whoever_writes_is_refused_while_a_machine_has_the_image() -> TestResult {
    let test = "whoever_writes_is_refused_while_a_machine_has_the_image";
    let Some(machine) = Machine::find(test) else { return Ok(()) };
    let dir = TempDir::new("machine-holds")?;
    let dir = dir.path();
    images(dir)?;
    let holder = machine.hold(dir, WRITABLE)?;
    let named = format!("(process {})", holder.id());
    let before = fs::read(dir.join("a"))?;
    let socket = Server::socket(dir).display().to_string();
    let server = [format!("nbd -k {socket} a"), format!("nbd -r -k {socket} a")];
    let readers = ["info a", "check a", "map a", "io -r -c read a"];
    for line in WRITERS.into_iter().chain(server.iter().map(String::as_str)).chain(readers) {
        let refused = ours(dir, line)?;
        assert_eq!(refused.status.code(), Some(1), "{line}: {refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("lock\n") && said.contains(&named), "{line}: {said}");
    }
    assert!(fs::read(dir.join("a"))? == before, "nothing was written");
    for line in SHARERS {
        ok(dir, line)?;
    }
    holder.end()?;
    ok(dir, "resize -q a 2M")?;
    // A machine that only reads lets others read, and keeps writers out.
    let holder = machine.hold(dir, READ_ONLY)?;
    ok(dir, "check -q a")?;
    for line in WRITERS {
        let refused = ours(dir, line)?;
        assert_eq!(refused.status.code(), Some(1), "{line}: {refused:?}");
    }
    holder.end()
}

#[test]
fn no_machine_comes_to_have_an_image_that_our_server_has() -> TestResult {
    let test = "no_machine_comes_to_have_an_image_that_our_server_has";
    let Some(machine) = Machine::find(test) else { return Ok(()) };
    let dir = TempDir::new("server-holds")?;
    let dir = dir.path();
    images(dir)?;
    let server = Server::start(dir, &[], "a")?;
    for drive in [WRITABLE, READ_ONLY] {
        let refused = machine.refused(dir, drive)?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("lock"), "{drive}: {refused:?}");
    }
    server.end()?;
    machine.hold(dir, WRITABLE)?.end()?;
    // Readers do not mind each other.
    let server = Server::start(dir, &["-r"], "a")?;
    let refused = machine.refused(dir, WRITABLE)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("lock"), "{refused:?}");
    machine.hold(dir, READ_ONLY)?.end()?;
    server.end()
}
