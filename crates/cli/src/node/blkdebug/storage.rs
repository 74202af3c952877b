//! The bytes of the node below, behind rules and limits.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use super::Debugger;
use super::events::{self, Name};
use super::limits::Limits;
use super::ranges::Ranges;
use super::rules::Io;

/// The most that is handled at once where a request has to be copied.
const PIECE: u64 = 1 << 20;

/// Storage whose requests fail and stop by rules.
pub(super) struct DebugStorage {
    below: Arc<dyn Storage>,
    debugger: Arc<Debugger>,
    limits: Limits,
    /// Writes under way, so that what surrounds one is not changed between its reading and writing.
    writes: Ranges,
}

impl DebugStorage {
    pub(super) fn new(below: Arc<dyn Storage>, debugger: Arc<Debugger>, limits: Limits) -> Self {
        Self { below, debugger, limits, writes: Ranges::default() }
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
    fn read_aligned(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let step = usize::try_from(self.most()).unwrap_or(usize::MAX);
        let mut read = 0;
        for piece in into.chunks_mut(step) {
            let here = at + read as u64;
            self.debugger.check(Io::Read, here, piece.len() as u64)?;
            let got = self.below.read_at(HostOffset::new(here), piece)?;
            read += got;
            if got < piece.len() {
                break;
            }
        }
        Ok(read)
    }

    /// Fills one unit from `at` for the part of it that a write leaves alone.
    fn surround(&self, at: u64, unit: &mut [u8], told: (Name, Name)) -> io::Result<()> {
        self.debugger.event(told.0);
        let got = self.read_aligned(at, unit)?;
        unit[got..].fill(0);
        self.debugger.event(told.1);
        Ok(())
    }

    /// Writes a range that begins or ends inside of a unit, or is longer than a request may be.
    fn write_padded(&self, at: u64, from: &[u8]) -> io::Result<()> {
        let align = self.limits.align;
        let len = from.len() as u64;
        let start = at - at % align;
        let end = (at + len).next_multiple_of(align);
        let _mine = self.writes.take(start, end);
        let unit = usize_of(align)?;
        let mut bytes = vec![0; usize_of(end - start)?];
        let (head, tail) = (start != at, end != at + len);
        if head {
            self.surround(start, &mut bytes[..unit], events::RMW_HEAD)?;
        }
        // One unit that lacks both of its ends is read once.
        if tail && !(head && end - start == align) {
            let last = bytes.len() - unit;
            self.surround(end - align, &mut bytes[last..], events::RMW_TAIL)?;
        }
        let skip = usize_of(at - start)?;
        bytes[skip..skip + from.len()].copy_from_slice(from);
        self.debugger.event(events::PWRITEV);
        let step = usize_of(self.most().min(bytes.len() as u64))?;
        let mut here = start;
        for piece in bytes.chunks(step.max(1)) {
            self.debugger.check(Io::Write, here, piece.len() as u64)?;
            self.below.write_at(HostOffset::new(here), piece)?;
            here += piece.len() as u64;
        }
        self.debugger.event(events::PWRITEV_DONE);
        Ok(())
    }

    /// Writes zeros as data, where a piece is too small to be told to the node below.
    fn write_zero_bytes(&self, at: u64, len: u64) -> io::Result<()> {
        let mut at = at;
        let end = at + len;
        while at < end {
            let here = (end - at).min(PIECE);
            let zeros = vec![0; usize_of(here)?];
            self.write_at(HostOffset::new(at), &zeros)?;
            at += here;
        }
        Ok(())
    }
}

fn usize_of(len: u64) -> io::Result<usize> {
    usize::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))
}

