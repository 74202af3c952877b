//! A file or block device.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use holstein_units::{HostOffset, HostRange};
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::{Errno, retry_on_intr};

use crate::bounds::{as_u64, end_of, total};
use crate::direct::Direct;
use crate::early_writeback::EarlyWriteback;
use crate::mapped::read_only;
use crate::{
    Capabilities, FileIdentity, FileOptions, ImageLock, Storage, SyncMode, lock, transfer,
    writeback,
};

/// Zeros to write where the file system has no cheaper way.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// How many times [`ZEROS`] goes into one system call.
const ZERO_BUFFERS: usize = 16;

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Block,
    /// Only where the caller allowed it.
    Special,
}

/// A regular file or block device, buffered or direct, locked as QEMU does for as long as it lives.
///
/// # Concurrency
/// Buffered reads and writes are one system call without a lock. Direct requests that are not
/// aligned exclude other changes of the file while they are merged into their blocks. A change of
/// the length must not run beside writes past the new end.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    kind: Kind,
    write: bool,
    sync: SyncMode,
    direct: Option<Direct>,
    /// For a buffered file that is written in one go and flushed in the end.
    stream: Option<EarlyWriteback>,
    held: Option<ImageLock>,
    identity: FileIdentity,
    /// The file system said that it cannot; not asked again.
    no_zero_range: AtomicBool,
    no_punch_hole: AtomicBool,
    /// The kernel forgets what it could not write, so no later flush can promise anything.
    flush_failed: AtomicBool,
}

impl FileStorage {
    pub(crate) fn new(
        file: File,
        kind: Kind,
        options: &FileOptions,
        direct: Option<Direct>,
        held: Option<ImageLock>,
        identity: FileIdentity,
    ) -> Self {
        let cached = direct.is_none() && options.sync == SyncMode::Normal;
        let stream = options.streaming && cached && kind == Kind::Regular;
        Self {
            file,
            kind,
            write: options.write,
            sync: options.sync,
            direct,
            stream: stream.then(EarlyWriteback::default),
            held,
            identity,
            no_zero_range: AtomicBool::new(false),
            no_punch_hole: AtomicBool::new(false),
            flush_failed: AtomicBool::new(false),
        }
    }

    /// Which file it is.
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// The lock that is held; `None` if none was asked for, or the file system has no locks.
    #[must_use]
    pub fn lock(&self) -> Option<ImageLock> {
        self.held
    }

    /// Whether it is a block device.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        self.kind == Kind::Block
    }

    /// Bytes that the file takes on its file system; 0 for devices.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn allocated(&self) -> io::Result<u64> {
        let blocks = rustix::fs::fstat(&self.file)?.st_blocks;
        Ok(u64::try_from(blocks).unwrap_or(0).saturating_mul(512))
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn writes_through(&self) -> bool {
        self.sync == SyncMode::WriteThrough
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.write { Ok(()) } else { Err(read_only()) }
    }

    /// Makes a change durable that was not made by a write.
    fn settle(&self) -> io::Result<()> {
        if self.writes_through() { self.flush() } else { Ok(()) }
    }

    fn write_direct(&self, direct: &Direct, at: u64, from: &[IoSlice<'_>]) -> io::Result<()> {
        let len = || Ok(regular_len(self.fd())?);
        let len: &dyn Fn() -> io::Result<u64> = &len;
        let len = (self.kind == Kind::Regular).then_some(len);
        direct.write(self.fd(), at, from, self.writes_through(), len)
    }

    /// Notes a buffered write; now and then sends what has come together.
    fn streamed(&self, at: HostOffset, len: u64) {
        if let Some(range) = self.stream.as_ref().and_then(|stream| stream.wrote(at, len)) {
            writeback::start(self.fd(), range);
        }
    }

    /// Calls fallocate beside other changes of whole blocks.
    fn fallocate(&self, flags: FallocateFlags, range: HostRange) -> Result<(), Errno> {
        let _guard = self.direct.as_ref().map(Direct::share);
        retry_on_intr(|| rustix::fs::fallocate(&self.file, flags, range.start.get(), range.len))
    }

    /// Calls fallocate unless it is known not to work; false if it does not.
    fn try_fallocate(
        &self,
        known_not_to: &AtomicBool,
        flags: FallocateFlags,
        range: HostRange,
    ) -> io::Result<bool> {
        if known_not_to.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match self.fallocate(flags, range) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV | Errno::SPIPE) => {
                known_not_to.store(true, Ordering::Relaxed);
                Ok(false)
            }
            // A device does not take ranges off its sectors, or has no such range; the next may do.
            Err(Errno::INVAL) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write_zero_bytes(&self, range: HostRange) -> io::Result<()> {
        let buffers = [IoSlice::new(&ZEROS); ZERO_BUFFERS];
        let mut rest = range;
        while rest.len >= as_u64(ZEROS.len()) {
            let count = usize::try_from(rest.len / as_u64(ZEROS.len()))
                .map_or(ZERO_BUFFERS, |n| n.min(ZERO_BUFFERS));
            self.write_vectored_at(rest.start, &buffers[..count])?;
            rest = rest.split_at(as_u64(count * ZEROS.len())).1;
        }
        let tail = usize::try_from(rest.len).expect("less than the buffer of zeros");
        self.write_at(rest.start, &ZEROS[..tail])
    }
}

