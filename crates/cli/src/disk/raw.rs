//! Bytes as they are, perhaps through a window.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holstein::luks::{Limits, Volume};
use holstein::{Event, Listener, Secret};
use holstein_storage::{FileIdentity, Storage};
use holstein_units::{HostOffset, HostRange, SECTOR};

use super::{Disk, DiskError, DiskInfo, Heard, Preallocation, Result, Status, luks_error};
use crate::node::{Debugger, ExportStates, FileNode, State};

/// The driver of volumes.
const LUKS: &str = "luks";

/// A raw disk: the bytes of a file from an offset on, or those in a LUKS volume.
pub(crate) struct RawDisk {
    storage: Arc<dyn Storage>,
    driver: &'static str,
    offset: u64,
    /// The length; a file that ends inside a sector is padded with zeros.
    len: AtomicU64,
    fixed: bool,
    writable: bool,
    name: String,
    file: String,
    identity: Option<FileIdentity>,
    debugger: Option<Arc<Debugger>>,
    /// What a server says, where the file is an export of it.
    states: Option<ExportStates>,
}

impl RawDisk {
    /// A disk over `file`, with a window of offset and size where they are given.
    ///
    /// # Errors
    /// The window lies outside of the file.
    pub(crate) fn open(
        file: &FileNode,
        driver: &'static str,
        window: (Option<u64>, Option<u64>),
        writable: bool,
        name: String,
    ) -> Result<Self> {
        let file_len = file.len()?;
        let (offset, len) = window_in(file_len, window)?;
        Ok(Self {
            storage: Arc::clone(&file.storage),
            driver,
            offset,
            len: AtomicU64::new(len),
            fixed: window.1.is_some(),
            writable,
            name,
            file: file.name.clone(),
            identity: file.identity,
            debugger: file.debugger.clone(),
            states: file.states.clone(),
        })
    }

    /// The disk in a LUKS volume.
    ///
    /// # Errors
    /// The file has no LUKS header, or one that the passphrase does not open.
    pub(crate) fn unlock(
        file: &FileNode,
        passphrase: &Secret,
        writable: bool,
        name: String,
    ) -> Result<Self> {
        let volume = Volume::open(Arc::clone(&file.storage), passphrase, Limits::default());
        let volume = volume.map_err(|error| luks_error(&error))?;
        Ok(Self {
            len: AtomicU64::new(volume.len()?.next_multiple_of(SECTOR)),
            storage: Arc::new(volume),
            driver: LUKS,
            offset: 0,
            fixed: false,
            writable,
            name,
            file: file.name.clone(),
            identity: file.identity,
            debugger: file.debugger.clone(),
            states: file.states.clone(),
        })
    }

    /// Whether the bytes of the disk are those of the file.
    fn is_plain(&self) -> bool {
        self.driver != LUKS
    }

    /// A disk over storage that a command made itself.
    pub(crate) fn over(storage: Arc<dyn Storage>, len: u64, name: &str) -> Self {
        Self {
            storage,
            driver: "raw",
            offset: 0,
            len: AtomicU64::new(len),
            fixed: false,
            writable: true,
            name: name.to_owned(),
            file: name.to_owned(),
            identity: None,
            debugger: None,
            states: None,
        }
    }

    fn host(&self, at: u64, len: u64) -> Result<HostOffset> {
        let end = at.checked_add(len).filter(|end| *end <= self.len());
        end.map(|_| HostOffset::new(self.offset + at))
            .ok_or_else(|| DiskError::from_errno(libc::EIO))
    }

    fn writable_host(&self, at: u64, len: u64) -> Result<HostOffset> {
        if self.writable { self.host(at, len) } else { Err(DiskError::from_errno(libc::EPERM)) }
    }

    /// Whether holes read as zeros.
    fn is_regular(&self) -> bool {
        self.storage.capabilities().zero_beyond_end
    }

    /// Tells the node below what the format is about to do.
    fn note(&self, event: Event) {
        if let Some(debugger) = self.debugger.as_deref().filter(|_| self.driver == "raw") {
            debugger.about_to(event);
        }
    }

    /// The state of a byte of an export.
    fn told_by_the_server(&self, host: u64) -> Result<Option<State>> {
        let states = self.states.as_ref().filter(|_| self.is_plain());
        states.map_or(Ok(None), |states| states.at(host))
    }

    fn settle(&self, fua: bool) -> Result<()> {
        if fua { self.flush() } else { Ok(()) }
    }
}

