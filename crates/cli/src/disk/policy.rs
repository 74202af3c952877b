//! What generic node options ask for, over any disk.

use std::io::{IoSlice, IoSliceMut};
use std::sync::{Mutex, PoisonError};

use holstein::{NewSnapshot, SnapshotSelector};
use holstein_format::SnapshotRecord;

use super::filter::joined;
use super::{CompressedWrite, DiskError, Filter, Heard, Preallocation, Result, Snapshots};
use crate::node::{Probed, probe};
use crate::zero::is_zero;

/// What is done to requests on their way down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyOptions {
    /// Every write is durable on return.
    pub(crate) write_through: bool,
    /// Writes of zeros become zeroes; `true` lets their space be given back.
    pub(crate) detect_zeroes: Option<bool>,
    /// Discards do nothing, and zeroes keep their space.
    pub(crate) ignore_discard: bool,
    /// The format was guessed to be raw: the first sector must not begin to look like another one.
    pub(crate) keep_start_raw: bool,
}

/// A disk with [`PolicyOptions`].
pub(crate) struct Policy {
    disk: Box<dyn super::Disk>,
    options: PolicyOptions,
    /// Held while the first sector changes, which is read before it is written.
    start: Mutex<()>,
}

/// Bytes at the start whose content decides about the format.
const START: u64 = 512;

impl Policy {
    /// Puts the options over a disk.
    pub(crate) fn new(disk: Box<dyn super::Disk>, options: PolicyOptions) -> Self {
        Self { disk, options, start: Mutex::new(()) }
    }

    /// The snapshots of the disk.
    fn snapshots_below(&self) -> Result<&dyn Snapshots> {
        self.disk.snapshots().ok_or_else(|| DiskError::from_errno(libc::ENOTSUP))
    }

    /// Refuses a write after which the disk would be taken for another format.
    fn check_start(&self, at: u64, from: &[u8]) -> Result<()> {
        let mut start = vec![0; usize::try_from(self.disk.len().min(START)).unwrap_or(0)];
        self.disk.read_at(0, &mut start)?;
        let at = usize::try_from(at).unwrap_or(start.len()).min(start.len());
        let len = from.len().min(start.len() - at);
        start[at..at + len].copy_from_slice(&from[..len]);
        match probe(&start) {
            Probed::Raw => Ok(()),
            _ => Err(DiskError::from_errno(libc::EPERM)),
        }
    }
}

impl Filter for Policy {
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
        false
    }

    fn read_vectored(&self, at: u64, into: &mut [IoSliceMut<'_>]) -> Result<()> {
        self.disk.read_vectored(at, into)
    }

    fn write_at(&self, at: u64, from: &[u8], fua: bool) -> Result<()> {
        let fua = fua || self.options.write_through;
        if let Some(unmap) = self.options.detect_zeroes
            && is_zero(from)
        {
            return self.write_zeroes(at, from.len() as u64, unmap, fua);
        }
        if self.options.keep_start_raw && at < START {
            let _held = self.start.lock().unwrap_or_else(PoisonError::into_inner);
            self.check_start(at, from)?;
            return self.disk.write_at(at, from, fua);
        }
        self.disk.write_at(at, from, fua)
    }

    fn write_vectored(&self, at: u64, from: &[IoSlice<'_>], fua: bool) -> Result<()> {
        let looked_at = self.options.detect_zeroes.is_some() || self.options.keep_start_raw;
        match (from, looked_at) {
            ([only], true) => self.write_at(at, only, fua),
            (_, true) => self.write_at(at, &joined(from)?, fua),
            (_, false) => self.disk.write_vectored(at, from, fua || self.options.write_through),
        }
    }

    fn compress<'a>(&'a self, at: u64, from: &'a [u8]) -> Result<CompressedWrite<'a>> {
        if let Some(unmap) = self.options.detect_zeroes
            && is_zero(from)
        {
            return Ok(Box::new(move || self.write_zeroes(at, from.len() as u64, unmap, false)));
        }
        let write = self.disk.compress(at, from)?;
        if !self.options.write_through {
            return Ok(write);
        }
        Ok(Box::new(|| {
            write()?;
            self.disk.flush()
        }))
    }

    fn write_zeroes(&self, at: u64, len: u64, unmap: bool, fua: bool) -> Result<()> {
        let unmap = unmap && !self.options.ignore_discard;
        self.disk.write_zeroes(at, len, unmap, fua || self.options.write_through)
    }

    fn discard(&self, at: u64, len: u64) -> Result<()> {
        if self.options.ignore_discard {
            return Ok(());
        }
        self.disk.discard(at, len)?;
        if self.options.write_through { self.disk.flush() } else { Ok(()) }
    }

    fn truncate(&self, len: u64, preallocation: Preallocation, progress: Heard<'_>) -> Result<()> {
        self.disk.truncate(len, preallocation, progress)?;
        if self.options.write_through { self.disk.flush() } else { Ok(()) }
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        let below = self.disk.snapshots();
        if self.options.write_through { below.map(|_| self as &dyn Snapshots) } else { below }
    }

    fn into_snapshot(self: Box<Self>, which: SnapshotSelector<'_>) -> Result<Box<dyn super::Disk>> {
        let Self { disk, options, .. } = *self;
        Ok(Box::new(Self::new(disk.into_snapshot(which)?, options)))
    }
}

/// Snapshots are durable by themselves; what is written to a VM state follows the policy.
impl Snapshots for Policy {
    fn create(&self, new: &NewSnapshot, progress: Heard<'_>) -> Result<SnapshotRecord> {
        self.snapshots_below()?.create(new, progress)
    }

    fn apply(&self, which: SnapshotSelector<'_>, progress: Heard<'_>) -> Result<()> {
        self.snapshots_below()?.apply(which, progress)
    }

    fn delete(&self, which: SnapshotSelector<'_>, progress: Heard<'_>) -> Result<()> {
        self.snapshots_below()?.delete(which, progress)
    }

    fn read_state(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.snapshots_below()?.read_state(at, into)
    }

    fn write_state(&self, at: u64, from: &[u8]) -> Result<()> {
        self.snapshots_below()?.write_state(at, from)?;
        self.disk.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::RawDisk;
    use holstein_storage::MemStorage;

    fn guessed(bytes: &[u8]) -> Policy {
        let raw = RawDisk::over(Arc::new(MemStorage::from_bytes(bytes)), bytes.len() as u64, "m");
        let options = PolicyOptions { keep_start_raw: true, ..PolicyOptions::default() };
        Policy::new(Box::new(raw), options)
    }

    #[test]
    fn a_guessed_raw_disk_cannot_become_another_format() {
        let disk = guessed(&[0; 1024]);
        let error = disk.write_at(0, b"QFI\xfb\0\0\0\x03", false);
        assert_eq!(error.map_err(|e| e.errno()), Err(libc::EPERM));
        disk.write_at(0, b"QFI", false).expect("that is no format yet");
        disk.write_at(4, b"\0\0\0\x03", false).expect("nor is that");
        let error = disk.write_at(3, b"\xfb", false);
        assert_eq!(error.map_err(|e| e.errno()), Err(libc::EPERM), "the last byte would make one");
        disk.write_at(512, b"QFI\xfb\0\0\0\x03", false).expect("other sectors are free");
    }
}
