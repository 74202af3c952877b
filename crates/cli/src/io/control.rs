//! `sleep`, `sigraise`, `abort`, `quit`, and what needs another kind of node.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process, test_kill_process};

use super::numbers::{milliseconds, number};
use super::session::Session;
use super::{Failed, Outcome};
use crate::disk::DiskError;
use crate::out::{self, say};
use crate::text::strerror;

/// The highest number that is taken for a signal.
const HIGHEST: u64 = 65;

/// The last signal there is.
const LAST: i32 = 64;

/// `sleep`: waits, while requests go on.
pub(super) fn sleep(session: &mut Session, words: &[&str]) -> Outcome {
    let time = milliseconds(words.get(1).copied().unwrap_or(""))?;
    session.jobs.sleep(Duration::from_millis(time));
    Ok(())
}

/// `sigraise`: sends this process a signal.
pub(super) fn sigraise(_session: &mut Session, words: &[&str]) -> Outcome {
    let given = words.get(1).copied().unwrap_or("");
    let signal = number(given)?;
    let signal = match i32::try_from(signal) {
        Ok(raw) if signal <= HIGHEST => raw,
        _ => {
            say!("signal argument '{given}' is too large to be a valid signal\n");
            return Err(Failed);
        }
    };
    out::flush();
    let result = match Signal::from_named_raw(signal) {
        Some(signal) => kill_process(getpid(), signal),
        None if signal == 0 => test_kill_process(getpid()),
        // What is no signal is not raised, and that is no failure.
        None if signal > LAST => return Ok(()),
        None => {
            out::error_line(&format!("real-time signal {signal} cannot be raised here"));
            return Err(Failed);
        }
    };
    result.map_err(|error| {
        out::error_line(&strerror(error.raw_os_error()));
        Failed
    })
}

/// `abort`: ends the process as a crash does, without writing what is held back.
pub(super) fn abort(_session: &mut Session, _words: &[&str]) -> Outcome {
    std::process::abort()
}

/// `quit`: no more commands.
pub(super) fn quit(session: &mut Session, _words: &[&str]) -> Outcome {
    session.done = true;
    Ok(())
}

/// `break`, `wait_break`, `resume` and `remove_break`: only a debugging node has breakpoints.
pub(super) fn breakpoint(session: &mut Session, words: &[&str]) -> Outcome {
    let debugger = session.disk()?.debugger();
    let none = || Err(DiskError::from_errno(libc::ENOTSUP));
    let (what, result) = match words {
        ["break", event, tag] => {
            let set = debugger.map_or_else(none, |debugger| debugger.set_breakpoint(event, tag));
            ("set breakpoint".to_owned(), set)
        }
        ["wait_break", tag] => {
            let waited = debugger.map_or_else(none, |debugger| {
                while !debugger.wait_for(tag) {
                    session.jobs.report_ready();
                }
                Ok(())
            });
            ("wait for breakpoint".to_owned(), waited)
        }
        ["resume", tag] => {
            let resumed = debugger.map_or_else(none, |debugger| debugger.resume(tag));
            ("resume request".to_owned(), resumed)
        }
        [_, tag] => {
            let removed = debugger.map_or_else(none, |debugger| debugger.remove_breakpoint(tag));
            (format!("remove breakpoint {tag}"), removed)
        }
        _ => return Err(Failed),
    };
    result.map_err(|error| {
        say!("Could not {what}: {}\n", error.strerror());
        Failed
    })
}

/// The commands of zoned devices, none of which can be opened here.
pub(super) fn zone(_session: &mut Session, words: &[&str]) -> Outcome {
    let what = match words.first() {
        Some(&("zone_report" | "zrp")) => "report",
        Some(&("zone_open" | "zo")) => "open",
        Some(&("zone_close" | "zc")) => "close",
        Some(&("zone_finish" | "zf")) => "finish",
        Some(&("zone_reset" | "zrs")) => "reset",
        _ => "append",
    };
    for word in words.iter().skip(1) {
        number(word)?;
    }
    say!("zone {what} failed: {}\n", strerror(libc::ENOTSUP));
    Err(Failed)
}
