//! The open file, and running commands on it.

use std::sync::Arc;

use super::files::Opened;
use super::jobs::Jobs;
use super::table;
use super::{Failed, Outcome};
use crate::disk::Disk;
use crate::objects::Objects;
use crate::out::{self, say};

/// A disk that requests in flight share.
pub(super) type SharedDisk = Arc<Box<dyn Disk>>;

/// The state between two commands.
pub(super) struct Session {
    /// The open file, if there is one.
    pub(super) opened: Option<Opened>,
    /// Requests in flight.
    pub(super) jobs: Jobs,
    /// Objects of the command line.
    pub(super) objects: Objects,
    /// Buffers do not begin at a page.
    pub(super) misalign: bool,
    /// No more commands are wanted.
    pub(super) done: bool,
}

impl Session {
    /// A session without a file.
    pub(super) fn new(objects: Objects, misalign: bool) -> Self {
        Self { opened: None, jobs: Jobs::new(), objects, misalign, done: false }
    }

    /// Runs one line: a command and its words, separated by blanks.
    ///
    /// # Errors
    /// The command failed, and said why.
    pub(super) fn run_line(&mut self, line: &str) -> Outcome {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let Some((name, arguments)) = words.split_first() else { return Ok(()) };
        let Some(command) = table::find(name) else {
            out::error_text(&format!("command \"{name}\" not found\n"));
            return Err(Failed);
        };
        if command.needs_file && self.opened.is_none() {
            out::error_text("no file open, try 'help open'\n");
            return Err(Failed);
        }
        if let Some(expected) = command.wrong_count(arguments.len()) {
            let count = arguments.len();
            out::error_text(&format!(
                "bad argument count {count} to {name}, expected {expected} arguments\n"
            ));
            return Err(Failed);
        }
        if command.writes && self.disk()?.read_only() {
            out::error_line("Block node is read-only");
            return Err(Failed);
        }
        (command.run)(self, &words)
    }

    /// The disk of the open file.
    ///
    /// # Errors
    /// There is none, which is said.
    pub(super) fn disk(&self) -> Result<SharedDisk, Failed> {
        match &self.opened {
            Some(opened) => Ok(Arc::clone(&opened.disk)),
            None => {
                out::error_text("no file open, try 'help open'\n");
                Err(Failed)
            }
        }
    }
}

/// `EIO` for a request that goes past the end of the disk.
pub(super) fn check_range(disk: &dyn Disk, offset: u64, count: u64) -> Result<(), i32> {
    let inside = offset.checked_add(count).is_some_and(|end| end <= disk.len());
    if inside { Ok(()) } else { Err(libc::EIO) }
}

/// Prints the one-line usage of the command that the words begin with.
pub(super) fn usage(words: &[&str]) -> Failed {
    if let Some(command) = words.first().and_then(|name| table::find(name)) {
        say!("{}", command.one_line(command.name));
    }
    Failed
}
