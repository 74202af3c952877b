//! A growable file in memory.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use holstein_units::{HostOffset, HostRange};

use crate::bounds::{as_u64, end_of};
use crate::{Capabilities, Storage};

/// Bytes of one chunk: what is allocated at a time.
const CHUNK: usize = 64 * 1024;

/// A file in memory, sparse in chunks of 64 KiB, so that bytes far out cost nothing in between.
///
/// # Concurrency
/// Each call is atomic as a whole.
#[derive(Debug, Default)]
pub struct MemStorage {
    content: RwLock<Content>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    len: u64,
    /// By number; what is missing reads as zeros. Bytes past `len` are always zero.
    chunks: BTreeMap<u64, Box<[u8]>>,
}

impl MemStorage {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file with these bytes; chunks of zeros take no memory.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut content = Content { len: as_u64(bytes.len()), chunks: BTreeMap::new() };
        for (number, part) in (0..).zip(bytes.chunks(CHUNK)) {
            if part.iter().any(|&byte| byte != 0) {
                let mut chunk = blank();
                chunk[..part.len()].copy_from_slice(part);
                content.chunks.insert(number, chunk);
            }
        }
        Self { content: RwLock::new(content) }
    }

    /// All bytes, holes included.
    ///
    /// # Errors
    /// `OutOfMemory` where the length does not fit in memory.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let content = self.read();
        let len = usize::try_from(content.len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        bytes.resize(len, 0);
        content.read(0, &mut bytes);
        Ok(bytes)
    }

    /// Bytes of memory that chunks take.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        as_u64(self.read().chunks.len()) * as_u64(CHUNK)
    }

    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for MemStorage {
    fn clone(&self) -> Self {
        Self { content: RwLock::new(self.read().clone()) }
    }
}

impl Storage for MemStorage {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let content = self.read();
        let mut done = 0;
        for buffer in into {
            let n = content.read(at.get().saturating_add(as_u64(done)), buffer);
            done += n;
            if n < buffer.len() {
                break;
            }
        }
        Ok(done)
    }

    fn read_at(&self, at: HostOffset, into: &mut [u8]) -> io::Result<usize> {
        Ok(self.read().read(at.get(), into))
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        end_of(at, as_u64(crate::bounds::total(from)))?;
        let mut content = self.write();
        let mut to = at.get();
        for buffer in from {
            content.write(to, buffer);
            to += as_u64(buffer.len());
        }
        Ok(())
    }

    fn write_at(&self, at: HostOffset, from: &[u8]) -> io::Result<()> {
        end_of(at, as_u64(from.len()))?;
        self.write().write(at.get(), from);
        Ok(())
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        let end = end_of(range.start, range.len)?;
        if range.is_empty() {
            return Ok(());
        }
        let mut content = self.write();
        content.clear(range.start.get(), end);
        content.len = content.len.max(end);
        Ok(())
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.write().clear(range.start.get(), range.end().get());
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.read().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        end_of(HostOffset::new(len), 0)?;
        let mut content = self.write();
        let old = content.len;
        content.clear(len, old);
        content.len = len;
        Ok(())
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        let end = end_of(range.start, range.len)?;
        if range.is_empty() {
            return Ok(());
        }
        // Memory is taken by the chunk when it is written; only the length shows.
        let mut content = self.write();
        content.len = content.len.max(end);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            alignment: 1,
            zero_beyond_end: true,
            resizable: true,
            discard: true,
            fast_zeroes: true,
            read_only: false,
        }
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        let content = self.read();
        let at = at.get();
        if at >= content.len {
            return Ok((false, 0));
        }
        let first = at / as_u64(CHUNK);
        let end = if content.chunks.contains_key(&first) {
            let run =
                (first..).zip(content.chunks.range(first..)).take_while(|(n, (k, _))| n == *k);
            (first + as_u64(run.count())).saturating_mul(as_u64(CHUNK))
        } else {
            content
                .chunks
                .range(first..)
                .next()
                .map_or(content.len, |(next, _)| next * as_u64(CHUNK))
        };
        Ok((content.chunks.contains_key(&first), end.min(content.len) - at))
    }
}

