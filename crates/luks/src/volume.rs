//! A whole volume: a header, and payload behind it.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Arc, PoisonError, RwLock};

use holstein_crypto::{SECTOR as SECTOR_BYTES, Secret, SectorCipher, encrypt_parts, read_sectors};
use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use crate::header::SECTOR;
use crate::{FileArea, Format, Header, Limits, LuksError};

/// Bytes that are encrypted at once.
const STEP: usize = 1 << 20;

/// The payload of a volume, as storage.
///
/// # Concurrency
/// Requests for whole sectors do not wait for each other.
pub struct Volume {
    file: Arc<dyn Storage>,
    cipher: Arc<dyn SectorCipher>,
    /// Byte of the file at which the payload begins.
    start: u64,
    /// Held alone by writes of parts of sectors, which read the rest of them.
    parts: RwLock<()>,
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("start", &self.start).finish_non_exhaustive()
    }
}

impl Volume {
    /// Opens the volume in a file.
    ///
    /// # Errors
    /// As for [`Header::read`] and [`Header::unlock`].
    pub fn open(
        file: Arc<dyn Storage>,
        passphrase: &Secret,
        limits: Limits,
    ) -> Result<Self, LuksError> {
        let area = FileArea::whole(&*file);
        let header = Header::read(&area)?;
        let cipher = header.unlock(&area, passphrase, limits)?.cipher()?;
        Ok(Self { file, cipher, start: header.payload_offset(), parts: RwLock::new(()) })
    }

    /// Makes a volume with a payload of `len` bytes, which read as anything until they are written.
    ///
    /// The header comes last, and all is durable on return.
    ///
    /// # Errors
    /// As for [`Format::format`]; I/O.
    pub fn create(
        file: Arc<dyn Storage>,
        format: &Format,
        passphrase: &Secret,
        len: u64,
    ) -> Result<Self, LuksError> {
        let made = format.format(passphrase)?;
        let start = made.bytes.len() as u64;
        let end =
            start.checked_add(len).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if file.capabilities().resizable {
            file.set_len(0)?;
            file.set_len(end)?;
        }
        let (first, rest) = made.bytes.split_at(SECTOR_BYTES);
        file.write_at(HostOffset::new(SECTOR), rest)?;
        file.flush()?;
        file.write_at(HostOffset::new(0), first)?;
        file.flush()?;
        let cipher = made.key.cipher()?;
        Ok(Self { file, cipher, start, parts: RwLock::new(()) })
    }

    /// The file below.
    #[must_use]
    pub fn file(&self) -> &Arc<dyn Storage> {
        &self.file
    }

    /// Byte of the file at which the payload begins.
    #[must_use]
    pub fn payload_offset(&self) -> u64 {
        self.start
    }

    /// Fills `into` from byte `at` of the payload; what the file does not have counts as zeros that were
    /// encrypted.
    fn fill(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let skip = usize::try_from(at % SECTOR).expect("less than a sector");
        let first = self.start + at - skip as u64;
        read_sectors(&*self.cipher, at / SECTOR, skip, into, |offset, buffer| {
            let got = self.file.read_at(HostOffset::new(first + offset), buffer)?;
            buffer[got..].fill(0);
            Ok(())
        })
    }

    /// Encrypts and writes bytes, with what is left of the sectors at both ends.
    fn put(&self, at: u64, from: &[u8]) -> io::Result<()> {
        let head = usize::try_from(at % SECTOR).expect("less than a sector");
        let end = head + from.len();
        let whole = end.next_multiple_of(SECTOR_BYTES);
        let start = at - head as u64;
        let aligned = head == 0 && whole == end;
        let _some = aligned.then(|| self.parts.read().unwrap_or_else(PoisonError::into_inner));
        let _alone = (!aligned).then(|| self.parts.write().unwrap_or_else(PoisonError::into_inner));
        let (mut before, mut after) = ([0; SECTOR_BYTES], [0; SECTOR_BYTES]);
        let (before, after) = (&mut before[..head], &mut after[..whole - end]);
        self.fill(start, before)?;
        self.fill(start + end as u64, after)?;
        let mut bytes = vec![0; whole];
        let parts = [IoSlice::new(before), IoSlice::new(from), IoSlice::new(after)];
        encrypt_parts(&*self.cipher, start / SECTOR, &parts, &mut bytes);
        self.file.write_at(HostOffset::new(self.start + start), &bytes)
    }

    /// The same place in the file.
    fn host(&self, range: HostRange) -> HostRange {
        HostRange { start: range.start + self.start, len: range.len }
    }
}

impl Storage for Volume {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut left = self.len()?.saturating_sub(at.get());
        let (mut at, mut done) = (at.get(), 0);
        for buffer in into {
            let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            self.fill(at, &mut buffer[..len])?;
            at += len as u64;
            left -= len as u64;
            done += len;
        }
        Ok(done)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        let mut at = at.get();
        for buffer in from {
            let mut left = &**buffer;
            while !left.is_empty() {
                // Steps end at sectors.
                let skip = usize::try_from(at % SECTOR).expect("less than a sector");
                let (now, rest) = left.split_at(left.len().min(STEP - skip));
                self.put(at, now)?;
                at += now.len() as u64;
                left = rest;
            }
        }
        Ok(())
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        let zeros = vec![0; STEP];
        let (mut at, end) = (range.start, range.start.get().saturating_add(range.len));
        while at.get() < end {
            let left = usize::try_from(end - at.get()).unwrap_or(usize::MAX);
            let len = left.min(STEP);
            self.write_at(at, &zeros[..len])?;
            at = at + len as u64;
        }
        Ok(())
    }

    /// Does nothing: what is discarded would read as anything.
    fn discard(&self, _range: HostRange) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.file.flush()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len()?.saturating_sub(self.start))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let end = self.start.checked_add(len);
        self.file.set_len(end.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?)
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.file.allocate(self.host(range))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            alignment: 1,
            // Zeros of the file are no zeros here.
            zero_beyond_end: false,
            discard: false,
            fast_zeroes: false,
            ..self.file.capabilities()
        }
    }
}
