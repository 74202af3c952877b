//! A disk that compresses what is written to the one under it.

use std::sync::{Mutex, PoisonError};

use super::{CompressedWrite, DiskError, DiskInfo, Filter, Heard, Preallocation, Result};

/// The driver's name.
const DRIVER: &str = "compress";

/// Writes whole clusters compressed; parts of clusters are filled up with what is there.
pub(crate) struct Compress {
    disk: Box<dyn super::Disk>,
    /// Bytes of a cluster.
    cluster: u64,
    name: String,
    /// Writes exclude each other: what surrounds one is read before it is written.
    writes: Mutex<()>,
}

impl Compress {
    /// Puts the filter over a disk whose format compresses.
    ///
    /// # Errors
    /// The disk does not tell its cluster size.
    pub(crate) fn new(disk: Box<dyn super::Disk>, name: String) -> Result<Self> {
        let cluster = disk.info()?.cluster_size.filter(|size| *size > 0);
        let cluster = cluster.ok_or_else(|| DiskError::from_errno(libc::ENOTSUP))?;
        Ok(Self { disk, cluster, name, writes: Mutex::new(()) })
    }

    /// Writes a range with what is around it in its clusters.
    fn write_clusters(&self, at: u64, from: &[u8]) -> Result<()> {
        let len = from.len() as u64;
        if len == 0 {
            return Ok(());
        }
        let end = at.checked_add(len).filter(|end| *end <= self.disk.len());
        let end = end.ok_or_else(|| DiskError::from_errno(libc::EIO))?;
        let start = at - at % self.cluster;
        let whole = end.next_multiple_of(self.cluster).min(self.disk.len());
        if (start, whole) == (at, end) {
            return self.disk.compress(at, from)?();
        }
        let mut bytes = vec![0; usize_of(whole - start)?];
        let (head, tail) = (usize_of(at - start)?, usize_of(end - start)?);
        self.disk.read_at(start, &mut bytes[..head])?;
        self.disk.read_at(end, &mut bytes[tail..])?;
        bytes[head..tail].copy_from_slice(from);
        self.disk.compress(start, &bytes)?()
    }

    fn exclusive<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    fn settle(&self, fua: bool) -> Result<()> {
        if fua { self.disk.flush() } else { Ok(()) }
    }
}

fn usize_of(len: u64) -> Result<usize> {
    usize::try_from(len).map_err(|_| DiskError::from_errno(libc::ENOMEM))
}

impl Filter for Compress {
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
        true
    }

    fn write_at(&self, at: u64, from: &[u8], fua: bool) -> Result<()> {
        self.exclusive(|| self.write_clusters(at, from))?;
        self.settle(fua)
    }

    fn write_zeroes(&self, at: u64, len: u64, unmap: bool, fua: bool) -> Result<()> {
        self.exclusive(|| {
            let end = at.checked_add(len).filter(|end| *end <= self.disk.len());
            let end = end.ok_or_else(|| DiskError::from_errno(libc::EIO))?;
            let start = at.next_multiple_of(self.cluster).min(end);
            let stop = if end == self.disk.len() { end } else { end - end % self.cluster };
            // Parts of clusters are written as any other data is.
            let parts = if start < stop { [(at, start), (stop, end)] } else { [(at, end); 2] };
            let (head, tail) = (parts[0], parts[1]);
            self.write_clusters(head.0, &vec![0; usize_of(head.1 - head.0)?])?;
            if start < stop {
                self.disk.write_zeroes(start, stop - start, unmap, false)?;
                self.write_clusters(tail.0, &vec![0; usize_of(tail.1 - tail.0)?])?;
            }
            Ok::<_, DiskError>(())
        })?;
        self.settle(fua)
    }

    fn discard(&self, at: u64, len: u64) -> Result<()> {
        self.exclusive(|| self.disk.discard(at, len))
    }

    fn truncate(&self, len: u64, preallocation: Preallocation, progress: Heard<'_>) -> Result<()> {
        self.exclusive(|| self.disk.truncate(len, preallocation, progress))
    }

    fn compress<'a>(&'a self, _at: u64, _from: &'a [u8]) -> Result<CompressedWrite<'a>> {
        // Who asks for compression by the request asks the format itself.
        Err(DiskError::from_errno(libc::ENOTSUP))
    }

    fn info(&self) -> Result<DiskInfo> {
        let name = self.name.clone();
        Ok(DiskInfo { format: DRIVER, specific: None, filename: name, ..self.disk.info()? })
    }
}
