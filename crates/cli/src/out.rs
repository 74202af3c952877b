//! Standard output as C's stdio has it, and error lines.
//!
//! Output that does not go to a terminal is held back until it is flushed, the buffer is full or the
//! program ends, while error lines go out at once. Scripts and test suites that put both into one
//! file rely on the order that follows from it.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::DiskError;

/// Bytes held back, as many as the C library holds for a pipe.
const CAPACITY: usize = 4096;

static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn held() -> MutexGuard<'static, Vec<u8>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes text to standard output, through the buffer.
pub(crate) fn text(text: &str) {
    let mut held = held();
    let mut rest = text.as_bytes();
    while held.len() + rest.len() > CAPACITY {
        let (now, later) = rest.split_at(CAPACITY - held.len());
        held.extend_from_slice(now);
        rest = later;
        write_out(&mut held);
    }
    held.extend_from_slice(rest);
    if text.contains('\n') && std::io::stdout().is_terminal() {
        write_out(&mut held);
    }
}

/// Writes what is held back.
pub(crate) fn flush() {
    write_out(&mut held());
}

/// Empties the buffer into standard output. A reader that went away is not an error: results that
/// nobody reads are dropped, as by the reference.
fn write_out(held: &mut Vec<u8>) {
    let mut stdout = std::io::stdout().lock();
    drop(stdout.write_all(held));
    drop(stdout.flush());
    held.clear();
}

/// Writes one piece of text to standard error, at once.
pub(crate) fn error_text(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// Prints an error line, prefixed with the program's name.
pub(crate) fn error_line(message: &str) {
    error_text(&format!("{}: {message}\n", crate::personality::name()));
}

/// Says that the events of `--trace` are not there: they are those of the reference's own code.
pub(crate) fn no_trace_event(spec: &str) {
    let name = spec.strip_prefix("enable=").unwrap_or(spec);
    error_line(&if name.contains(['*', '=', ',', '-']) || matches!(name, "help" | "?") {
        format!("warning: there are no trace events, '{spec}' has no effect")
    } else {
        format!("warning: trace event '{name}' does not exist")
    });
}

/// Prints a failure with `prefix` before its message, and its hint on a line of its own.
pub(crate) fn report(prefix: &str, error: &DiskError) {
    let hint = error.hint().map(|hint| format!("{hint}\n")).unwrap_or_default();
    error_text(&format!("{}: {prefix}{error}\n{hint}", crate::personality::name()));
}

/// Formats text for standard output.
macro_rules! say {
    ($($arg:tt)*) => { $crate::out::text(&format!($($arg)*)) };
}

pub(crate) use say;
