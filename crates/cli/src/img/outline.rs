//! A file in memory that has room for what is zero, and memory for nothing else.

use std::io::{self, IoSlice, IoSliceMut};

use holstein_storage::{Capabilities, MemStorage, Storage};
use holstein_units::{HostOffset, HostRange};

use crate::zero::is_zero;

/// The outline of an image: zeros are written where its payload is going to be, so that the tables
/// know of it while it takes no memory.
#[derive(Debug)]
pub(super) struct Outline {
    memory: MemStorage,
    zeros: Vec<u8>,
}

impl Outline {
    /// An empty file. It has `len` zeros to write, which it knows without looking at them.
    pub(super) fn new(len: usize) -> Self {
        Self { memory: MemStorage::new(), zeros: vec![0; len] }
    }

    /// The zeros.
    pub(super) fn zeros(&self) -> &[u8] {
        &self.zeros
    }

    fn is_zero(&self, bytes: &[u8]) -> bool {
        let (own, theirs) = (self.zeros.as_ptr_range(), bytes.as_ptr_range());
        let within = own.start <= theirs.start && theirs.end <= own.end;
        within || is_zero(bytes)
    }
}

impl Storage for Outline {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.memory.read_vectored_at(at, into)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        let mut to = at.get();
        for part in from {
            let len = part.len() as u64;
            let start = HostOffset::new(to);
            match self.is_zero(part) {
                true => self.memory.write_zeroes(HostRange { start, len })?,
                false => self.memory.write_at(start, part)?,
            }
            to = to.saturating_add(len);
        }
        Ok(())
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.memory.write_zeroes(range)
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.memory.discard(range)
    }

    fn flush(&self) -> io::Result<()> {
        self.memory.flush()
    }

    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.memory.allocate(range)
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        self.memory.extent_at(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_take_room_and_no_memory() {
        let outline = Outline::new(1 << 20);
        let start = HostOffset::new(0);
        outline.write_at(start, &[1; 512]).expect("memory takes it");
        for mib in 1..=64 {
            outline.write_at(HostOffset::new(mib << 20), outline.zeros()).expect("so it does");
        }
        for mib in 65..=66 {
            outline.write_at(HostOffset::new(mib << 20), &vec![0; 1 << 20]).expect("so it does");
        }
        assert_eq!(outline.len().expect("it has one"), 67 << 20);
        assert!(outline.memory.allocated() <= 1 << 20);
        let mut byte = [0];
        assert_eq!(outline.read_at(start, &mut byte).expect("it is there"), 1);
        assert_eq!(byte, [1]);
    }
}