/// Offset and length of a window in a file of `file_len` bytes.
fn window_in(file_len: u64, window: (Option<u64>, Option<u64>)) -> Result<(u64, u64)> {
    let offset = window.0.unwrap_or(0);
    if offset > file_len {
        return Err(DiskError::invalid(format!(
            "Offset ({offset}) cannot be greater than size of the containing file ({file_len})"
        )));
    }
    match window.1 {
        Some(size) if size % SECTOR != 0 => {
            Err(DiskError::invalid("Specified size is not multiple of 512"))
        }
        Some(size) if size > file_len - offset => Err(DiskError::invalid(format!(
            "The sum of offset ({offset}) and size ({size}) has to be smaller or equal to the  \
             actual size of the containing file ({file_len})"
        ))),
        Some(size) => Ok((offset, size)),
        None => Ok((offset, (file_len - offset).next_multiple_of(SECTOR))),
    }
}

impl Disk for RawDisk {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let host = self.host(at, into.len() as u64)?;
        self.note(Event::ReadData);
        let read = self.storage.read_at(host, into)?;
        // Only the end of the file ends a read early; the rest of its last sector is zeros.
        into[read..].fill(0);
        Ok(())
    }

    fn read_vectored(&self, at: u64, into: &mut [IoSliceMut<'_>]) -> Result<()> {
        let total = into.iter().map(|buffer| buffer.len() as u64).sum();
        let host = self.host(at, total)?;
        self.note(Event::ReadData);
        let mut read = self.storage.read_vectored_at(host, into)?;
        for buffer in into {
            let here = read.min(buffer.len());
            buffer[here..].fill(0);
            read -= here;
        }
        Ok(())
    }

    fn write_at(&self, at: u64, from: &[u8], fua: bool) -> Result<()> {
        let host = self.writable_host(at, from.len() as u64)?;
        self.note(Event::WriteData);
        self.storage.write_at(host, from)?;
        self.settle(fua)
    }

    fn write_vectored(&self, at: u64, from: &[IoSlice<'_>], fua: bool) -> Result<()> {
        let total = from.iter().map(|buffer| buffer.len() as u64).sum();
        let host = self.writable_host(at, total)?;
        self.note(Event::WriteData);
        self.storage.write_vectored_at(host, from)?;
        self.settle(fua)
    }

    fn write_zeroes(&self, at: u64, len: u64, unmap: bool, fua: bool) -> Result<()> {
        let host = self.writable_host(at, len)?;
        let regular = self.is_regular();
        let is_hole = || matches!(self.storage.extent_at(host), Ok((false, hole)) if hole >= len);
        if !(unmap && regular && is_hole()) {
            self.storage.write_zeroes(range(host, len)?)?;
            // In a regular file holes read as zeros: the space can go.
            if unmap && regular {
                self.storage.discard(range(host, len)?)?;
            }
        }
        self.settle(fua)
    }

    fn discard(&self, at: u64, len: u64) -> Result<()> {
        Ok(self.storage.discard(range(self.writable_host(at, len)?, len)?)?)
    }

    fn flush(&self) -> Result<()> {
        self.note(Event::FlushToFile);
        self.note(Event::FlushToDisk);
        match self.storage.flush() {
            // Some devices have nothing that could be made durable, and say so.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && !self.is_regular() => {
                Ok(())
            }
            flushed => Ok(flushed?),
        }
    }

    fn truncate(&self, len: u64, preallocation: Preallocation, progress: Heard<'_>) -> Result<()> {
        if !self.writable {
            return Err(DiskError::from_errno(libc::EACCES));
        }
        if self.states.is_some() && len != self.len() {
            return Err(DiskError::unsupported("Cannot resize NBD nodes"));
        }
        if self.fixed {
            return Err(DiskError::unsupported("Cannot resize fixed-size raw disks"));
        }
        let old = self.storage.len()?;
        let new = self
            .offset
            .checked_add(len)
            .ok_or_else(|| DiskError::invalid("Disk size too large for the chosen offset"))?;
        match preallocation {
            Preallocation::Metadata => {
                return Err(DiskError::unsupported("Unsupported preallocation mode: metadata"));
            }
            Preallocation::Off => {}
            _ if new < old => {
                return Err(DiskError::unsupported(
                    "Preallocation can't be used for shrinking files",
                ));
            }
            _ => {}
        }
        let resized = grow_or_shrink(&*self.storage, old, new, preallocation, progress);
        if let Err(error) = resized {
            // What could not be reserved is given back; the first error counts.
            let _ = self.storage.set_len(old);
            return Err(error);
        }
        self.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn status(&self, at: u64, len: u64) -> Result<Status> {
        let len = len.min(self.len().saturating_sub(at));
        if len == 0 {
            return Ok(Status::nothing());
        }
        let host = self.offset + at;
        if let Some(state) = self.told_by_the_server(host)? {
            let State { len: run, data, zero } = state;
            let present = data || zero;
            let (offset, file) = (present.then_some(host), present.then(|| self.file.clone()));
            let len = run.min(len);
            return Ok(Status { len, present, zero, data, offset, file, ..Status::nothing() });
        }
        let (data, run) = self.storage.extent_at(HostOffset::new(host))?;
        // The file may end inside the last sector, and the disk never does.
        let run = if run == 0 { len } else { (host + run).next_multiple_of(SECTOR) - host };
        Ok(Status {
            len: run.min(len),
            present: true,
            zero: !data,
            data,
            compressed: false,
            depth: 0,
            offset: self.is_plain().then_some(host),
            file: self.is_plain().then(|| self.file.clone()),
        })
    }

    fn info(&self) -> Result<DiskInfo> {
        Ok(DiskInfo {
            format: self.driver,
            cluster_size: None,
            subcluster_size: None,
            vm_state_offset: None,
            specific: None,
            filename: self.name.clone(),
        })
    }

    fn read_only(&self) -> bool {
        !self.writable
    }

    fn raw_file(&self) -> Option<(&str, u64)> {
        let file = self.identity.filter(|_| self.debugger.is_none() && self.is_plain());
        file.map(|_| (self.file.as_str(), self.offset))
    }

    fn debugger(&self) -> Option<Arc<Debugger>> {
        self.debugger.clone()
    }

    fn starts_zeroed(&self) -> bool {
        // A block device keeps what was on it.
        self.is_regular()
    }

    fn files(&self, found: &mut Vec<FileIdentity>) {
        found.extend(self.identity);
    }

    fn close(self: Box<Self>) -> Result<()> {
        if self.writable { self.flush() } else { Ok(()) }
    }
}

fn range(start: HostOffset, len: u64) -> Result<HostRange> {
    HostRange::new(start, len).ok_or_else(|| DiskError::from_errno(libc::EFBIG))
}

/// Changes the length of the bytes and reserves or writes what is new.
fn grow_or_shrink(
    storage: &dyn Storage,
    old: u64,
    new: u64,
    preallocation: Preallocation,
    progress: Heard<'_>,
) -> Result<()> {
    storage.set_len(new).map_err(|error| {
        let error = DiskError::from(error);
        error.prefixed("Failed to resize the file: ")
    })?;
    let grown = range(HostOffset::new(old), new.saturating_sub(old))?;
    match preallocation {
        Preallocation::Falloc => storage.allocate(grown).map_err(|error| {
            DiskError::from(error).prefixed("Could not preallocate data for the new file: ")
        }),
        Preallocation::Full => write_zero_bytes(storage, grown, progress)
            .map_err(|error| error.prefixed("Could not write zeros for preallocation: ")),
        Preallocation::Off | Preallocation::Metadata => Ok(()),
    }
}

/// Writes real zeros and makes them durable, so that the space cannot be missing later.
fn write_zero_bytes(storage: &dyn Storage, range: HostRange, progress: Heard<'_>) -> Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut at = range.start.get();
    let end = at + range.len;
    while at < end {
        let here = usize::try_from(end - at).map_or(zeros.len(), |rest| rest.min(zeros.len()));
        storage.write_at(HostOffset::new(at), &zeros[..here])?;
        at += here as u64;
        progress(range.len - (end - at), range.len);
    }
    Ok(storage.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holstein_storage::MemStorage;

    fn disk(bytes: &[u8]) -> RawDisk {
        let len = (bytes.len() as u64).next_multiple_of(SECTOR);
        RawDisk::over(Arc::new(MemStorage::from_bytes(bytes)), len, "m")
    }

    #[test]
    fn the_last_sector_is_padded_with_zeros() {
        let disk = disk(b"abc");
        assert_eq!(disk.len(), 512);
        let mut back = [9; 512];
        disk.read_at(0, &mut back).expect("the read is inside of the disk");
        assert_eq!((&back[..4], back[511]), (b"abc\0".as_slice(), 0));
        assert!(disk.read_at(1, &mut back).is_err(), "it would go past the end");
    }

    #[test]
    fn windows_have_to_fit() {
        assert_eq!(window_in(1024, (Some(512), Some(512))), Ok((512, 512)));
        assert_eq!(window_in(1000, (Some(512), None)), Ok((512, 512)));
        for window in [(Some(2000), None), (None, Some(100)), (Some(512), Some(1024))] {
            assert!(window_in(1024, window).is_err(), "{window:?}");
        }
    }

    #[test]
    fn zeroes_and_growth_are_seen() {
        let disk = disk(&[7; 1024]);
        disk.write_zeroes(512, 512, true, false).expect("the range is inside of the disk");
        disk.truncate(2048, Preallocation::Full, &mut |_, _| {}).expect("memory grows");
        let mut back = vec![1; 2048];
        disk.read_at(0, &mut back).expect("the read is inside of the disk");
        assert!(back[..512].iter().all(|b| *b == 7) && back[512..].iter().all(|b| *b == 0));
    }
}
