//! The trait that every backend implements.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use holstein_units::{HostOffset, HostRange};

/// What a backend can do, asked once when an image is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Buffers, offsets and lengths must be multiples of this many bytes (1 for buffered files).
    /// Backends pad by themselves, see [`Storage::read_vectored_at`]; callers that align are faster.
    pub alignment: u32,
    /// Bytes past the end read as zeros once the file has grown over them: true for regular files,
    /// false for block devices.
    pub zero_beyond_end: bool,
    /// The length can change.
    pub resizable: bool,
    /// [`Storage::discard`] may free space.
    pub discard: bool,
    /// [`Storage::write_zeroes`] is cheaper than writing zeros.
    pub fast_zeroes: bool,
    /// Writes are refused.
    pub read_only: bool,
}

/// Positioned I/O on one file, device or buffer.
///
/// # Concurrency
/// All methods take `&self` and may be called from any number of threads; ranges that overlap in
/// concurrent writes get the bytes of either in an unknown mix of 512-byte sectors.
pub trait Storage: Send + Sync {
    /// Reads from `at` into `into`, in order, and returns how many bytes there were.
    ///
    /// Fewer than asked for means the end of the file and nothing else; the rest of the buffers is
    /// left as it was.
    ///
    /// # Errors
    /// Whatever the operating system says; interrupted calls are repeated inside.
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize>;

    /// Reads one buffer; see [`Storage::read_vectored_at`].
    ///
    /// # Errors
    /// As for [`Storage::read_vectored_at`].
    fn read_at(&self, at: HostOffset, into: &mut [u8]) -> io::Result<usize> {
        self.read_vectored_at(at, &mut [IoSliceMut::new(into)])
    }

    /// Writes all of `from` at `at`; grows the file where the end lies past it.
    ///
    /// # Errors
    /// A short transfer is an error; how much of it was written is then unknown.
    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()>;

    /// Writes one buffer; see [`Storage::write_vectored_at`].
    ///
    /// # Errors
    /// As for [`Storage::write_vectored_at`].
    fn write_at(&self, at: HostOffset, from: &[u8]) -> io::Result<()> {
        self.write_vectored_at(at, &[IoSlice::new(from)])
    }

    /// Makes the range read as zeros, as cheaply as the backend can; grows the file to its end.
    ///
    /// # Errors
    /// As for a write.
    fn write_zeroes(&self, range: HostRange) -> io::Result<()>;

    /// Tells the backend that the content of the range does not matter any more. Advisory: a
    /// discarded range may read as anything afterwards, and the length does not change.
    ///
    /// # Errors
    /// Only for a failure of the device; not being able to discard is success.
    fn discard(&self, range: HostRange) -> io::Result<()>;

    /// A barrier: all writes that returned before this call are durable when it returns.
    ///
    /// # Errors
    /// After an error nothing is known about earlier writes, and later flushes may lie.
    fn flush(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is 0.
    ///
    /// # Errors
    /// As for [`Storage::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or grows it with zeros.
    ///
    /// # Errors
    /// `Unsupported` where [`Capabilities::resizable`] is false and the length differs.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves host space for the range and grows the file to its end; content stays.
    ///
    /// # Errors
    /// `StorageFull` or whatever the operating system says; `Unsupported` where it cannot.
    fn allocate(&self, range: HostRange) -> io::Result<()>;

    /// What the backend can do.
    fn capabilities(&self) -> Capabilities;

    /// The extent that begins at `at`: whether it holds data, and how many bytes are alike from
    /// there on, at most to the end of the file. `(true, rest)` where the backend cannot tell.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        Ok((true, self.len()?.saturating_sub(at.get())))
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<S: Storage + ?Sized> Storage for $pointer {
            fn read_vectored_at(
                &self,
                at: HostOffset,
                into: &mut [IoSliceMut<'_>],
            ) -> io::Result<usize> {
                (**self).read_vectored_at(at, into)
            }
            fn read_at(&self, at: HostOffset, into: &mut [u8]) -> io::Result<usize> {
                (**self).read_at(at, into)
            }
            fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
                (**self).write_vectored_at(at, from)
            }
            fn write_at(&self, at: HostOffset, from: &[u8]) -> io::Result<()> {
                (**self).write_at(at, from)
            }
            fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
                (**self).write_zeroes(range)
            }
            fn discard(&self, range: HostRange) -> io::Result<()> {
                (**self).discard(range)
            }
            fn flush(&self) -> io::Result<()> {
                (**self).flush()
            }
            fn len(&self) -> io::Result<u64> {
                (**self).len()
            }
            fn set_len(&self, len: u64) -> io::Result<()> {
                (**self).set_len(len)
            }
            fn allocate(&self, range: HostRange) -> io::Result<()> {
                (**self).allocate(range)
            }
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }
            fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
                (**self).extent_at(at)
            }
        }
    )*};
}

forward!(&S, Box<S>, Arc<S>);
