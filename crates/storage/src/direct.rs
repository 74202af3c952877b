//! Requests of any alignment on a file opened with `O_DIRECT`.
//!
//! Aligned requests go straight. Others go through an aligned bounce buffer; where a block is
//! written in part, its rest is read first and written back. That must not run beside any other
//! change of the same block, or the neighbour's change is lost, so it excludes all other changes of
//! the file (through this description) for as long as it takes.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::io::retry_on_intr;

use crate::bounds::as_u64;
use crate::transfer;

/// The most that is moved through the bounce buffer at a time.
const BOUNCE: usize = 1 << 20;

/// What `O_DIRECT` asks of requests on one file.
#[derive(Debug)]
pub(crate) struct Direct {
    /// Offsets, lengths and addresses must be multiples of this power of two.
    align: usize,
    /// Shared by whatever changes whole blocks; exclusive for read-modify-write and for a change of
    /// the length.
    blocks: RwLock<()>,
}

impl Direct {
    /// Rules for a file whose blocks are `align` bytes, a power of two up to 1 MiB; 4096 if not.
    pub(crate) fn new(align: u32) -> Self {
        let align = usize::try_from(align).unwrap_or(0);
        let sane = align.is_power_of_two() && align <= BOUNCE;
        Self { align: if sane { align } else { 4096 }, blocks: RwLock::new(()) }
    }

    /// The alignment in bytes.
    pub(crate) fn align(&self) -> usize {
        self.align
    }

