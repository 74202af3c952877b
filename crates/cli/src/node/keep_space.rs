//! Bytes whose space is kept, whatever is discarded: the node option `discard=ignore` below a format.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use super::Generic;

/// A storage that discards nothing.
struct KeepSpace(Arc<dyn Storage>);

/// The storage as the node's option `discard` wants it.
pub(super) fn under_options(storage: Arc<dyn Storage>, generic: &Generic) -> Arc<dyn Storage> {
    if generic.discard { storage } else { Arc::new(KeepSpace(storage)) }
}

impl Storage for KeepSpace {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.read_vectored_at(at, into)
    }

    fn read_at(&self, at: HostOffset, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(at, into)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        self.0.write_vectored_at(at, from)
    }

    fn write_at(&self, at: HostOffset, from: &[u8]) -> io::Result<()> {
        self.0.write_at(at, from)
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.0.write_zeroes(range)?;
        match self.0.allocate(range) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            allocated => allocated,
        }
    }

    fn discard(&self, _range: HostRange) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
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
        Capabilities { discard: false, ..self.0.capabilities() }
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        self.0.extent_at(at)
    }
}
