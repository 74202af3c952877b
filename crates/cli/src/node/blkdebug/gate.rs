//! What rules and limits do to requests on their way to the node below.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use holstein_storage::Storage;
use holstein_units::{HostOffset, HostRange};

use super::Debugger;
use super::events::{self, Name};
use super::limits::Limits;
use super::ranges::Ranges;
use super::rules::Io;

/// The most that is handled at once where a request has to be copied.
const PIECE: u64 = 1 << 20;

/// Where requests are cut to limits, and fail and stop by rules.
pub(super) struct Gate {
    debugger: Arc<Debugger>,
    limits: Limits,
    /// Writes under way, so that what surrounds one is not changed between its reading and writing.
    writes: Ranges,
}

impl Gate {
    pub(super) fn new(debugger: Arc<Debugger>, limits: Limits) -> Self {
        Self { debugger, limits, writes: Ranges::default() }
    }

    /// The bytes of one request at most.
    fn most(&self) -> u64 {
        if self.limits.max_transfer == 0 { u64::MAX } else { self.limits.max_transfer }
    }

    /// Whether a request goes down as it is.
    fn fits(&self, at: u64, len: u64) -> bool {
        let align = self.limits.align;
        at.is_multiple_of(align) && len.is_multiple_of(align) && len <= self.most()
    }

    /// Reads an aligned range, in pieces, and returns how many bytes there were.
    fn read_aligned(&self, below: &dyn Storage, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let step = usize::try_from(self.most()).unwrap_or(usize::MAX);
        let mut read = 0;
        for piece in into.chunks_mut(step) {
            let here = at + read as u64;
            self.debugger.check(Io::Read, here, piece.len() as u64)?;
            let got = below.read_at(HostOffset::new(here), piece)?;
            read += got;
            if got < piece.len() {
                break;
            }
        }
        Ok(read)
    }

    /// Fills one unit from `at` for the part of it that a write leaves alone.
    fn surround(
        &self,
        below: &dyn Storage,
        at: u64,
        unit: &mut [u8],
        told: (Name, Name),
    ) -> io::Result<()> {
        self.debugger.event(told.0);
        let got = self.read_aligned(below, at, unit)?;
        unit[got..].fill(0);
        self.debugger.event(told.1);
        Ok(())
    }

    /// Writes a range that begins or ends inside of a unit, or is longer than a request may be.
    fn write_padded(&self, below: &dyn Storage, at: u64, from: &[u8]) -> io::Result<()> {
        let align = self.limits.align;
        let len = from.len() as u64;
        let start = at - at % align;
        let end = (at + len).next_multiple_of(align);
        let _mine = self.writes.take(start, end);
        let unit = usize_of(align)?;
        let mut bytes = vec![0; usize_of(end - start)?];
        let (head, tail) = (start != at, end != at + len);
        if head {
            self.surround(below, start, &mut bytes[..unit], events::RMW_HEAD)?;
        }
        // One unit that lacks both of its ends is read once.
        if tail && !(head && end - start == align) {
            let last = bytes.len() - unit;
            self.surround(below, end - align, &mut bytes[last..], events::RMW_TAIL)?;
        }
        let skip = usize_of(at - start)?;
        bytes[skip..skip + from.len()].copy_from_slice(from);
        self.debugger.event(events::PWRITEV);
        let step = usize_of(self.most().min(bytes.len() as u64))?;
        let mut here = start;
        for piece in bytes.chunks(step.max(1)) {
            self.debugger.check(Io::Write, here, piece.len() as u64)?;
            below.write_at(HostOffset::new(here), piece)?;
            here += piece.len() as u64;
        }
        self.debugger.event(events::PWRITEV_DONE);
        Ok(())
    }

    /// Writes zeros as data, where a piece is too small to be told to the node below.
    fn write_zero_bytes(&self, below: &dyn Storage, at: u64, len: u64) -> io::Result<()> {
        let mut at = at;
        let end = at + len;
        while at < end {
            let here = (end - at).min(PIECE);
            let zeros = vec![0; usize_of(here)?];
            self.write(below, HostOffset::new(at), &[IoSlice::new(&zeros)])?;
            at += here;
        }
        Ok(())
    }
}

fn usize_of(len: u64) -> io::Result<usize> {
    usize::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))
}

