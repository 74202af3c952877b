//! A filter that keeps what is read from below in the image itself.

use std::sync::{Arc, Mutex, PoisonError};

use holstein_storage::FileIdentity;

use super::{CompressedWrite, Disk, DiskInfo, Preallocation, Result, Snapshots, Status};
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
    disk: Box<dyn Disk>,
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
    pub(crate) fn new(disk: Box<dyn Disk>) -> Self {
        let info = disk.info().ok();
        let debugs = info.as_ref().is_some_and(|info| info.format == "blkdebug");
        let unit = info.and_then(|info| info.subcluster_size).unwrap_or(SMALLEST);
        let debugger = disk.debugger().filter(|_| debugs);
        Self { disk, unit: unit.max(SMALLEST), debugger, name: None, writes: Mutex::new(()) }
    }

    /// The same as a node of a tree, which is shown as `name`.
    pub(crate) fn node(disk: Box<dyn Disk>, name: String) -> Self {
        Self { name: Some(name), ..Self::new(disk) }
    }

    /// Copies what the image does not hold of a range, in whole units.
    fn copy(&self, at: u64, len: u64) -> Result<()> {
        let Some(end) = at.checked_add(len).filter(|end| *end <= self.disk.len()) else {
            return Ok(());
        };
        let end = end.next_multiple_of(self.unit).min(self.disk.len());
        let mut at = at - at % self.unit;
        while at < end {
            let status = self.disk.status(at, end - at)?;
            if status.len == 0 {
                break;
            }
            let held = status.present && status.depth == 0;
            let here = if held { status.len } else { status.len.min(PIECE.max(self.unit)) };
            if !held {
                self.copy_piece(at, here)?;
            }
            at += here;
        }
        Ok(())
    }

    fn copy_piece(&self, at: u64, len: u64) -> Result<()> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.disk.read_at(at, &mut bytes)?;
        if let Some(debugger) = &self.debugger {
            debugger.event(COR_WRITE);
        }
        if is_zero(&bytes) {
            self.disk.write_zeroes(at, len, false, false)
        } else {
            self.disk.write_at(at, &bytes, false)
        }
    }

    fn exclusive<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }
}

impl Disk for CopyOnRead {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.exclusive(|| self.copy(at, into.len() as u64))?;
        self.disk.read_at(at, into)
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

    fn flush(&self) -> Result<()> {
        self.disk.flush()
    }

    fn truncate(&self, len: u64, preallocation: Preallocation) -> Result<()> {
        self.exclusive(|| self.disk.truncate(len, preallocation))
    }

    fn status(&self, at: u64, len: u64) -> Result<Status> {
        self.disk.status(at, len)
    }

    fn info(&self) -> Result<DiskInfo> {
        let info = self.disk.info()?;
        Ok(match self.name.clone() {
            Some(filename) => DiskInfo { format: DRIVER, specific: None, filename, ..info },
            None => info,
        })
    }

    fn backing_len(&self) -> Option<u64> {
        self.disk.backing_len()
    }

    fn files(&self, found: &mut Vec<FileIdentity>) {
        self.disk.files(found);
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        self.disk.snapshots()
    }

    fn debugger(&self) -> Option<Arc<Debugger>> {
        self.disk.debugger()
    }

    fn read_only(&self) -> bool {
        self.disk.read_only()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.disk.close()
    }
}
