//! A whole disk behind rules and limits: the node over a format.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use super::Debugger;
use super::gate::Gate;
use crate::disk::{
    DiskError, DiskInfo, Filter, Preallocation, Status, capabilities, os_error, read_within,
};
use crate::node::Driver;

type Result<T> = std::result::Result<T, DiskError>;

/// A disk whose requests fail and stop by rules.
pub(super) struct DebugDisk {
    disk: Box<dyn crate::disk::Disk>,
    gate: Gate,
    debugger: Arc<Debugger>,
    name: String,
}

impl DebugDisk {
    pub(super) fn new(
        disk: Box<dyn crate::disk::Disk>,
        gate: Gate,
        debugger: Arc<Debugger>,
        name: String,
    ) -> Self {
        Self { disk, gate, debugger, name }
    }

    fn bytes(&self, unmap: bool) -> DiskBytes<'_> {
        DiskBytes { disk: &*self.disk, unmap }
    }

    /// The place of a request, which has to lie within the disk.
    fn range(&self, at: u64, len: u64) -> Result<HostRange> {
        let end = at.checked_add(len).filter(|end| *end <= self.disk.len());
        end.and_then(|_| HostRange::new(HostOffset::new(at), len))
            .ok_or_else(|| DiskError::from_errno(libc::EIO))
    }

    fn settle(&self, fua: bool) -> Result<()> {
        if fua { self.flush() } else { Ok(()) }
    }
}

impl Filter for DebugDisk {
    fn below(&self) -> &dyn crate::disk::Disk {
        &*self.disk
    }

    fn below_mut(&mut self) -> &mut dyn crate::disk::Disk {
        &mut *self.disk
    }

    fn into_below(self: Box<Self>) -> Box<dyn crate::disk::Disk> {
        self.disk
    }

    fn is_node(&self) -> bool {
        true
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.read_vectored(at, &mut [IoSliceMut::new(into)])
    }

    fn read_vectored(&self, at: u64, into: &mut [IoSliceMut<'_>]) -> Result<()> {
        let len = into.iter().map(|buffer| buffer.len() as u64).sum();
        let range = self.range(at, len)?;
        let read = self.gate.read(&self.bytes(false), range.start, into)?;
        // The disk has all of it; less would leave old bytes in the buffers.
        if read as u64 == len { Ok(()) } else { Err(DiskError::from_errno(libc::EIO)) }
    }

    fn write_at(&self, at: u64, from: &[u8], fua: bool) -> Result<()> {
        self.write_vectored(at, &[IoSlice::new(from)], fua)
    }

    fn write_vectored(&self, at: u64, from: &[IoSlice<'_>], fua: bool) -> Result<()> {
        let len = from.iter().map(|buffer| buffer.len() as u64).sum();
        let range = self.range(at, len)?;
        self.gate.write(&self.bytes(false), range.start, from)?;
        self.settle(fua)
    }

    fn write_zeroes(&self, at: u64, len: u64, unmap: bool, fua: bool) -> Result<()> {
        self.gate.write_zeroes(&self.bytes(unmap), self.range(at, len)?)?;
        self.settle(fua)
    }

    fn discard(&self, at: u64, len: u64) -> Result<()> {
        Ok(self.gate.discard(&self.bytes(false), self.range(at, len)?)?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.gate.flush(&self.bytes(false))?)
    }

    fn status(&self, at: u64, len: u64) -> Result<Status> {
        self.gate.question(at, len)?;
        self.disk.status(at, len)
    }

    fn info(&self) -> Result<DiskInfo> {
        let (format, filename) = (Driver::Blkdebug.name(), self.name.clone());
        Ok(DiskInfo { format, specific: None, filename, ..self.disk.info()? })
    }

    fn debugger(&self) -> Option<Arc<Debugger>> {
        Some(Arc::clone(&self.debugger))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.debugger.let_all_go();
        self.disk.close()
    }
}

/// The bytes of a disk, for one request.
struct DiskBytes<'a> {
    disk: &'a dyn crate::disk::Disk,
    /// Space of what becomes zero may be given back.
    unmap: bool,
}

impl DiskBytes<'_> {
    /// How much of a length lies within the disk: requests are filled up to whole units.
    fn within(&self, at: HostOffset, len: u64) -> u64 {
        len.min(self.disk.len().saturating_sub(at.get()))
    }
}

impl Storage for DiskBytes<'_> {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let len: u64 = into.iter().map(|buffer| buffer.len() as u64).sum();
        if self.within(at, len) == len {
            self.disk.read_vectored(at.get(), into).map_err(os_error)?;
            return Ok(usize::try_from(len).unwrap_or(usize::MAX));
        }
        read_within(self.disk, at.get(), into)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        let len: u64 = from.iter().map(|buffer| buffer.len() as u64).sum();
        if self.within(at, len) == len {
            return self.disk.write_vectored(at.get(), from, false).map_err(os_error);
        }
        let mut at = at.get();
        for buffer in from {
            let len = self.within(HostOffset::new(at), buffer.len() as u64);
            let len = usize::try_from(len).unwrap_or(buffer.len());
            self.disk.write_at(at, &buffer[..len], false).map_err(os_error)?;
            at += len as u64;
        }
        Ok(())
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        let len = self.within(range.start, range.len);
        self.disk.write_zeroes(range.start.get(), len, self.unmap, false).map_err(os_error)
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        let len = self.within(range.start, range.len);
        self.disk.discard(range.start.get(), len).map_err(os_error)
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush().map_err(os_error)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.truncate(len, Preallocation::Off, &mut |_, _| {}).map_err(os_error)
    }

    fn allocate(&self, _range: HostRange) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(self.disk)
    }
}
