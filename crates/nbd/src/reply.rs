//! Replies as bytes, several behind one another, so that they go out in one piece.

use zerocopy::IntoBytes;

use crate::errno::Errno;
use crate::numbers::{CHUNK_MAGIC, EXTENDED_CHUNK_MAGIC, MAX_STRING, SIMPLE_REPLY_MAGIC, chunk};
use crate::request::{Framing, Request};
use crate::server::Extent;
use crate::wire::{
    Chunk, CompactExtent, ExtendedChunk, ExtendedExtent, Failure, Hole, SimpleReply,
};

/// Capacity that a buffer keeps when it is emptied, in bytes.
const KEEP: usize = 1 << 20;

/// Bytes to send. Room that was used once is used again without being cleared.
#[derive(Debug, Default)]
pub(crate) struct ReplyBuffer {
    bytes: Vec<u8>,
    used: usize,
}

impl ReplyBuffer {
    /// What is to be sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Drops what is behind `len`.
    pub(crate) fn cut(&mut self, len: usize) {
        self.used = self.used.min(len);
    }

    /// Empties the buffer; room past a limit is given back.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
        if self.bytes.len() > KEEP {
            self.bytes.truncate(KEEP);
            self.bytes.shrink_to_fit();
        }
    }

    /// Room for `len` bytes at the end, with whatever is in it.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        let start = self.used;
        let end = start + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.used = end;
        &mut self.bytes[start..end]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }
}

/// Which request is answered, and in which framing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo {
    pub(crate) framing: Framing,
    pub(crate) cookie: u64,
    pub(crate) at: u64,
}

impl ReplyTo {
    pub(crate) fn new(request: &Request, framing: Framing) -> Self {
        Self { framing, cookie: request.cookie, at: request.at }
    }

    fn simple(&self, error: u32, out: &mut ReplyBuffer) {
        let magic = SIMPLE_REPLY_MAGIC.into();
        let reply = SimpleReply { magic, error: error.into(), cookie: self.cookie.into() };
        out.push(reply.as_bytes());
    }

    fn chunk(&self, kind: u16, done: bool, len: u32, out: &mut ReplyBuffer) {
        let flags = if done { chunk::DONE } else { 0 };
        if self.framing == Framing::Extended {
            let header = ExtendedChunk {
                magic: EXTENDED_CHUNK_MAGIC.into(),
                flags: flags.into(),
                kind: kind.into(),
                cookie: self.cookie.into(),
                at: self.at.into(),
                len: u64::from(len).into(),
            };
            out.push(header.as_bytes());
        } else {
            let header = Chunk {
                magic: CHUNK_MAGIC.into(),
                flags: flags.into(),
                kind: kind.into(),
                cookie: self.cookie.into(),
                len: len.into(),
            };
            out.push(header.as_bytes());
        }
    }

    /// Done, and nothing to say.
    pub(crate) fn done(&self, out: &mut ReplyBuffer) {
        match self.framing {
            Framing::Simple => self.simple(0, out),
            Framing::Structured | Framing::Extended => self.chunk(chunk::NONE, true, 0, out),
        }
    }

    /// A failure, with words where the framing has room for them.
    pub(crate) fn failed(&self, errno: Errno, message: &str, out: &mut ReplyBuffer) {
        if self.framing == Framing::Simple {
            return self.simple(errno.code(), out);
        }
        let mut end = message.len().min(MAX_STRING);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let message = &message.as_bytes()[..end];
        let message_len = u16::try_from(message.len()).unwrap_or_default();
        let len = u32::from(message_len) + 6;
        self.chunk(chunk::ERROR, true, len, out);
        let failure = Failure { error: errno.code().into(), message_len: message_len.into() };
        out.push(failure.as_bytes());
        out.push(message);
    }

    /// Data from byte `at` of the export, which the caller puts into what is returned.
    pub(crate) fn data<'a>(
        &self,
        at: u64,
        len: u32,
        done: bool,
        out: &'a mut ReplyBuffer,
    ) -> &'a mut [u8] {
        match self.framing {
            Framing::Simple => self.simple(0, out),
            Framing::Structured | Framing::Extended => {
                self.chunk(chunk::OFFSET_DATA, done, len + 8, out);
                out.push(&at.to_be_bytes());
            }
        }
        out.room(len as usize)
    }

    /// Zeros from byte `at` of the export.
    pub(crate) fn hole(&self, at: u64, len: u32, done: bool, out: &mut ReplyBuffer) {
        let hole = Hole { at: at.into(), len: len.into() };
        self.chunk(chunk::OFFSET_HOLE, done, 12, out);
        out.push(hole.as_bytes());
    }

    /// The states of a range in one context.
    pub(crate) fn status(
        &self,
        context: u32,
        extents: &[Extent],
        done: bool,
        out: &mut ReplyBuffer,
    ) {
        let count = u32::try_from(extents.len()).unwrap_or(u32::MAX);
        if self.framing == Framing::Extended {
            self.chunk(chunk::BLOCK_STATUS_EXT, done, 8 + 16 * count, out);
            out.push(&context.to_be_bytes());
            out.push(&count.to_be_bytes());
            for extent in extents {
                let flags = u64::from(extent.flags).into();
                out.push(ExtendedExtent { len: extent.len.into(), flags }.as_bytes());
            }
        } else {
            self.chunk(chunk::BLOCK_STATUS, done, 4 + 8 * count, out);
            out.push(&context.to_be_bytes());
            for extent in extents {
                // The range that was asked for has a length of 32 bits.
                let len = u32::try_from(extent.len).unwrap_or(u32::MAX);
                out.push(CompactExtent { len: len.into(), flags: extent.flags.into() }.as_bytes());
            }
        }
    }
}
