//! Storage that remembers what was done to it.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use crate::snapshot::gather;
use crate::{CrashLog, DiskImage, Entry};

/// Passes everything on to `S` and records each change and barrier that succeeded, in order.
///
/// Changes are made and recorded one at a time. To have faults in the record as they happened, put
/// a [`crate::FaultStorage`] around this one, not inside: what the fault lets through arrives here
/// as a change of its own.
#[derive(Debug)]
pub struct RecordingStorage<S> {
    inner: S,
    initial: DiskImage,
    entries: Mutex<Vec<Entry>>,
}

impl<S: Storage> RecordingStorage<S> {
    /// Records from now on; what `inner` holds already counts as durable.
    ///
    /// # Errors
    /// Whatever reading `inner` says.
    pub fn new(inner: S) -> io::Result<Self> {
        let mut initial = DiskImage::new();
        let len = inner.len()?;
        initial.set_len(len);
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while at < len {
            let (data, run) = inner.extent_at(HostOffset::new(at))?;
            if run == 0 {
                break;
            }
            let end = at + run;
            while data && at < end {
                let part = usize::try_from(end - at).map_or(buffer.len(), |n| n.min(buffer.len()));
                let n = inner.read_at(HostOffset::new(at), &mut buffer[..part])?;
                if n == 0 {
                    break;
                }
                initial.write(at, &buffer[..n]);
                at += n as u64;
            }
            at = end;
        }
        initial.rebase();
        Ok(Self { inner, initial, entries: Mutex::new(Vec::new()) })
    }

    /// What happened up to now.
    #[must_use]
    pub fn log(&self) -> CrashLog {
        CrashLog::new(self.initial.clone(), self.lock().clone())
    }

    /// Puts a note into the record, such as the number of the operation that was acknowledged last.
    pub fn mark(&self, note: u64) {
        self.lock().push(Entry::Mark(note));
    }

    /// The storage beneath.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, entry: Entry, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut entries = self.lock();
        change()?;
        entries.push(entry);
        Ok(())
    }
}

impl<S: Storage> Storage for RecordingStorage<S> {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.inner.read_vectored_at(at, into)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        let data = gather(from).into();
        self.record(Entry::Write { at, data }, || self.inner.write_vectored_at(at, from))
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.record(Entry::Zeroes(range), || self.inner.write_zeroes(range))
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.record(Entry::Hole(range), || self.inner.discard(range))
    }

    fn flush(&self) -> io::Result<()> {
        self.record(Entry::Flush, || self.inner.flush())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.record(Entry::SetLen(len), || self.inner.set_len(len))
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.record(Entry::Allocate(range), || self.inner.allocate(range))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        self.inner.extent_at(at)
    }
}
