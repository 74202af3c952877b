//! Storage that fails on purpose.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange, SECTOR};

use crate::snapshot::gather;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IoKind {
    /// Reads bytes.
    Read,
    /// Writes bytes.
    Write,
    /// Writes zeros.
    Zeroes,
    /// Punches a hole.
    Discard,
    /// Waits for durability.
    Flush,
    /// Changes the length.
    SetLen,
    /// Reserves space.
    Allocate,
}

impl IoKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Write,
        Self::Zeroes,
        Self::Discard,
        Self::Flush,
        Self::SetLen,
        Self::Allocate,
    ];
    /// All kinds but reads.
    pub const CHANGES: [Self; 6] =
        [Self::Write, Self::Zeroes, Self::Discard, Self::Flush, Self::SetLen, Self::Allocate];
}

/// Which error a failing call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// `EIO`.
    Eio,
    /// `ENOSPC`.
    Enospc,
}

impl FaultError {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Eio => 5,
            Self::Enospc => 28,
        })
    }
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// One call fails.
    Once,
    /// All calls of the chosen kinds fail from there on.
    FromThereOn,
}

/// How much a failing write or write of zeros does before it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// Nothing.
    Nothing,
    /// The first half, rounded down to a border of 512 bytes in the file.
    Half,
    /// All of it.
    Everything,
}

/// A fault to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How many calls of the chosen kinds succeed before it, from when it is armed.
    pub after: u64,
    /// Which calls count, and fail.
    pub kinds: Vec<IoKind>,
    /// What they return.
    pub error: FaultError,
    /// How long it lasts.
    pub lasting: Lasting,
    /// What a failing write does all the same.
    pub partial: Partial,
}

/// Passes everything on to `S`, but for the calls that an armed [`Fault`] chooses.
///
/// Asking for the length, the capabilities or extents never fails and does not count.
#[derive(Debug)]
pub struct FaultStorage<S> {
    inner: S,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    counted: u64,
    seen: u64,
    fired: u64,
}

impl<S: Storage> FaultStorage<S> {
    /// Storage without a fault.
    pub fn new(inner: S) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Storage that shares its fault with another: calls to any of the two count.
    pub fn beside(other: &Self, inner: S) -> Self {
        Self { inner, state: Arc::clone(&other.state) }
    }

    /// Arms `fault`, in place of any other; the calls that it counts are counted from now.
    pub fn arm(&self, fault: Fault) {
        let mut state = self.lock();
        state.fault = Some(fault);
        state.counted = 0;
        state.fired = 0;
    }

    /// From now on nothing fails. [`FaultStorage::counted`] and [`FaultStorage::fired`] stay.
    pub fn disarm(&self) {
        self.lock().fault = None;
    }

    /// Calls of any kind, failed ones included, since the storage was made.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.lock().seen
    }

    /// Calls of the kinds that the last fault chose, while it was armed.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.lock().counted
    }

    /// Calls that failed for the last fault.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.lock().fired
    }

    /// The storage beneath.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; the fault, if it is to fail.
    fn count(&self, kind: IoKind) -> Option<(FaultError, Partial)> {
        let mut state = self.lock();
        state.seen += 1;
        let fault = state.fault.as_ref().filter(|fault| fault.kinds.contains(&kind))?;
        let (after, lasting) = (fault.after, fault.lasting);
        let outcome = (fault.error, fault.partial);
        let number = state.counted;
        state.counted += 1;
        let fails = match lasting {
            Lasting::Once => number == after,
            Lasting::FromThereOn => number >= after,
        };
        fails.then(|| {
            state.fired += 1;
            outcome
        })
    }

    fn unless_faulty<T>(
        &self,
        kind: IoKind,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self.count(kind) {
            Some((error, _)) => Err(error.error()),
            None => call(),
        }
    }
}

/// How many of `len` bytes at `at` a failing call changes.
fn part(partial: Partial, at: HostOffset, len: u64) -> u64 {
    match partial {
        Partial::Nothing => 0,
        Partial::Half => {
            let middle = (at.get() + len / 2) / SECTOR * SECTOR;
            middle.saturating_sub(at.get())
        }
        Partial::Everything => len,
    }
}

impl<S: Storage> Storage for FaultStorage<S> {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.unless_faulty(IoKind::Read, || self.inner.read_vectored_at(at, into))
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        let Some((error, partial)) = self.count(IoKind::Write) else {
            return self.inner.write_vectored_at(at, from);
        };
        let bytes = gather(from);
        let n = part(partial, at, bytes.len() as u64);
        let n = usize::try_from(n).expect("at most what is in memory");
        if n > 0 {
            self.inner.write_at(at, &bytes[..n])?;
        }
        Err(error.error())
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        let Some((error, partial)) = self.count(IoKind::Zeroes) else {
            return self.inner.write_zeroes(range);
        };
        let (first, _) = range.split_at(part(partial, range.start, range.len));
        if !first.is_empty() {
            self.inner.write_zeroes(first)?;
        }
        Err(error.error())
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.unless_faulty(IoKind::Discard, || self.inner.discard(range))
    }

    fn flush(&self) -> io::Result<()> {
        self.unless_faulty(IoKind::Flush, || self.inner.flush())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.unless_faulty(IoKind::SetLen, || self.inner.set_len(len))
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.unless_faulty(IoKind::Allocate, || self.inner.allocate(range))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        self.inner.extent_at(at)
    }
}