impl Storage for FileStorage {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match &self.direct {
            None => transfer::read_vectored(self.fd(), at.get(), into, 1),
            Some(direct) => direct.read(self.fd(), at.get(), into),
        }
    }

    fn read_at(&self, at: HostOffset, into: &mut [u8]) -> io::Result<usize> {
        match &self.direct {
            None => transfer::read(self.fd(), at.get(), into, 1),
            Some(direct) => direct.read(self.fd(), at.get(), &mut [IoSliceMut::new(into)]),
        }
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        self.check_writable()?;
        end_of(at, as_u64(total(from)))?;
        match &self.direct {
            None => {
                transfer::write_vectored(self.fd(), at.get(), from, self.writes_through())?;
                self.streamed(at, as_u64(total(from)));
                Ok(())
            }
            Some(direct) => self.write_direct(direct, at.get(), from),
        }
    }

    fn write_at(&self, at: HostOffset, from: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        end_of(at, as_u64(from.len()))?;
        match &self.direct {
            None => {
                transfer::write(self.fd(), at.get(), from, self.writes_through())?;
                self.streamed(at, as_u64(from.len()));
                Ok(())
            }
            Some(direct) => self.write_direct(direct, at.get(), &[IoSlice::new(from)]),
        }
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.check_writable()?;
        let end = end_of(range.start, range.len)?;
        if range.is_empty() {
            return Ok(());
        }
        if self.try_fallocate(&self.no_zero_range, FallocateFlags::ZERO_RANGE, range)? {
            return self.settle();
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if self.kind == Kind::Regular && self.try_fallocate(&self.no_punch_hole, hole, range)? {
            if regular_len(self.fd())? < end {
                // Grows the file without cutting what others write past its end meanwhile.
                self.write_at(HostOffset::new(end - 1), &[0])?;
            }
            return self.settle();
        }
        self.write_zero_bytes(range)
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.check_writable()?;
        if range.is_empty() || end_of(range.start, range.len).is_err() {
            return Ok(());
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.try_fallocate(&self.no_punch_hole, hole, range).map(drop)
    }

    fn flush(&self) -> io::Result<()> {
        if self.sync == SyncMode::Unsafe || !self.write {
            return Ok(());
        }
        if self.flush_failed.load(Ordering::Acquire) {
            let text = "an earlier flush failed; what was written before it may be lost";
            return Err(io::Error::other(text));
        }
        let result = retry_on_intr(|| rustix::fs::fdatasync(&self.file));
        if result.is_err() {
            self.flush_failed.store(true, Ordering::Release);
        }
        Ok(result?)
    }

    fn len(&self) -> io::Result<u64> {
        match self.kind {
            Kind::Regular => Ok(regular_len(self.fd())?),
            // Positioned I/O takes no notice of the descriptor's own position.
            Kind::Block | Kind::Special => Ok(rustix::fs::seek(&self.file, SeekFrom::End(0))?),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        end_of(HostOffset::new(len), 0)?;
        if self.kind != Kind::Regular {
            if self.len()? == len {
                return Ok(());
            }
            let text = "the length of a device does not change";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        {
            let _guard = self.direct.as_ref().map(Direct::exclude);
            retry_on_intr(|| rustix::fs::ftruncate(&self.file, len))?;
        }
        self.settle()
    }

    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.check_writable()?;
        end_of(range.start, range.len)?;
        if range.is_empty() {
            return Ok(());
        }
        self.fallocate(FallocateFlags::empty(), range)?;
        self.settle()
    }

    fn capabilities(&self) -> Capabilities {
        let regular = self.kind == Kind::Regular;
        let align = self.direct.as_ref().map_or(1, Direct::align);
        Capabilities {
            alignment: u32::try_from(align).expect("at most 1 MiB"),
            zero_beyond_end: regular,
            resizable: regular && self.write,
            discard: self.write && !self.no_punch_hole.load(Ordering::Relaxed),
            fast_zeroes: self.write
                && !(self.no_zero_range.load(Ordering::Relaxed)
                    && self.no_punch_hole.load(Ordering::Relaxed)),
            read_only: !self.write,
        }
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        let at = at.get();
        let rest = self.len()?.saturating_sub(at);
        if rest == 0 {
            return Ok((false, 0));
        }
        if self.kind != Kind::Regular {
            return Ok((true, rest));
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) if data > at => return Ok((false, (data - at).min(rest))),
            Ok(_) => {}
            // No data up to the end.
            Err(Errno::NXIO) => return Ok((false, rest)),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((true, rest)),
            Err(errno) => return Err(errno.into()),
        }
        match rustix::fs::seek(&self.file, SeekFrom::Hole(at)) {
            Ok(hole) if hole > at => Ok((true, (hole - at).min(rest))),
            // Changed between the two looks: data is always a right answer.
            Ok(_) | Err(Errno::NXIO) => Ok((true, rest)),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for FileStorage {
    /// Gives the lock back at once: a child that was forked and has not called exec yet would keep
    /// the description, and so the lock, for a moment.
    fn drop(&mut self) {
        if self.held.is_some() {
            lock::release(self.fd());
        }
    }
}

fn regular_len(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    // A length is never negative.
    Ok(u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Create, LockMode};
    use holstein_units::HostOffset;

    fn range(start: u64, len: u64) -> HostRange {
        HostRange::new(HostOffset::new(start), len).expect("test ranges are in bounds")
    }

    /// A file that is gone from its directory at once.
    fn open(name: &str, direct: bool) -> FileStorage {
        let path = std::env::temp_dir().join(format!("holstein-{name}-{}", std::process::id()));
        let options = FileOptions {
            write: true,
            create: Create::Truncate,
            direct,
            lock: LockMode::None,
            ..FileOptions::default()
        };
        let storage = FileStorage::open(&path, &options).expect("a new file");
        std::fs::remove_file(&path).expect("it was just made");
        storage
    }

    /// Each step down from zero ranges to plain writes gives the same bytes.
    #[test]
    fn zeros_arrive_without_help_of_the_file_system() {
        for (direct, no_punch) in [(false, false), (false, true), (true, false), (true, true)] {
            let s = open(&format!("zeros-{direct}-{no_punch}"), direct);
            s.no_zero_range.store(true, Ordering::Relaxed);
            s.no_punch_hole.store(no_punch, Ordering::Relaxed);
            let len = 1_300_000;
            s.write_at(HostOffset::new(0), &vec![7; 1_250_000]).expect("the disk takes it");
            s.write_zeroes(range(1001, len - 1001)).expect("the disk takes it");
            let mut found = vec![9; 1_300_001];
            let n = s.read_at(HostOffset::new(0), &mut found).expect("the disk gives it");
            assert_eq!(as_u64(n), len, "direct {direct}, no holes {no_punch}");
            assert!(found[..1001].iter().all(|&byte| byte == 7));
            assert!(found[1001..n].iter().all(|&byte| byte == 0));
            let hole = s.discard(range(0, 4096));
            hole.expect("not being able to discard is success");
            let (data, _) = s.extent_at(HostOffset::new(0)).expect("the disk says it");
            assert_eq!(data, no_punch, "a hole only where holes can be made");
            assert_eq!(s.capabilities().discard, !no_punch);
            assert_eq!(s.capabilities().fast_zeroes, !no_punch);
        }
    }

    /// H51: the kernel reports a failed write-back once, and then forgets the pages.
    #[test]
    fn no_flush_succeeds_after_one_that_failed() {
        let s = open("flush", false);
        s.flush().expect("a good disk");
        s.flush_failed.store(true, Ordering::Release);
        s.flush().expect_err("nothing is known about earlier writes");

        let options = FileOptions {
            write: true,
            lock: LockMode::None,
            allow_special: true,
            ..FileOptions::default()
        };
        let device = FileStorage::open("/dev/null", &options).expect("it is always there");
        let first = device.flush().expect_err("this device cannot be flushed");
        assert_eq!(first.kind(), io::ErrorKind::InvalidInput);
        let second = device.flush().expect_err("the first failed");
        assert_eq!(second.kind(), io::ErrorKind::Other);
    }

    #[test]
    fn more_buffers_than_a_system_call_takes() {
        let s = open("buffers", false);
        let bytes =
            (0..3000_u32).map(|n| u8::try_from(n % 251).expect("small")).collect::<Vec<_>>();
        let slices = bytes.chunks(1).map(IoSlice::new).collect::<Vec<_>>();
        s.write_vectored_at(HostOffset::new(5), &slices).expect("the disk takes it");
        let mut found = vec![0; 4000];
        let mut slices = found.chunks_mut(1).map(IoSliceMut::new).collect::<Vec<_>>();
        let n = s.read_vectored_at(HostOffset::new(5), &mut slices).expect("the disk gives it");
        assert_eq!(n, 3000);
        assert_eq!(found[..3000], bytes);
    }
}
