//! Storage whose barriers are left to the end.

use std::io::{self, IoSlice, IoSliceMut};

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

/// Passes everything on but [`Storage::flush`]. For files of which nothing has been promised yet: who
/// uses it flushes the storage below once, at the end.
#[derive(Debug)]
pub(crate) struct Unflushed<S>(pub(crate) S);

impl<S: Storage> Storage for Unflushed<S> {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.read_vectored_at(at, into)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        self.0.write_vectored_at(at, from)
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.0.write_zeroes(range)
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.0.discard(range)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.0.allocate(range)
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        self.0.extent_at(at)
    }
}