    /// Held while whole blocks are changed.
    pub(crate) fn share(&self) -> RwLockReadGuard<'_, ()> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while no block may change.
    pub(crate) fn exclude(&self) -> RwLockWriteGuard<'_, ()> {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn fits(&self, at: u64, mut parts: impl Iterator<Item = (*const u8, usize)>) -> bool {
        let mask = self.align - 1;
        at & as_u64(mask) == 0 && parts.all(|(address, len)| (address.addr() | len) & mask == 0)
    }

    /// Reads until all buffers are full or the file ends.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub(crate) fn read(
        &self,
        fd: BorrowedFd<'_>,
        at: u64,
        into: &mut [IoSliceMut<'_>],
    ) -> io::Result<usize> {
        if self.fits(at, into.iter().map(|b| (b.as_ptr(), b.len()))) {
            return transfer::read_vectored(fd, at, into, self.align);
        }
        let total = into.iter().map(|b| b.len()).sum::<usize>();
        if total == 0 || at > i64::MAX as u64 {
            return Ok(0);
        }
        let _guard = self.share();
        let mut bounce = Bounce::new(self.align, total);
        let mut out = into.iter_mut();
        let mut room: &mut [u8] = &mut [];
        let mut done = 0;
        while done < total {
            let (block, skip) = self.block_of(at + as_u64(done));
            let wanted = (skip + (total - done)).next_multiple_of(self.align).min(bounce.len());
            let buffer = bounce.first(wanted);
            let n = transfer::read(fd, block, buffer, self.align)?;
            let mut got = buffer.get(skip..n).unwrap_or(&[]);
            got = &got[..got.len().min(total - done)];
            let moved = got.len();
            while !got.is_empty() {
                if room.is_empty() {
                    room = out.next().expect("no more bytes than the buffers hold");
                    continue;
                }
                let part = room.len().min(got.len());
                let (now, later) = std::mem::take(&mut room).split_at_mut(part);
                now.copy_from_slice(&got[..part]);
                got = &got[part..];
                room = later;
            }
            done += moved;
            if n < wanted {
                break;
            }
        }
        Ok(done)
    }

    /// Writes all buffers. The end was checked by the caller.
    ///
    /// * `len`: asked for the file's length where its last block is written in part; `None` for a
    ///   device, which does not grow.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub(crate) fn write(
        &self,
        fd: BorrowedFd<'_>,
        at: u64,
        from: &[IoSlice<'_>],
        sync: bool,
        len: Option<&dyn Fn() -> io::Result<u64>>,
    ) -> io::Result<()> {
        if self.fits(at, from.iter().map(|b| (b.as_ptr(), b.len()))) {
            let _guard = self.share();
            return transfer::write_vectored(fd, at, from, sync);
        }
        let total = from.iter().map(|b| b.len()).sum::<usize>();
        if total == 0 {
            return Ok(());
        }
        let end = at + as_u64(total);
        let mask = as_u64(self.align - 1);
        if (at | end) & mask == 0 {
            let _guard = self.share();
            return self.write_blocks(fd, at, from, total, sync);
        }
        let _guard = self.exclude();
        let old_len = match (end & mask != 0, len) {
            (true, Some(len)) => Some(len()?),
            _ => None,
        };
        self.write_blocks(fd, at, from, total, sync)?;
        // The last block was written as a whole; what is past the end of the request and of the old
        // file does not belong to the file.
        if let Some(old_len) = old_len {
            let len = old_len.max(end);
            if end.next_multiple_of(as_u64(self.align)) > len {
                retry_on_intr(|| rustix::fs::ftruncate(fd, len))?;
                if sync {
                    retry_on_intr(|| rustix::fs::fdatasync(fd))?;
                }
            }
        }
        Ok(())
    }

    /// Writes `total` bytes by whole blocks; reads first what the first and the last keep.
    fn write_blocks(
        &self,
        fd: BorrowedFd<'_>,
        at: u64,
        from: &[IoSlice<'_>],
        total: usize,
        sync: bool,
    ) -> io::Result<()> {
        let mut bounce = Bounce::new(self.align, total);
        let mut sources = from.iter();
        let mut source: &[u8] = &[];
        let mut done = 0;
        while done < total {
            let (block, skip) = self.block_of(at + as_u64(done));
            let span = (skip + (total - done)).next_multiple_of(self.align).min(bounce.len());
            let end = (skip + (total - done)).min(span);
            let buffer = bounce.first(span);
            if skip != 0 {
                self.read_block(fd, block, &mut buffer[..self.align])?;
            }
            if end != span && !(skip != 0 && span == self.align) {
                let last = span - self.align;
                self.read_block(fd, block + as_u64(last), &mut buffer[last..])?;
            }
            let mut room = &mut buffer[skip..end];
            while !room.is_empty() {
                if source.is_empty() {
                    source = sources.next().expect("no more bytes than the buffers hold");
                    continue;
                }
                let part = room.len().min(source.len());
                let (now, later) = room.split_at_mut(part);
                now.copy_from_slice(&source[..part]);
                source = &source[part..];
                room = later;
            }
            transfer::write(fd, block, buffer, sync)?;
            done += end - skip;
        }
        Ok(())
    }

    /// Reads one block; past the end of the file there are zeros.
    fn read_block(&self, fd: BorrowedFd<'_>, at: u64, into: &mut [u8]) -> io::Result<()> {
        let n = transfer::read(fd, at, into, self.align)?;
        into[n..].fill(0);
        Ok(())
    }

    /// The start of the block of a byte, and the byte's place in it.
    fn block_of(&self, at: u64) -> (u64, usize) {
        let inside = at & as_u64(self.align - 1);
        (at - inside, usize::try_from(inside).expect("less than a block"))
    }
}

/// Memory that starts at a multiple of the alignment.
struct Bounce {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Bounce {
    /// Room for `total` bytes with a block around it, up to 1 MiB.
    fn new(align: usize, total: usize) -> Self {
        let len = total.min(BOUNCE).next_multiple_of(align) + align;
        let len = len.min(BOUNCE.max(align));
        let memory = vec![0; len + align];
        let start = memory.as_ptr().addr().next_multiple_of(align) - memory.as_ptr().addr();
        Self { memory, start, len }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn first(&mut self, n: usize) -> &mut [u8] {
        &mut self.memory[self.start..self.start + n.min(self.len)]
    }
}
