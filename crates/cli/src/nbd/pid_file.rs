//! A file with the number of the process, locked while it runs.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{FlockOperation, fcntl_lock};

use super::{Failure, Outcome};

/// The file; it stays locked until this is dropped, and is not removed.
#[derive(Debug)]
pub(super) struct PidFile {
    _file: File,
}

impl PidFile {
    /// Writes the number of this process.
    ///
    /// # Errors
    /// The file cannot be made, or another process has it locked.
    pub(super) fn write(path: &str) -> Outcome<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o644);
        let failed = |error| Failure::prefixed(format!("Could not create '{path}': "), error);
        let mut file = options.open(path).map_err(failed)?;
        // What is in the file belongs to whoever has the lock.
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            Failure::prefixed("Cannot lock pid file: ", std::io::Error::from(error))
        })?;
        let number = format!("{}\n", std::process::id());
        let written = file.set_len(0).and_then(|()| file.write_all(number.as_bytes()));
        written.map_err(|error| Failure::prefixed("Failed to write pid file: ", error))?;
        Ok(Self { _file: file })
    }
}
