//! Standard output as C's stdio has it, and error lines, which may be JSON.
//!
//! Output that does not go to a terminal is held back until it is flushed, the buffer is full or the
//! program ends, while error lines go out at once. Scripts and test suites that put both into one
//! file rely on the order that follows from it.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::DiskError;
use crate::text::Json;

/// Bytes held back, as many as the C library holds for a pipe.
const CAPACITY: usize = 4096;

static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Text that somebody wants to have instead of standard output.
static CAUGHT: Mutex<Option<String>> = Mutex::new(None);

/// What goes to standard error is JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on every message is an object on a line of its own.
pub(crate) fn choose_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Whether messages are objects.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

fn held() -> MutexGuard<'static, Vec<u8>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn caught() -> MutexGuard<'static, Option<String>> {
    CAUGHT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on text is kept for [`take_caught`] instead of going to standard output.
pub(crate) fn catch() {
    caught().get_or_insert_default();
}

/// Takes the text that was kept.
pub(crate) fn take_caught() -> String {
    caught().as_mut().map(std::mem::take).unwrap_or_default()
}

/// Writes an object on a line of its own to standard output, whether text is kept or not.
pub(crate) fn object_line(object: &Json) {
    write(&format!("{}\n", object.compact()));
    flush();
}

/// Writes text to standard output, through the buffer.
pub(crate) fn text(text: &str) {
    if let Some(caught) = &mut *caught() {
        caught.push_str(text);
        return;
    }
    write(text);
}

fn write(text: &str) {
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
    if is_json() {
        return error_object("note", text.trim(), None, None);
    }
    write_error(text);
}

/// Writes a state of progress to standard error, in the form that it has.
pub(crate) fn progress_text(text: &str) {
    write_error(text);
}

fn write_error(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// Writes an object with one entry, which holds a message, to standard error.
fn error_object(kind: &str, message: &str, hint: Option<&str>, errno: Option<i32>) {
    let mut entry = Json::map([("message", message.into())]);
    if let Some(hint) = hint {
        entry.push("hint", hint);
    }
    if let Some(errno) = errno {
        entry.push("errno", errno);
    }
    write_error(&format!("{}\n", Json::map([(kind, entry)]).compact()));
}

/// Says what is wrong with a command line, and where help is.
pub(crate) fn usage_error(prefix: &str, message: &str, hint: &str) {
    if is_json() {
        return error_object("error", message, Some(hint), None);
    }
    write_error(&format!("{prefix}: {message}\n{hint}\n"));
}

/// Prints an error line, prefixed with the program's name.
pub(crate) fn error_line(message: &str) {
    if is_json() {
        return match message.strip_prefix("warning: ") {
            Some(warning) => error_object("warning", warning, None, None),
            None => error_object("error", message, None, None),
        };
    }
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
    if is_json() {
        let message = format!("{prefix}{error}");
        return error_object("error", &message, error.hint(), Some(error.errno()));
    }
    let hint = error.hint().map(|hint| format!("{hint}\n")).unwrap_or_default();
    error_text(&format!("{}: {prefix}{error}\n{hint}", crate::personality::name()));
}

/// Formats text for standard output.
macro_rules! say {
    ($($arg:tt)*) => { $crate::out::text(&format!($($arg)*)) };
}

pub(crate) use say;
