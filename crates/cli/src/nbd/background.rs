//! Going to the background.
//!
//! The command starts itself once more, hears what that process has to say on standard error, and ends
//! when it falls silent: with status 0 if there was nothing to say. The process in the background falls
//! silent when clients can come.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::stdio::{dup2_stderr, stdin};

use super::{Failure, Outcome};
use crate::disk::DiskError;

/// Says to a process that it is the one in the background; its value is the number of its parent.
const MARK: &str = "HOLSTEIN_NBD_CHILD_OF";
/// Says to it that standard input is where messages go later.
const TALKS: &str = "HOLSTEIN_NBD_TALKS";

/// Whether this process is one that another one started to serve in the background.
pub(super) fn is_child() -> bool {
    parent().is_some()
}

/// The process that started this one to serve in the background.
pub(super) fn parent() -> Option<u32> {
    let number = std::env::var(MARK).ok()?.parse().ok()?;
    (number == std::os::unix::process::parent_id()).then_some(number)
}

/// Starts the server in the background and returns this process's exit status.
pub(super) fn start(verbose: bool) -> Outcome<u8> {
    let failed = |error| Failure::prefixed("Failed to fork: ", DiskError::from(&error));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg0(std::env::args_os().next().unwrap_or_default());
    // The first arguments of the program may say that it is this command.
    command.args(std::env::args_os().skip(1));
    command.env(MARK, std::process::id().to_string());
    let input = if verbose {
        command.env(TALKS, "1");
        Stdio::from(std::io::stderr())
    } else {
        Stdio::null()
    };
    let mut child = command
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut said = child.stderr.take().ok_or_else(|| Failure::message("Failed to fork"))?;
    let mut status = 0;
    let mut text = [0; 1024];
    loop {
        match said.read(&mut text) {
            Ok(0) => return Ok(status),
            Ok(len) => {
                status = 1;
                // Nobody may be there to hear it.
                let _ = std::io::stderr().write_all(&text[..len]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Lets the process that started this one end: clients can come.
///
/// # Errors
/// There is nothing to be silent with.
pub(super) fn ready() -> Outcome<()> {
    if !is_child() {
        return Ok(());
    }
    let failed = |error| Failure::prefixed("Failed to daemonize: ", std::io::Error::from(error));
    if std::env::var_os(TALKS).is_some() {
        dup2_stderr(stdin()).map_err(failed)?;
    } else {
        let null = rustix::fs::open("/dev/null", OFlags::WRONLY, Mode::empty()).map_err(failed)?;
        dup2_stderr(null).map_err(failed)?;
    }
    Ok(())
}

/// Leaves the session of the terminal, as a process in the background does.
pub(super) fn leave_terminal() {
    if is_child() {
        // It fails only where this was done already.
        let _ = rustix::process::setsid();
    }
}