impl Gate {
    /// Reads as [`Storage::read_vectored_at`] does.
    ///
    /// # Errors
    /// Those of the node below, and the errno of a rule.
    pub(super) fn read(
        &self,
        below: &dyn Storage,
        at: HostOffset,
        into: &mut [IoSliceMut<'_>],
    ) -> io::Result<usize> {
        let len: u64 = into.iter().map(|buffer| buffer.len() as u64).sum();
        if self.fits(at.get(), len) {
            self.debugger.check(Io::Read, at.get(), len)?;
            return below.read_vectored_at(at, into);
        }
        let align = self.limits.align;
        let start = at.get() - at.get() % align;
        let end = at.get().saturating_add(len).next_multiple_of(align);
        let mut bytes = vec![0; usize_of(end - start)?];
        let got = self.read_aligned(below, start, &mut bytes)?;
        let skip = usize_of(at.get() - start)?;
        let mut rest = bytes.get(skip..got).unwrap_or_default();
        let mut read = 0;
        for buffer in into {
            let here = rest.len().min(buffer.len());
            buffer[..here].copy_from_slice(&rest[..here]);
            rest = &rest[here..];
            read += here;
        }
        Ok(read)
    }

    /// Writes as [`Storage::write_vectored_at`] does.
    ///
    /// # Errors
    /// Those of the node below, and the errno of a rule.
    pub(super) fn write(
        &self,
        below: &dyn Storage,
        at: HostOffset,
        from: &[IoSlice<'_>],
    ) -> io::Result<()> {
        let len: u64 = from.iter().map(|buffer| buffer.len() as u64).sum();
        if !self.fits(at.get(), len) {
            return self.write_padded(
                below,
                at.get(),
                &from.iter().flat_map(|b| b.iter().copied()).collect::<Vec<_>>(),
            );
        }
        let _mine = self.writes.take(at.get(), at.get().saturating_add(len));
        self.debugger.event(events::PWRITEV);
        self.debugger.check(Io::Write, at.get(), len)?;
        below.write_vectored_at(at, from)?;
        self.debugger.event(events::PWRITEV_DONE);
        Ok(())
    }

    /// Makes a range read as zeros, whole units of it without data.
    ///
    /// # Errors
    /// Those of the node below, and the errno of a rule.
    pub(super) fn write_zeroes(&self, below: &dyn Storage, range: HostRange) -> io::Result<()> {
        let least = self.limits.align.max(self.limits.zeroes.at);
        let (mut at, end) = (range.start.get(), range.start.get() + range.len);
        while at < end {
            let len = self.limits.zeroes.first(at, end - at);
            let aligned =
                at.is_multiple_of(self.limits.align) && len.is_multiple_of(self.limits.align);
            if len < least || !aligned {
                self.write_zero_bytes(below, at, len)?;
            } else {
                let _mine = self.writes.take(at, at + len);
                self.debugger.event(events::PWRITEV_ZERO);
                self.debugger.check(Io::WriteZeroes, at, len)?;
                below.write_zeroes(HostRange { start: HostOffset::new(at), len })?;
                self.debugger.event(events::PWRITEV_DONE);
            }
            at += len;
        }
        Ok(())
    }

    /// Discards the whole units of a range.
    ///
    /// # Errors
    /// Those of the node below, and the errno of a rule.
    pub(super) fn discard(&self, below: &dyn Storage, range: HostRange) -> io::Result<()> {
        let align = self.limits.align;
        let mut at = range.start.get().next_multiple_of(align);
        let end = range.start.get() + range.len;
        let end = end - end % align;
        while at < end {
            let len = self.limits.discard.first(at, end - at);
            self.debugger.check(Io::Discard, at, len)?;
            below.discard(HostRange { start: HostOffset::new(at), len })?;
            at += len;
        }
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Those of the node below, and the errno of a rule.
    pub(super) fn flush(&self, below: &dyn Storage) -> io::Result<()> {
        self.debugger.check(Io::Flush, 0, 0)?;
        below.flush()
    }

    /// Reserves a range as [`Storage::allocate`] does.
    ///
    /// # Errors
    /// Those of the node below, and the errno of a rule.
    pub(super) fn allocate(&self, below: &dyn Storage, range: HostRange) -> io::Result<()> {
        self.debugger.check(Io::WriteZeroes, range.start.get(), range.len)?;
        below.allocate(range)
    }

    /// Asks whether something may be asked about `len` bytes at `at`.
    ///
    /// # Errors
    /// The errno of a rule.
    pub(super) fn question(&self, at: u64, len: u64) -> io::Result<()> {
        self.debugger.check(Io::BlockStatus, at, len)
    }
}
