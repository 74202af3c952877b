//! What a server needs of a disk, and what it says about it.

use std::io;
use std::sync::Arc;

use crate::context::Context;
use crate::numbers::{MAX_PAYLOAD, transmission};
use crate::request::Framing;

/// How zeros are to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zeroes {
    /// The range keeps its space.
    pub keep_space: bool,
    /// Fail with [`io::ErrorKind::Unsupported`] rather than be slower than a write of nothing.
    pub fast_only: bool,
    /// Durable on return.
    pub durable: bool,
}

/// A part of a range that is alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes, at least 1.
    pub len: u64,
    /// Its state, by the rules of the context.
    pub flags: u32,
}

/// A disk that is exported.
///
/// # Concurrency
/// All methods take `&self` and are called from any number of threads. Ranges never go past
/// [`Export::size`], and are never empty but in [`Export::flush`].
pub trait Export: Send + Sync {
    /// The length in bytes, which stays.
    fn size(&self) -> u64;

    /// Fills `into` from byte `at`.
    ///
    /// # Errors
    /// What goes to the client by [`crate::Errno::of`]; so too in the other methods.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes `from` at byte `at`; with `durable` it is on the disk on return.
    ///
    /// # Errors
    /// As for [`Export::read_at`].
    fn write_at(&self, at: u64, from: &[u8], durable: bool) -> io::Result<()>;

    /// Makes a range read as zeros.
    ///
    /// # Errors
    /// As for [`Export::read_at`].
    fn write_zeroes(&self, at: u64, len: u64, how: Zeroes) -> io::Result<()>;

    /// Gives up the content of a range; with `durable` what was done is on the disk on return.
    ///
    /// # Errors
    /// As for [`Export::read_at`].
    fn trim(&self, at: u64, len: u64, durable: bool) -> io::Result<()>;

    /// Returns when everything that was written, by whatever connection, is on the disk.
    ///
    /// # Errors
    /// As for [`Export::read_at`].
    fn flush(&self) -> io::Result<()>;

    /// Will be read soon.
    ///
    /// # Errors
    /// As for [`Export::read_at`].
    fn cache(&self, at: u64, len: u64) -> io::Result<()> {
        let _ = (at, len);
        Ok(())
    }

    /// The extent that begins at `at`, at most `len` bytes of it, in one of the contexts that
    /// [`ExportSettings`] list, or [`Context::Allocation`].
    ///
    /// # Errors
    /// As for [`Export::read_at`].
    fn extent_at(&self, context: &Context, at: u64, len: u64) -> io::Result<Extent>;
}

/// Sizes that requests should have, in bytes; powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizes {
    /// Requests should begin and end at multiples of it; others are served too.
    pub minimum: u32,
    /// Requests of this size are fast.
    pub preferred: u32,
}

impl Default for BlockSizes {
    fn default() -> Self {
        Self { minimum: 1, preferred: 4096 }
    }
}

impl BlockSizes {
    /// Bytes that a request reads or writes at most.
    pub(crate) fn maximum(self) -> u32 {
        MAX_PAYLOAD
    }
}

/// What clients are told about an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportSettings {
    /// The name by which it is asked for, at most [`MAX_STRING`](crate::numbers::MAX_STRING) bytes; the
    /// empty one is the default export.
    pub name: String,
    /// Words for people, at most as long.
    pub description: Option<String>,
    /// Writes are refused.
    pub read_only: bool,
    /// Several connections may be used as if they were one.
    pub multi_conn: bool,
    /// Sizes of requests.
    pub block_sizes: BlockSizes,
    /// What can be asked besides [`Context::Allocation`], in the order in which it is listed.
    pub contexts: Vec<Context>,
}

/// An export with all that belongs to it.
#[derive(Clone)]
pub(crate) struct Exported {
    pub(crate) settings: ExportSettings,
    pub(crate) contexts: Vec<Context>,
    pub(crate) disk: Arc<dyn Export>,
}

impl Exported {
    pub(crate) fn new(disk: Arc<dyn Export>, settings: ExportSettings) -> Self {
        let base = [Context::Allocation].into_iter();
        let contexts = base.chain(settings.contexts.iter().cloned()).collect();
        Self { settings, contexts, disk }
    }

    /// The flags that say what a client can do.
    pub(crate) fn flags(&self, framing: Framing) -> u16 {
        use transmission as flag;
        let mut flags = flag::HAS_FLAGS | flag::SEND_FLUSH | flag::SEND_FUA | flag::SEND_CACHE;
        if self.settings.read_only {
            flags |= flag::READ_ONLY;
        } else {
            flags |= flag::SEND_TRIM | flag::SEND_WRITE_ZEROES | flag::SEND_FAST_ZERO;
        }
        if self.settings.multi_conn {
            flags |= flag::CAN_MULTI_CONN;
        }
        if framing >= Framing::Structured {
            flags |= flag::SEND_DF;
        }
        if framing == Framing::Extended {
            flags |= flag::BLOCK_STATUS_PAYLOAD;
        }
        flags
    }
}
