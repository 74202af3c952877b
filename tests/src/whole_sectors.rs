//! Storage that writes whole sectors, as devices do.

use std::io::{self, IoSlice, IoSliceMut};

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange, SECTOR};

/// Rounds writes out to whole sectors with what the file holds there, as the host's page cache
/// does. A later write of a sector then carries the bytes of earlier ones: a power cut can lose
/// the later one, or both, but never the earlier one alone.
#[derive(Debug)]
pub struct WholeSectors<S> {
    inner: S,
}

impl<S: Storage> WholeSectors<S> {
    /// Whole sectors on `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }

    /// The storage beneath.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// What the file holds between two places in one sector, up to its end.
    fn old(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
        let n = self.inner.read_at(HostOffset::new(from), &mut bytes)?;
        bytes.truncate(n);
        Ok(bytes)
    }
}

impl<S: Storage> Storage for WholeSectors<S> {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.inner.read_vectored_at(at, into)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        let (start, len) = (at.get(), from.iter().map(|part| part.len() as u64).sum::<u64>());
        let first = start / SECTOR * SECTOR;
        let end = start + len;
        let mut head = self.old(first, start)?;
        // Where the file ends before the write, zeros come between.
        head.resize(usize::try_from(start - first).map_err(io::Error::other)?, 0);
        let tail = self.old(end, end.next_multiple_of(SECTOR))?;
        if head.is_empty() && tail.is_empty() {
            return self.inner.write_vectored_at(at, from);
        }
        let mut parts = vec![IoSlice::new(&head)];
        parts.extend_from_slice(from);
        parts.push(IoSlice::new(&tail));
        self.inner.write_vectored_at(HostOffset::new(first), &parts)
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.inner.write_zeroes(range)
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.inner.discard(range)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.inner.allocate(range)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        self.inner.extent_at(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holstein_storage::MemStorage;
    use holstein_testkit::{Entry, RecordingStorage};

    #[test]
    fn parts_of_sectors_carry_the_rest() {
        let inner = RecordingStorage::new(MemStorage::from_bytes(&[7; 1024])).expect("in memory");
        let storage = WholeSectors::new(inner);
        storage.write_at(HostOffset::new(510), &[1; 4]).expect("in memory");
        storage.write_at(HostOffset::new(1030), &[2; 2]).expect("in memory");
        let log = storage.inner().log();
        let [Entry::Write { at, data }, Entry::Write { at: end, data: last }] = log.entries()
        else {
            panic!("two writes, not {log}");
        };
        assert_eq!((at.get(), data.len()), (0, 1024));
        assert_eq!((data[509], data[510], data[513], data[514]), (7, 1, 1, 7));
        assert_eq!((end.get(), &last[..]), (1024, &[0, 0, 0, 0, 0, 0, 2, 2][..]));
    }
}
