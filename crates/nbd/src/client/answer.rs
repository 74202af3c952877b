//! Replies as a client reads them: bounded by what was asked for.

use std::io::{self, Read};

use zerocopy::{FromBytes, IntoBytes};

use crate::errno::Errno;
use crate::input::Input;
use crate::numbers::{CHUNK_MAGIC, EXTENDED_CHUNK_MAGIC, MAX_STRING, SIMPLE_REPLY_MAGIC, chunk};
use crate::request::Framing;
use crate::server::Extent;
use crate::wire::{
    Chunk, CompactExtent, ExtendedChunk, ExtendedExtent, Failure, Hole, SimpleReply,
};

/// Bytes of the states in one reply, at most; what comes after the first is not looked at.
const MAX_STATES: u64 = 4 << 20;

/// What was asked for, and what came of it so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The first byte of a read.
    pub(super) at: u64,
    /// The bytes of a read.
    pub(super) data: Vec<u8>,
    /// Bytes of a read that came.
    pub(super) filled: usize,
    /// The context that was asked about.
    pub(super) context: Option<u32>,
    /// The first state that came.
    pub(super) extent: Option<Extent>,
    /// Why the request failed.
    pub(super) failure: Option<Errno>,
}

/// The header of a reply or of one of its chunks.
pub(super) struct Header {
    pub(super) cookie: u64,
    done: bool,
    kind: Kind,
}

enum Kind {
    Simple(u32),
    Chunk(u16, u64),
}

fn wrong(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn field<const N: usize, R: Read>(input: &mut Input<R>) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.fill(&mut bytes)?;
    Ok(bytes)
}

/// The next structure.
fn structure<T: FromBytes + IntoBytes, R: Read>(input: &mut Input<R>) -> io::Result<T> {
    let mut raw = T::new_zeroed();
    input.fill(raw.as_mut_bytes())?;
    Ok(raw)
}

impl Header {
    /// Waits for the next reply or chunk.
    pub(super) fn read<R: Read>(input: &mut Input<R>, framing: Framing) -> io::Result<Self> {
        let len = match framing {
            Framing::Extended => ExtendedChunk::LEN,
            Framing::Simple | Framing::Structured => SimpleReply::LEN,
        };
        if !input.wait_for(len)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if framing == Framing::Extended {
            let raw = ExtendedChunk::read_from_bytes(input.take(len));
            let raw = raw.ok().filter(|raw| raw.magic.get() == EXTENDED_CHUNK_MAGIC);
            let raw = raw.ok_or_else(|| wrong("a reply without its magic"))?;
            let done = raw.flags.get() & chunk::DONE != 0;
            let kind = Kind::Chunk(raw.kind.get(), raw.len.get());
            return Ok(Self { cookie: raw.cookie.get(), done, kind });
        }
        let mut bytes = [0; Chunk::LEN];
        bytes[..len].copy_from_slice(input.take(len));
        let magic = bytes.first_chunk::<4>().map(|magic| u32::from_be_bytes(*magic));
        match magic {
            Some(SIMPLE_REPLY_MAGIC) => {
                let raw = SimpleReply::read_from_bytes(&bytes[..len]);
                let raw = raw.map_err(|_| wrong("a short reply"))?;
                let kind = Kind::Simple(raw.error.get());
                Ok(Self { cookie: raw.cookie.get(), done: true, kind })
            }
            Some(CHUNK_MAGIC) if framing == Framing::Structured => {
                input.fill(&mut bytes[len..])?;
                let raw = Chunk::read_from_bytes(&bytes).map_err(|_| wrong("a short chunk"))?;
                let done = raw.flags.get() & chunk::DONE != 0;
                let kind = Kind::Chunk(raw.kind.get(), u64::from(raw.len.get()));
                Ok(Self { cookie: raw.cookie.get(), done, kind })
            }
            _ => Err(wrong("a reply without its magic")),
        }
    }

