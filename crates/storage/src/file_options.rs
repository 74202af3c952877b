//! How a file is opened.

use crate::LockMode;

/// What to do about a file that is not there, or is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Create {
    /// It must exist.
    #[default]
    No,
    /// It must not exist.
    New,
    /// It is made if missing, and cut to length 0 after its lock was taken. Block devices keep
    /// their length and content.
    Truncate,
}

/// When writes become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// At the next flush.
    #[default]
    Normal,
    /// Before each call returns.
    WriteThrough,
    /// Whenever the operating system likes: flush does nothing.
    Unsafe,
}

/// How [`crate::FileStorage`] opens a file. The default reads an existing one, under QEMU's reader
/// lock.
///
/// ```
/// use holstein_storage::{Create, FileOptions, LockMode};
///
/// let options =
///     FileOptions { write: true, create: Create::New, lock: LockMode::Write, ..Default::default() };
/// assert!(!options.direct);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FileOptions {
    /// Open for reading and writing; creating needs it.
    pub write: bool,
    /// What to do if the file is missing or there already.
    pub create: Create,
    /// Go past the page cache (`O_DIRECT`); any alignment is still accepted.
    pub direct: bool,
    /// Which lock to take before anything is changed.
    pub lock: LockMode,
    /// When writes become durable.
    pub sync: SyncMode,
    /// Accept character devices and sockets; the caller bears endless or blocking reads.
    pub allow_special: bool,
    /// The file is going to be written once, mostly from its start to its end: the device gets
    /// the pages while more are coming, and the flush at the end waits for fewer.
    pub streaming: bool,
    /// Do not look who has the lock where it cannot be had: that takes milliseconds, which who tries
    /// again and again may not want to spend. [`OpenError::Lock`](crate::OpenError::Lock) names nobody
    /// then.
    pub skip_holders: bool,
}