impl Content {
    /// Copies out what there is between `at` and the end.
    fn read(&self, at: u64, into: &mut [u8]) -> usize {
        let rest = self.len.saturating_sub(at);
        let n = usize::try_from(rest).map_or(into.len(), |rest| rest.min(into.len()));
        let mut done = 0;
        while done < n {
            let (number, inside) = place(at + as_u64(done));
            let part = (CHUNK - inside).min(n - done);
            let to = &mut into[done..done + part];
            match self.chunks.get(&number) {
                Some(chunk) => to.copy_from_slice(&chunk[inside..inside + part]),
                None => to.fill(0),
            }
            done += part;
        }
        n
    }

    /// The end was checked by the caller.
    fn write(&mut self, at: u64, from: &[u8]) {
        if from.is_empty() {
            return;
        }
        let mut done = 0;
        while done < from.len() {
            let (number, inside) = place(at + as_u64(done));
            let part = (CHUNK - inside).min(from.len() - done);
            let chunk = self.chunks.entry(number).or_insert_with(blank);
            chunk[inside..inside + part].copy_from_slice(&from[done..done + part]);
            done += part;
        }
        self.len = self.len.max(at + as_u64(from.len()));
    }

    /// Makes `at..end` zero; drops chunks that lie in it as a whole.
    fn clear(&mut self, at: u64, end: u64) {
        if at >= end {
            return;
        }
        let size = as_u64(CHUNK);
        let (first, last) = (at / size, (end - 1) / size);
        let (whole, past) = (at.div_ceil(size), end / size);
        if whole < past {
            let mut tail = self.chunks.split_off(&whole);
            self.chunks.append(&mut tail.split_off(&past));
        }
        for number in [first, last] {
            if let Some(chunk) = self.chunks.get_mut(&number) {
                let base = number * size;
                let from = usize::try_from(at.saturating_sub(base)).unwrap_or(CHUNK).min(CHUNK);
                let to = usize::try_from(end - base).unwrap_or(CHUNK).min(CHUNK);
                chunk[from..to].fill(0);
            }
        }
    }
}

/// The chunk of a byte and where in it.
fn place(at: u64) -> (u64, usize) {
    let size = as_u64(CHUNK);
    let inside = usize::try_from(at % size).expect("less than the size of a chunk");
    (at / size, inside)
}

fn blank() -> Box<[u8]> {
    vec![0; CHUNK].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> HostOffset {
        HostOffset::new(n)
    }

    fn range(start: u64, len: u64) -> HostRange {
        HostRange::new(at(start), len).expect("test ranges are in bounds")
    }

    #[test]
    fn far_writes_take_one_chunk() {
        let s = MemStorage::new();
        s.write_at(at(1 << 55), b"x").expect("in bounds");
        assert_eq!(s.allocated(), 65_536);
        assert_eq!(s.len().expect("memory"), (1 << 55) + 1);
        assert_eq!(s.extent_at(at(0)).expect("memory"), (false, 1 << 55));
        assert_eq!(s.extent_at(at(1 << 55)).expect("memory"), (true, 1));
        assert_eq!(s.extent_at(at((1 << 55) + 1)).expect("memory"), (false, 0));
    }

    #[test]
    fn shrinking_forgets_what_was_cut() {
        let s = MemStorage::from_bytes(&[7; 70_000]);
        s.set_len(3).expect("memory");
        s.set_len(70_000).expect("memory");
        let bytes = s.to_bytes().expect("small");
        assert_eq!(&bytes[..4], &[7, 7, 7, 0]);
        assert!(bytes[3..].iter().all(|&b| b == 0));
    }

    #[test]
    fn clearing_touches_only_its_range() {
        for (from, to) in [(0, 1), (65_535, 65_537), (1, 65_536), (65_536, 131_072), (5, 196_607)] {
            let s = MemStorage::from_bytes(&[9; 196_608]);
            s.write_zeroes(range(from, to - from)).expect("memory");
            for (i, byte) in (0..).zip(s.to_bytes().expect("small")) {
                assert_eq!(byte == 0, (from..to).contains(&i), "byte {i} of {from}..{to}");
            }
        }
    }

    #[test]
    fn past_63_bits_is_an_error() {
        let s = MemStorage::new();
        let e = s.write_at(at(i64::MAX as u64), b"xy").expect_err("too far");
        assert_eq!(e.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(s.len().expect("memory"), 0);
    }
}
