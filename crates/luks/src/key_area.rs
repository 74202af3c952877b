//! Where a header and its key material lie.

use std::io;

use holstein_storage::Storage;
use holstein_units::HostOffset;

use crate::{Header, LuksError};

/// The start of a volume, or an area inside of an image.
pub trait KeyArea {
    /// Bytes of the area.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// As for [`Self::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `into` from byte `at` of the area on; all of it is within.
    ///
    /// # Errors
    /// Whatever the operating system says; the end of the file is an error.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes `from` at byte `at` of the area; all of it is within.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn write_at(&self, at: u64, from: &[u8]) -> io::Result<()>;

    /// Returns when all that was written is durable.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn barrier(&self) -> io::Result<()>;
}

/// The area of a file: all of one that is a volume, or a part of one that holds more.
#[derive(Clone, Copy)]
pub struct FileArea<'a> {
    file: &'a dyn Storage,
    start: u64,
    most: u64,
}

impl<'a> FileArea<'a> {
    /// All of a file.
    #[must_use]
    pub fn whole(file: &'a dyn Storage) -> Self {
        Self { file, start: 0, most: u64::MAX }
    }

    /// `len` bytes from byte `start` of a file on, or what it has of them.
    #[must_use]
    pub fn part(file: &'a dyn Storage, start: HostOffset, len: u64) -> Self {
        Self { file, start: start.get(), most: len }
    }
}

impl std::fmt::Debug for FileArea<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileArea").field("start", &self.start).finish_non_exhaustive()
    }
}

impl KeyArea for FileArea<'_> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len()?.saturating_sub(self.start).min(self.most))
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        match self.file.read_at(HostOffset::new(self.start + at), into)? {
            got if got < into.len() => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn write_at(&self, at: u64, from: &[u8]) -> io::Result<()> {
        self.file.write_at(HostOffset::new(self.start + at), from)
    }

    fn barrier(&self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads a part of the area, if it is within.
pub(crate) fn read(area: &dyn KeyArea, at: u64, into: &mut [u8]) -> Result<(), LuksError> {
    check_within(area, at, into.len())?;
    Ok(area.read_at(at, into)?)
}

/// Writes a part of the area, if it is within.
pub(crate) fn write(area: &dyn KeyArea, at: u64, from: &[u8]) -> Result<(), LuksError> {
    check_within(area, at, from.len())?;
    Ok(area.write_at(at, from)?)
}

fn check_within(area: &dyn KeyArea, at: u64, len: usize) -> Result<(), LuksError> {
    let (have, need) = (area.len()?, at + len as u64);
    if have < need {
        return Err(LuksError::Short { have, need });
    }
    Ok(())
}

impl Header {
    /// Reads the header of an area.
    ///
    /// # Errors
    /// As for [`Self::decode`]; I/O.
    pub fn read(area: &dyn KeyArea) -> Result<Self, LuksError> {
        let mut bytes = [0; Self::BYTES];
        read(area, 0, &mut bytes)?;
        Self::decode(&bytes)
    }
}
