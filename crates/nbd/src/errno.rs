//! Error numbers of the protocol, which are those of Linux on every system.

use std::io;

/// A failure as it goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// Not permitted, as writing to a read-only export.
    Perm = 1,
    /// Input or output failed.
    Io = 5,
    /// No memory.
    NoMem = 12,
    /// The request makes no sense.
    Inval = 22,
    /// No space, or past the end.
    NoSpc = 28,
    /// The value is too large.
    Overflow = 75,
    /// Cannot be done this way.
    NotSup = 95,
    /// The server ends.
    Shutdown = 108,
}

impl Errno {
    const ALL: [Self; 8] = [
        Self::Perm,
        Self::Io,
        Self::NoMem,
        Self::Inval,
        Self::NoSpc,
        Self::Overflow,
        Self::NotSup,
        Self::Shutdown,
    ];

    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The failure that a number says; what the protocol does not list is [`Errno::Inval`].
    #[must_use]
    pub fn from_code(code: u32) -> Self {
        Self::ALL.into_iter().find(|errno| errno.code() == code).unwrap_or(Self::Inval)
    }

    /// What goes over the wire for a failure of an export.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        use rustix::io::Errno as Os;
        match error.raw_os_error().map(Os::from_raw_os_error) {
            Some(Os::PERM | Os::ACCESS | Os::ROFS) => Self::Perm,
            Some(Os::NOMEM) => Self::NoMem,
            Some(Os::INVAL) => Self::Inval,
            Some(Os::NOSPC | Os::DQUOT | Os::FBIG) => Self::NoSpc,
            Some(Os::OVERFLOW) => Self::Overflow,
            Some(Os::OPNOTSUPP | Os::NOSYS) => Self::NotSup,
            Some(Os::SHUTDOWN) => Self::Shutdown,
            Some(_) => Self::Io,
            None => match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Perm,
                io::ErrorKind::OutOfMemory => Self::NoMem,
                io::ErrorKind::InvalidInput => Self::Inval,
                io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge => Self::NoSpc,
                io::ErrorKind::Unsupported => Self::NotSup,
                _ => Self::Io,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_unknown_ones_are_invalid() {
        for errno in Errno::ALL {
            assert_eq!(Errno::from_code(errno.code()), errno);
        }
        assert_eq!(Errno::from_code(77), Errno::Inval);
        assert_eq!(Errno::of(&io::Error::from_raw_os_error(122)), Errno::NoSpc);
        assert_eq!(Errno::of(&io::Error::from(io::ErrorKind::Unsupported)), Errno::NotSup);
        assert_eq!(Errno::of(&io::Error::other("x")), Errno::Io);
    }
}