    /// Reads what follows into the answer that it belongs to; returns whether that is complete.
    pub(super) fn receive<R: Read>(
        &self,
        input: &mut Input<R>,
        answer: &mut Answer,
        framing: Framing,
    ) -> io::Result<bool> {
        match self.kind {
            Kind::Simple(0) if framing == Framing::Simple || answer.data.is_empty() => {
                input.fill(&mut answer.data)?;
                answer.filled = answer.data.len();
            }
            Kind::Simple(0) => return Err(wrong("a simple reply to a read")),
            Kind::Simple(error) => answer.failure = Some(Errno::from_code(error)),
            Kind::Chunk(kind, len) => answer.take_chunk(kind, len, input)?,
        }
        if self.done && answer.failure.is_none() && answer.filled != answer.data.len() {
            return Err(wrong("a read of which parts are missing"));
        }
        Ok(self.done)
    }
}

impl Answer {
    fn part(&mut self, at: u64, len: u64) -> io::Result<&mut [u8]> {
        let outside = || wrong("data outside of what was read");
        let start = at.checked_sub(self.at).and_then(|start| usize::try_from(start).ok());
        let start = start.ok_or_else(outside)?;
        let len = usize::try_from(len).map_err(|_| outside())?;
        let end = start.checked_add(len).ok_or_else(outside)?;
        self.filled = self.filled.saturating_add(len);
        self.data.get_mut(start..end).ok_or_else(outside)
    }

    fn take_chunk<R: Read>(&mut self, kind: u16, len: u64, input: &mut Input<R>) -> io::Result<()> {
        match kind {
            chunk::NONE if len == 0 => Ok(()),
            chunk::OFFSET_DATA if len > 8 => {
                let at = u64::from_be_bytes(field(input)?);
                let part = self.part(at, len - 8)?;
                input.fill(part)
            }
            chunk::OFFSET_HOLE if len == 12 => {
                let raw: Hole = structure(input)?;
                self.part(raw.at.get(), u64::from(raw.len.get()))?.fill(0);
                Ok(())
            }
            chunk::BLOCK_STATUS | chunk::BLOCK_STATUS_EXT => self.take_states(kind, len, input),
            // The top bit is that of failures, of kinds that may come later too.
            _ if kind & 1 << 15 != 0 => self.take_failure(len, input),
            _ => Err(wrong("a chunk that was not asked for")),
        }
    }

    fn take_states<R: Read>(
        &mut self,
        kind: u16,
        len: u64,
        input: &mut Input<R>,
    ) -> io::Result<()> {
        let extended = kind == chunk::BLOCK_STATUS_EXT;
        let (head, one) = if extended { (8, 16) } else { (4, 8) };
        let states = len
            .checked_sub(head)
            .filter(|states| *states >= one && states.is_multiple_of(one) && *states <= MAX_STATES);
        let states = states.ok_or_else(|| wrong("states of a wrong length"))?;
        let context = u32::from_be_bytes(field(input)?);
        if self.context != Some(context) {
            return Err(wrong("states that were not asked for"));
        }
        let (len, flags) = if extended {
            field::<4, R>(input)?;
            let raw: ExtendedExtent = structure(input)?;
            (raw.len.get(), raw.flags.get())
        } else {
            let raw: CompactExtent = structure(input)?;
            (u64::from(raw.len.get()), u64::from(raw.flags.get()))
        };
        if len == 0 {
            return Err(wrong("a state of no bytes"));
        }
        let flags = u32::try_from(flags).unwrap_or(u32::MAX);
        self.extent.get_or_insert(Extent { len, flags });
        let rest = usize::try_from(states - one).map_err(|_| wrong("too many states"))?;
        input.fill(&mut vec![0; rest])
    }

    fn take_failure<R: Read>(&mut self, len: u64, input: &mut Input<R>) -> io::Result<()> {
        let most = (6 + MAX_STRING + 8) as u64;
        let rest = len.checked_sub(6).filter(|_| len <= most);
        let rest = rest.ok_or_else(|| wrong("a failure of a wrong length"))?;
        let raw: Failure = structure(input)?;
        self.failure.get_or_insert(Errno::from_code(raw.error.get()));
        input.fill(&mut vec![0; usize::try_from(rest).unwrap_or_default()])
    }
}
