//! Storage that notes which calls failed.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Mutex, PoisonError};

use holstein_storage::{Capabilities, Storage};
use holstein_testkit::IoKind;
use holstein_units::{HostOffset, HostRange};

/// Passes everything on and notes what failed, and what came after a flush that failed.
#[derive(Debug)]
pub struct Witness<S> {
    inner: S,
    seen: Mutex<Seen>,
}

/// What a [`Witness`] has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Names of the kinds of calls of which one failed.
    failed: BTreeSet<&'static str>,
    /// A flush failed.
    pub flush_failed: bool,
    /// Changes that were asked for after a flush had failed.
    pub changes_after: u64,
}

impl Seen {
    /// Whether a call failed that is none of `kinds`.
    #[must_use]
    pub fn failed_other_than(&self, kinds: &[IoKind]) -> bool {
        self.failed.iter().any(|failed| !kinds.iter().any(|kind| name(*kind) == *failed))
    }

    /// Adds what was seen of another file.
    pub fn add(&mut self, other: &Self) {
        self.failed.extend(&other.failed);
        self.flush_failed |= other.flush_failed;
        self.changes_after += other.changes_after;
    }

    /// Whether any call failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        !self.failed.is_empty()
    }
}

fn name(kind: IoKind) -> &'static str {
    match kind {
        IoKind::Read => "read",
        IoKind::Write => "write",
        IoKind::Zeroes => "zeroes",
        IoKind::Discard => "discard",
        IoKind::Flush => "flush",
        IoKind::SetLen => "length",
        IoKind::Allocate => "allocate",
    }
}

impl<S: Storage> Witness<S> {
    /// Watches `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, seen: Mutex::default() }
    }

    /// The storage beneath.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// What was seen up to now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn watch<T>(&self, kind: IoKind, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.flush_failed && !matches!(kind, IoKind::Read | IoKind::Flush) {
            seen.changes_after += 1;
        }
        let result = call();
        if result.is_err() {
            seen.failed.insert(name(kind));
            seen.flush_failed |= kind == IoKind::Flush;
        }
        result
    }
}

impl<S: Storage> Storage for Witness<S> {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.watch(IoKind::Read, || self.inner.read_vectored_at(at, into))
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        self.watch(IoKind::Write, || self.inner.write_vectored_at(at, from))
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.watch(IoKind::Zeroes, || self.inner.write_zeroes(range))
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.watch(IoKind::Discard, || self.inner.discard(range))
    }

    fn flush(&self) -> io::Result<()> {
        self.watch(IoKind::Flush, || self.inner.flush())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch(IoKind::SetLen, || self.inner.set_len(len))
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.watch(IoKind::Allocate, || self.inner.allocate(range))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        self.inner.extent_at(at)
    }
}
