//! Storage that remembers what was done to it.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use crate::snapshot::gather;
use crate::{CrashLog, DiskImage, Entry};

/// Passes everything on to `S` and records each change and barrier that succeeded, in order, of this
/// file alone or of several ([`RecordingStorage::beside`]).
///
/// Changes are made and recorded one at a time. To have faults in the record as they happened, put
/// a [`crate::FaultStorage`] around this one, not inside: what the fault lets through arrives here
/// as a change of its own.
#[derive(Debug)]
pub struct RecordingStorage<S> {
    inner: S,
    /// The number of this file in the record.
    file: usize,
    record: Arc<Mutex<Record>>,
}

/// What several files have in common.
#[derive(Debug, Default)]
struct Record {
    initial: Vec<DiskImage>,
    entries: Vec<(usize, Entry)>,
}

impl<S: Storage> RecordingStorage<S> {
    /// Records from now on; what `inner` holds already counts as durable.
    ///
    /// # Errors
    /// Whatever reading `inner` says.
    pub fn new(inner: S) -> io::Result<Self> {
        Self::recorded_in(inner, Arc::default())
    }

    /// Records another file into the same record, in the order in which the changes of all come. A
    /// barrier is one of its file alone.
    ///
    /// # Errors
    /// Whatever reading `inner` says.
    pub fn beside(other: &Self, inner: S) -> io::Result<Self> {
        Self::recorded_in(inner, Arc::clone(&other.record))
    }

    fn recorded_in(inner: S, record: Arc<Mutex<Record>>) -> io::Result<Self> {
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
        let file = {
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            record.initial.push(initial);
            record.initial.len() - 1
        };
        Ok(Self { inner, file, record })
    }

    /// What happened up to now.
    #[must_use]
    pub fn log(&self) -> CrashLog {
        let record = self.lock();
        CrashLog::of_files(record.initial.clone(), record.entries.clone())
    }

    /// Puts a note into the record, such as the number of the operation that was acknowledged last.
    pub fn mark(&self, note: u64) {
        let file = self.file;
        self.lock().entries.push((file, Entry::Mark(note)));
    }

    /// The storage beneath.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, entry: Entry, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut record = self.lock();
        change()?;
        record.entries.push((self.file, entry));
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