impl Storage for DebugStorage {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let len: u64 = into.iter().map(|buffer| buffer.len() as u64).sum();
        if self.fits(at.get(), len) {
            self.debugger.check(Io::Read, at.get(), len)?;
            return self.below.read_vectored_at(at, into);
        }
        let align = self.limits.align;
        let start = at.get() - at.get() % align;
        let end = at.get().saturating_add(len).next_multiple_of(align);
        let mut bytes = vec![0; usize_of(end - start)?];
        let got = self.read_aligned(start, &mut bytes)?;
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

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        let len: u64 = from.iter().map(|buffer| buffer.len() as u64).sum();
        if !self.fits(at.get(), len) {
            return self.write_padded(
                at.get(),
                &from.iter().flat_map(|b| b.iter().copied()).collect::<Vec<_>>(),
            );
        }
        let _mine = self.writes.take(at.get(), at.get().saturating_add(len));
        self.debugger.event(events::PWRITEV);
        self.debugger.check(Io::Write, at.get(), len)?;
        self.below.write_vectored_at(at, from)?;
        self.debugger.event(events::PWRITEV_DONE);
        Ok(())
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        let least = self.limits.align.max(self.limits.zeroes.at);
        let (mut at, end) = (range.start.get(), range.start.get() + range.len);
        while at < end {
            let len = self.limits.zeroes.first(at, end - at);
            let aligned =
                at.is_multiple_of(self.limits.align) && len.is_multiple_of(self.limits.align);
            if len < least || !aligned {
                self.write_zero_bytes(at, len)?;
            } else {
                let _mine = self.writes.take(at, at + len);
                self.debugger.event(events::PWRITEV_ZERO);
                self.debugger.check(Io::WriteZeroes, at, len)?;
                self.below.write_zeroes(HostRange { start: HostOffset::new(at), len })?;
                self.debugger.event(events::PWRITEV_DONE);
            }
            at += len;
        }
        Ok(())
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        let align = self.limits.align;
        let mut at = range.start.get().next_multiple_of(align);
        let end = range.start.get() + range.len;
        let end = end - end % align;
        while at < end {
            let len = self.limits.discard.first(at, end - at);
            self.debugger.check(Io::Discard, at, len)?;
            self.below.discard(HostRange { start: HostOffset::new(at), len })?;
            at += len;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.debugger.check(Io::Flush, 0, 0)?;
        self.below.flush()
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.below.set_len(len)
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.debugger.check(Io::WriteZeroes, range.start.get(), range.len)?;
        self.below.allocate(range)
    }

    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        self.debugger.check(Io::BlockStatus, at.get(), 1)?;
        self.below.extent_at(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Options;
    use holstein_storage::MemStorage;

    fn storage(text: &str) -> (Arc<MemStorage>, DebugStorage) {
        let mut options = Options::parse(text, None);
        let limits = Limits::take(&mut options).expect("the limits fit");
        let rules = super::super::rules::take(&mut options).expect("the rules are well formed");
        let bytes: Vec<u8> = (0..=255).cycle().take(16384).collect();
        let below = Arc::new(MemStorage::from_bytes(&bytes));
        let shared: Arc<dyn Storage> = Arc::<MemStorage>::clone(&below);
        (below, DebugStorage::new(shared, Arc::new(Debugger::new(rules)), limits))
    }

    #[test]
    fn what_surrounds_a_write_stays() {
        let (below, debug) = storage("align=4k,max-transfer=8k");
        debug.write_at(HostOffset::new(4000), &[7; 9000]).expect("memory takes it");
        let mut back = vec![0; 16384];
        assert_eq!(below.read_at(HostOffset::new(0), &mut back).expect("memory gives it"), 16384);
        let expected = |at: usize| {
            if (4000..13000).contains(&at) { 7 } else { u8::try_from(at % 256).expect("a byte") }
        };
        assert!(back.iter().enumerate().all(|(at, byte)| *byte == expected(at)));
        let mut part = [0; 300];
        assert_eq!(debug.read_at(HostOffset::new(3900), &mut part).expect("it is there"), 300);
        assert_eq!(part[..], back[3900..4200]);
        let mut past = [1; 100];
        assert_eq!(debug.read_at(HostOffset::new(16350), &mut past).expect("the end"), 34);
    }

    #[test]
    fn zeroes_and_discards_are_cut() {
        let (below, debug) = storage(
            "opt-write-zero=4k,max-write-zero=4k,inject-error.0.event=none,\
                                      inject-error.0.iotype=write-zeroes,inject-error.0.sector=9",
        );
        let range = |start, len| HostRange { start: HostOffset::new(start), len };
        debug.write_zeroes(range(100, 4000)).expect("no unit is whole");
        assert!(debug.write_zeroes(range(0, 12288)).is_err(), "the second unit is refused");
        let mut back = vec![1; 8192];
        below.read_at(HostOffset::new(0), &mut back).expect("memory gives it");
        assert!(back[..4100].iter().all(|byte| *byte == 0) && back[4101] != 0);
    }
}
