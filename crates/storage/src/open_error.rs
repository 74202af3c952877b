//! Why a file could not be opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::{LockError, LockHolder};

/// What a name leads to that is neither a regular file nor a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A FIFO; reading could wait for ever.
    Fifo,
    /// A character device, such as a terminal or an endless source of zeros.
    CharacterDevice,
    /// A socket.
    Socket,
    /// Something the operating system has no common name for.
    Other,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "a directory",
            Self::Fifo => "a fifo",
            Self::CharacterDevice => "a character device",
            Self::Socket => "a socket",
            Self::Other => "a special file",
        })
    }
}

/// Opening a file failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system said no.
    #[error("open {path:?}")]
    Io {
        /// The name as it was given.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The name leads to something that is not a regular file or block device.
    #[error("open {path:?}: it is {kind}, not a regular file or block device")]
    FileType {
        /// The name as it was given.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// Another process has the image open in a way that excludes this one.
    #[error("lock {path:?}{}", held_by(.holders))]
    Lock {
        /// The name as it was given.
        path: PathBuf,
        /// Who has a lock on it, as far as could be found.
        holders: Vec<LockHolder>,
        /// Which permission is missing.
        #[source]
        source: LockError,
    },
    /// A descriptor was given whose mode is not the one the options ask for.
    #[error("use descriptor of {path:?}: {reason}")]
    Descriptor {
        /// What the caller calls the file.
        path: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
}

/// Who holds a file, as the end of a message.
fn held_by(holders: &[LockHolder]) -> String {
    if holders.is_empty() {
        String::new()
    } else {
        format!(", held by {}", LockHolder::all(holders))
    }
}

impl OpenError {
    /// The file's name as it was given.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::Io { path, .. }
            | Self::FileType { path, .. }
            | Self::Lock { path, .. }
            | Self::Descriptor { path, .. } => path,
        }
    }
}
