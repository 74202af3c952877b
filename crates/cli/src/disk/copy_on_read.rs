//! A filter that keeps what is read from below in the image itself.

use std::sync::{Arc, Mutex, PoisonError};

use super::{CompressedWrite, DiskInfo, Filter, Heard, Preallocation, Result};
use crate::node::{COR_WRITE, Debugger};
use crate::zero::is_zero;

/// The driver's name.
const DRIVER: &str = "copy-on-read";

/// The most that is copied at once, in bytes.
const PIECE: u64 = 1 << 20;

/// What is copied at least where the format has no clusters, in bytes.
const SMALLEST: u64 = 512;

/// A disk over an image that copies to it whatever is read and not held by it yet.
pub(crate) struct CopyOnRead {
    disk: Box<dyn super::Disk>,
    /// Bytes that are copied together.
    unit: u64,
    /// Rules of the disk itself, which are told before a copy is written.
    debugger: Option<Arc<Debugger>>,
    /// The name by which it is shown, where it is a node of its own.
    name: Option<String>,
    /// Copies and writes exclude each other, so that a copy never undoes a write.
    writes: Mutex<()>,
}

impl CopyOnRead {
    /// Puts the filter over a disk that is open for writing.
    pub(crate) fn new(disk: Box<dyn super::Disk>) -> Self {
        let info = disk.info().ok();
        let debugs = info.as_ref().is_some_and(|info| info.format == "blkdebug");
        let unit = info.and_then(|info| info.subcluster_size).unwrap_or(SMALLEST);
        let debugger = disk.debugger().filter(|_| debugs);
        Self { disk, unit: unit.max(SMALLEST), debugger, name: None, writes: Mutex::new(()) }
    }

    /// The same as a node of a tree, which is shown as `name`.
    pub(crate) fn node(disk: Box<dyn super::Disk>, name: String) -> Self {
        Self { name: Some(name), ..Self::new(disk) }
    }

    /// The range in whole units.
    fn units(&self, at: u64, len: u64) -> (u64, u64) {
        let end = (at + len).next_multiple_of(self.unit).min(self.disk.len());
        (at - at % self.unit, end)
    }

    /// The next range that is alike, and whether the image holds it.
    fn piece(&self, at: u64, end: u64) -> Result<(u64, bool)> {
        let status = self.disk.status(at, end - at)?;
        let held = status.present && status.depth == 0;
        let len = if held { status.len } else { status.len.min(PIECE.max(self.unit)) };
        Ok((len.min(end - at), held))
    }

    /// Whether the image holds all of a range.
    fn holds(&self, at: u64, len: u64) -> Result<bool> {
        let (mut at, end) = self.units(at, len);
        while at < end {
            match self.piece(at, end)? {
                (len, true) if len > 0 => at += len,
                (_, held) => return Ok(held),
            }
        }
        Ok(true)
    }

    /// Reads a range, and keeps what the image does not hold of it, in whole units and in order: what is
    /// held is read and not written again.
    fn read_and_copy(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let (mut from, end) = self.units(at, into.len() as u64);
        while from < end {
            let (len, held) = self.piece(from, end)?;
            if len == 0 {
                break;
            }
            let wanted = part(at, into.len(), from, len);
            let room = into.get_mut(wanted.clone()).unwrap_or_default();
            if held && !room.is_empty() {
                self.disk.read_at(at + wanted.start as u64, room)?;
            } else if !held {
                let bytes = self.copy_piece(from, len)?;
                let skip = usize::try_from(at.saturating_sub(from)).unwrap_or(bytes.len());
                let bytes = bytes.get(skip..).unwrap_or_default();
                room.copy_from_slice(bytes.get(..room.len()).unwrap_or_default());
            }
            from += len;
        }
        Ok(())
    }

    /// Reads a piece and writes it to the image.
    fn copy_piece(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.disk.read_at(at, &mut bytes)?;
        if let Some(debugger) = &self.debugger {
            debugger.event(COR_WRITE);
        }
        if is_zero(&bytes) {
            self.disk.write_zeroes(at, len, false, false)?;
        } else {
            self.disk.write_at(at, &bytes, false)?;
        }
        Ok(bytes)
    }

    fn exclusive<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }
}

/// Where in a buffer for `len` bytes from `at` a piece lies.
fn part(at: u64, len: usize, from: u64, piece: u64) -> std::ops::Range<usize> {
    let place = |byte: u64| usize::try_from(byte.saturating_sub(at)).map_or(len, |at| at.min(len));
    place(from)..place(from.saturating_add(piece))
}

impl Filter for CopyOnRead {
    fn below(&self) -> &dyn super::Disk {
        &*self.disk
    }

    fn below_mut(&mut self) -> &mut dyn super::Disk {
        &mut *self.disk
    }

    fn into_below(self: Box<Self>) -> Box<dyn super::Disk> {
        self.disk
    }

    fn is_node(&self) -> bool {
        self.name.is_some()
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let len = into.len() as u64;
        let is_inside = at.checked_add(len).is_some_and(|end| end <= self.disk.len());
        if !is_inside || self.holds(at, len)? {
            return self.disk.read_at(at, into);
        }
        self.exclusive(|| self.read_and_copy(at, into))
    }

    fn write_at(&self, at: u64, from: &[u8], fua: bool) -> Result<()> {
        self.exclusive(|| self.disk.write_at(at, from, fua))
    }

    fn compress<'a>(&'a self, at: u64, from: &'a [u8]) -> Result<CompressedWrite<'a>> {
        let write = self.disk.compress(at, from)?;
        Ok(Box::new(|| self.exclusive(write)))
    }

    fn write_zeroes(&self, at: u64, len: u64, unmap: bool, fua: bool) -> Result<()> {
        self.exclusive(|| self.disk.write_zeroes(at, len, unmap, fua))
    }

    fn discard(&self, at: u64, len: u64) -> Result<()> {
        self.exclusive(|| self.disk.discard(at, len))
    }

    fn truncate(&self, len: u64, preallocation: Preallocation, progress: Heard<'_>) -> Result<()> {
        self.exclusive(|| self.disk.truncate(len, preallocation, progress))
    }

    fn info(&self) -> Result<DiskInfo> {
        let info = self.disk.info()?;
        Ok(match self.name.clone() {
            Some(filename) => DiskInfo { format: DRIVER, specific: None, filename, ..info },
            None => info,
        })
    }
}
