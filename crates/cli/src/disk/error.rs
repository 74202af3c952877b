//! Why an operation on a disk failed.

use std::fmt;
use std::io;

use crate::text::strerror;

/// A failure: an errno for result lines, a message for error lines, and lines that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskError {
    errno: i32,
    message: String,
    hint: Option<String>,
}

impl DiskError {
    /// A failure with a message of its own.
    pub(crate) fn new(errno: i32, message: impl Into<String>) -> Self {
        Self { errno, message: message.into(), hint: None }
    }

    /// A failure whose message is the text of `errno`.
    pub(crate) fn from_errno(errno: i32) -> Self {
        Self::new(errno, strerror(errno))
    }

    /// Invalid use: `EINVAL` with a message.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(libc::EINVAL, message)
    }

    /// `EINVAL` with the message of a library, which begins with a small letter there.
    pub(crate) fn fragment(error: impl fmt::Display) -> Self {
        let mut message = error.to_string();
        if let Some(first) = message.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self::invalid(message)
    }

    /// An operation that does not exist here: `ENOTSUP` with a message.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(libc::ENOTSUP, message)
    }

    /// Adds a line that is printed after the message, without a prefix.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts `prefix` before the message.
    pub(crate) fn prefixed(mut self, prefix: impl fmt::Display) -> Self {
        self.message = format!("{prefix}{}", self.message);
        self
    }

    /// Puts `suffix` behind the message.
    pub(crate) fn suffixed(mut self, suffix: impl fmt::Display) -> Self {
        self.message = format!("{}{suffix}", self.message);
        self
    }

    /// The same failure with message and hint in other words.
    pub(crate) fn reworded(mut self, words: impl Fn(&str) -> String) -> Self {
        self.message = words(&self.message);
        self.hint = self.hint.as_deref().map(words);
        self
    }

    /// The errno, `EIO` where nothing better is known.
    pub(crate) fn errno(&self) -> i32 {
        self.errno
    }

    /// The C library's text of the errno, for lines as `read failed: Input/output error`.
    pub(crate) fn strerror(&self) -> String {
        strerror(self.errno)
    }

    /// The line that follows the message, if there is one.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DiskError {}

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&io::Error> for DiskError {
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::from_errno(errno),
            None => Self::new(errno_of(error.kind()), error.to_string()),
        }
    }
}

/// The errno that fits a kind of error which carries none.
fn errno_of(kind: io::ErrorKind) -> i32 {
    match kind {
        io::ErrorKind::NotFound => libc::ENOENT,
        io::ErrorKind::PermissionDenied => libc::EACCES,
        io::ErrorKind::InvalidInput => libc::EINVAL,
        io::ErrorKind::StorageFull => libc::ENOSPC,
        io::ErrorKind::FileTooLarge => libc::EFBIG,
        io::ErrorKind::Unsupported => libc::ENOTSUP,
        io::ErrorKind::ReadOnlyFilesystem => libc::EROFS,
        io::ErrorKind::WouldBlock => libc::EAGAIN,
        _ => libc::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_os_error_keeps_its_errno_and_the_c_text() {
        let error = DiskError::from(io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!(error.errno(), libc::ENOSPC);
        assert_eq!(error.to_string(), "No space left on device");
        assert_eq!(error.strerror(), "No space left on device");
    }

    #[test]
    fn an_error_without_errno_gets_one_by_its_kind() {
        let error = DiskError::from(io::Error::new(io::ErrorKind::NotFound, "gone"));
        assert_eq!((error.errno(), error.to_string()), (libc::ENOENT, "gone".to_owned()));
    }
}
