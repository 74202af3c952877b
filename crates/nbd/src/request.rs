//! Requests as values.

use zerocopy::{FromBytes, IntoBytes};

use crate::numbers::{EXTENDED_REQUEST_MAGIC, REQUEST_MAGIC, command, command_flag};
use crate::wire::{CompactRequest, ExtendedRequest};

/// How requests and replies are framed, which the handshake settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Framing {
    /// A reply is one header and data.
    Simple,
    /// A reply is chunks with lengths of 32 bits.
    Structured,
    /// Requests and chunks have lengths of 64 bits.
    Extended,
}

impl Framing {
    /// Bytes of a request's header.
    #[must_use]
    pub fn request_len(self) -> usize {
        match self {
            Self::Simple | Self::Structured => CompactRequest::LEN,
            Self::Extended => ExtendedRequest::LEN,
        }
    }
}

/// A request, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Flags, see [`command_flag`].
    pub flags: u16,
    /// What to do, see [`command`]; any number.
    pub command: u16,
    /// What the reply repeats.
    pub cookie: u64,
    /// The first byte of the range; any number.
    pub at: u64,
    /// Bytes of the range, or of the payload; any number.
    pub len: u64,
}

impl Request {
    /// Reads a header from its bytes; `None` if they are no header.
    #[must_use]
    pub fn decode(bytes: &[u8], framing: Framing) -> Option<Self> {
        if framing == Framing::Extended {
            let raw = ExtendedRequest::read_from_bytes(bytes).ok()?;
            (raw.magic.get() == EXTENDED_REQUEST_MAGIC).then(|| Self {
                flags: raw.flags.get(),
                command: raw.command.get(),
                cookie: raw.cookie.get(),
                at: raw.at.get(),
                len: raw.len.get(),
            })
        } else {
            let raw = CompactRequest::read_from_bytes(bytes).ok()?;
            (raw.magic.get() == REQUEST_MAGIC).then(|| Self {
                flags: raw.flags.get(),
                command: raw.command.get(),
                cookie: raw.cookie.get(),
                at: raw.at.get(),
                len: u64::from(raw.len.get()),
            })
        }
    }

    /// Appends the header; a length that does not fit 32 bits is cut without extended headers.
    pub fn encode(&self, framing: Framing, into: &mut Vec<u8>) {
        let Self { flags, command, cookie, at, len } = *self;
        if framing == Framing::Extended {
            let raw = ExtendedRequest {
                magic: EXTENDED_REQUEST_MAGIC.into(),
                flags: flags.into(),
                command: command.into(),
                cookie: cookie.into(),
                at: at.into(),
                len: len.into(),
            };
            into.extend_from_slice(raw.as_bytes());
        } else {
            let raw = CompactRequest {
                magic: REQUEST_MAGIC.into(),
                flags: flags.into(),
                command: command.into(),
                cookie: cookie.into(),
                at: at.into(),
                len: u32::try_from(len).unwrap_or(u32::MAX).into(),
            };
            into.extend_from_slice(raw.as_bytes());
        }
    }

    /// Whether a flag is set.
    #[must_use]
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Bytes that follow the header; any number.
    #[must_use]
    pub fn payload_len(&self, framing: Framing) -> u64 {
        // QEMU's client leaves the flag out of writes.
        let flagged = framing == Framing::Extended && self.has(command_flag::PAYLOAD_LEN);
        if flagged || self.command == command::WRITE { self.len } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_wrong_magics_do_not() {
        let request = Request { flags: 1, command: 6, cookie: 7, at: 1 << 40, len: 4096 };
        for framing in [Framing::Simple, Framing::Structured, Framing::Extended] {
            let mut bytes = Vec::new();
            request.encode(framing, &mut bytes);
            assert_eq!(bytes.len(), framing.request_len());
            assert_eq!(Request::decode(&bytes, framing), Some(request));
            bytes[0] ^= 1;
            assert_eq!(Request::decode(&bytes, framing), None);
            assert_eq!(Request::decode(&bytes[1..], framing), None);
        }
    }

    #[test]
    fn payload_follows_writes_and_what_says_so() {
        let mut request = Request { flags: 0, command: command::WRITE, cookie: 0, at: 0, len: 9 };
        assert_eq!(request.payload_len(Framing::Structured), 9);
        assert_eq!(request.payload_len(Framing::Extended), 9);
        request.flags = command_flag::PAYLOAD_LEN;
        request.command = command::BLOCK_STATUS;
        assert_eq!(request.payload_len(Framing::Extended), 9);
        assert_eq!(request.payload_len(Framing::Simple), 0);
    }
}
