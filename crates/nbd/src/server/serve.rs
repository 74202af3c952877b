//! One request after the other, from its checks to the bytes of its reply.

use std::io;

use super::export::{Export, Exported, Extent, Zeroes};
use crate::context::Context;
use crate::errno::Errno;
use crate::numbers::{MAX_EXTENTS, MAX_PAYLOAD, allocation, command, command_flag};
use crate::reply::{ReplyBuffer, ReplyTo};
use crate::request::{Framing, Request};

/// Reads of fewer bytes are not searched for holes: looking costs more than sending.
const LOOK_FOR_HOLES: u64 = 64 << 10;

/// Times that an export is asked for one status reply: ranges that are alike are merged, and a disk of
/// many exabytes would take as long as the client likes.
const MAX_STEPS: usize = 2 * MAX_EXTENTS;

/// A failure with words for the client.
struct Refusal {
    errno: Errno,
    message: String,
}

impl Refusal {
    fn new(errno: Errno, message: impl Into<String>) -> Self {
        Self { errno, message: message.into() }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::new(Errno::of(&error), error.to_string())
    }
}

/// What requests are served from.
#[derive(Clone, Copy)]
pub(super) struct Service<'a> {
    pub(super) exported: &'a Exported,
    pub(super) framing: Framing,
    /// Contexts that the client chose, by their places.
    pub(super) contexts: &'a [usize],
}

impl Service<'_> {
    /// Bytes that a request holds in memory while it is served, at most.
    pub(super) fn cost(&self, request: &Request) -> u64 {
        match request.command {
            command::READ => request.len.min(u64::from(MAX_PAYLOAD)),
            command::BLOCK_STATUS => {
                let most = MAX_EXTENTS as u64;
                let extents = match request {
                    _ if request.has(command_flag::REQ_ONE) => 1,
                    // The length is that of the payload, in which the range is.
                    _ if request.has(command_flag::PAYLOAD_LEN) => most,
                    _ => (request.len / 512 + 1).min(most),
                };
                extents * 32 * self.contexts.len() as u64 + request.payload_len(self.framing)
            }
            _ => request.payload_len(self.framing),
        }
    }

    /// Serves a request and puts its reply behind what is in `out`.
    pub(super) fn serve(&self, request: &Request, payload: &[u8], out: &mut ReplyBuffer) {
        let start = out.len();
        let to = ReplyTo::new(request, self.framing);
        if let Err(refusal) = self.try_serve(request, payload, to, out) {
            // Chunks that were not sent yet are dropped with what failed.
            out.cut(start);
            to.failed(refusal.errno, &refusal.message, out);
        }
    }

    fn try_serve(
        &self,
        request: &Request,
        payload: &[u8],
        to: ReplyTo,
        out: &mut ReplyBuffer,
    ) -> Result<(), Refusal> {
        self.check_flags(request)?;
        let disk = &*self.exported.disk;
        let Request { at, len, .. } = *request;
        let fua = request.has(command_flag::FUA);
        match request.command {
            command::READ => {
                self.check_range(request, len, Errno::Inval)?;
                if len > u64::from(MAX_PAYLOAD) {
                    return Err(too_long(len));
                }
                return self.read(request, to, out);
            }
            command::WRITE => {
                self.check_range(request, len, Errno::NoSpc)?;
                if len > 0 {
                    disk.write_at(at, payload, fua)?;
                }
            }
            command::FLUSH => disk.flush()?,
            command::TRIM => {
                self.check_range(request, len, Errno::Inval)?;
                if len > 0 {
                    disk.trim(at, len, fua)?;
                }
            }
            command::CACHE => {
                self.check_range(request, len, Errno::Inval)?;
                if len > 0 {
                    disk.cache(at, len)?;
                }
            }
            command::WRITE_ZEROES => {
                self.check_range(request, len, Errno::NoSpc)?;
                let how = Zeroes {
                    keep_space: request.has(command_flag::NO_HOLE),
                    fast_only: request.has(command_flag::FAST_ZERO),
                    durable: fua,
                };
                if len > 0 {
                    disk.write_zeroes(at, len, how)?;
                }
            }
            command::BLOCK_STATUS => return self.block_status(request, payload, to, out),
            other => {
                let text = format!("invalid request type ({other}) received");
                return Err(Refusal::new(Errno::Inval, text));
            }
        }
        to.done(out);
        Ok(())
    }

    fn check_flags(&self, request: &Request) -> Result<(), Refusal> {
        use command_flag::{DF, FAST_ZERO, FUA, NO_HOLE, PAYLOAD_LEN, REQ_ONE};
        let structured = self.framing >= Framing::Structured;
        let extended = self.framing == Framing::Extended;
        let payload = if extended { PAYLOAD_LEN } else { 0 };
        let known = match request.command {
            command::READ if structured => FUA | DF,
            command::WRITE => FUA | payload,
            command::WRITE_ZEROES => FUA | NO_HOLE | FAST_ZERO,
            command::BLOCK_STATUS => REQ_ONE | payload,
            _ => FUA,
        };
        if request.flags & !known != 0 {
            let text =
                format!("unsupported flags for command {}: {:#x}", request.command, request.flags);
            return Err(Refusal::new(Errno::Inval, text));
        }
        let writes = [command::WRITE, command::TRIM, command::WRITE_ZEROES];
        if self.exported.settings.read_only && writes.contains(&request.command) {
            return Err(Refusal::new(Errno::Perm, "Export is read-only"));
        }
        Ok(())
    }

    /// Checks that `len` bytes from the start of a request lie inside of the export.
    fn check_range(&self, request: &Request, len: u64, errno: Errno) -> Result<(), Refusal> {
        let size = self.exported.disk.size();
        match request.at.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => {
                let at = request.at;
                let text = format!("operation past EOF; From: {at}, Len: {len}, Size: {size}");
                Err(Refusal::new(errno, text))
            }
        }
    }

    fn read(&self, request: &Request, to: ReplyTo, out: &mut ReplyBuffer) -> Result<(), Refusal> {
        let disk = &*self.exported.disk;
        let Request { at, len, .. } = *request;
        let total = length(len)?;
        if len == 0 && self.framing >= Framing::Structured {
            to.done(out);
            return Ok(());
        }
        let in_parts = self.framing >= Framing::Structured
            && !request.has(command_flag::DF)
            && len >= LOOK_FOR_HOLES;
        if !in_parts {
            let room = to.data(at, total, true, out);
            if !room.is_empty() {
                disk.read_at(at, room)?;
            }
            return Ok(());
        }
        let end = at + len;
        let mut position = at;
        while position < end {
            let rest = end - position;
            let (zero, part) = zero_extent(disk, position, rest);
            let done = part == rest;
            if zero {
                to.hole(position, length(part)?, done, out);
            } else {
                disk.read_at(position, to.data(position, length(part)?, done, out))?;
            }
            position += part;
        }
        Ok(())
    }

    fn block_status(
        &self,
        request: &Request,
        payload: &[u8],
        to: ReplyTo,
        out: &mut ReplyBuffer,
    ) -> Result<(), Refusal> {
        let (len, chosen) = if request.has(command_flag::PAYLOAD_LEN) {
            self.status_filter(payload)?
        } else {
            (request.len, self.contexts.to_vec())
        };
        self.check_range(request, len, Errno::Inval)?;
        if len == 0 {
            return Err(Refusal::new(Errno::Inval, "need non-zero length"));
        }
        if self.contexts.is_empty() {
            return Err(Refusal::new(Errno::Inval, "CMD_BLOCK_STATUS not negotiated"));
        }
        if chosen.is_empty() {
            to.done(out);
            return Ok(());
        }
        let one = request.has(command_flag::REQ_ONE);
        for (nth, place) in chosen.iter().enumerate() {
            let context = &self.exported.contexts[*place];
            let extents = self.extents(context, request.at, len, one)?;
            let done = nth + 1 == chosen.len();
            to.status(u32::try_from(*place).unwrap_or(u32::MAX), &extents, done, out);
        }
        Ok(())
    }

    /// The range and the contexts that a payload names.
    fn status_filter(&self, payload: &[u8]) -> Result<(u64, Vec<usize>), Refusal> {
        let invalid = || Refusal::new(Errno::Inval, "invalid payload of CMD_BLOCK_STATUS");
        let (len, ids) = payload.split_first_chunk::<8>().ok_or_else(invalid)?;
        let (ids, rest) = ids.as_chunks::<4>();
        if !rest.is_empty() || ids.len() > self.contexts.len() {
            return Err(invalid());
        }
        let mut chosen: Vec<usize> = Vec::new();
        for id in ids {
            let id = u32::from_be_bytes(*id) as usize;
            if !self.contexts.contains(&id) || chosen.contains(&id) {
                return Err(invalid());
            }
            chosen.push(id);
        }
        Ok((u64::from_be_bytes(*len), chosen))
    }

    /// The states of a range; as many of them as a reply may have.
    fn extents(&self, context: &Context, at: u64, len: u64, one: bool) -> io::Result<Vec<Extent>> {
        let most = if one { 1 } else { MAX_EXTENTS };
        let mut found: Vec<Extent> = Vec::new();
        let mut done = 0;
        for _ in 0..MAX_STEPS {
            if done == len {
                break;
            }
            let mut extent = self.exported.disk.extent_at(context, at + done, len - done)?;
            extent.len = extent.len.min(len - done);
            if extent.len == 0 {
                return Err(io::Error::other("an extent of no bytes"));
            }
            let is_full = found.len() == most;
            match found.last_mut() {
                Some(last) if last.flags == extent.flags => last.len += extent.len,
                _ if is_full => break,
                _ => found.push(extent),
            }
            done += extent.len;
        }
        Ok(found)
    }
}

/// Whether the bytes at `at` are zeros that need not be read, and how many are alike. An export that
/// cannot tell is read.
fn zero_extent(disk: &dyn Export, at: u64, len: u64) -> (bool, u64) {
    match disk.extent_at(&Context::Allocation, at, len) {
        Ok(extent) if extent.len > 0 => (extent.flags & allocation::ZERO != 0, extent.len.min(len)),
        _ => (false, len),
    }
}

fn too_long(len: u64) -> Refusal {
    Refusal::new(Errno::Inval, format!("len ({len}) is larger than max len ({MAX_PAYLOAD})"))
}

fn length(len: u64) -> Result<u32, Refusal> {
    u32::try_from(len).map_err(|_| too_long(len))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::export::ExportSettings;
    use super::*;

    /// A disk that is never asked.
    struct Nothing;

    impl Export for Nothing {
        fn size(&self) -> u64 {
            1 << 40
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Ok(())
        }
        fn write_at(&self, _: u64, _: &[u8], _: bool) -> io::Result<()> {
            Ok(())
        }
        fn write_zeroes(&self, _: u64, _: u64, _: Zeroes) -> io::Result<()> {
            Ok(())
        }
        fn trim(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
        fn extent_at(&self, _: &Context, _: u64, len: u64) -> io::Result<Extent> {
            Ok(Extent { len, flags: 0 })
        }
    }

    #[test]
    fn a_question_costs_as_much_as_its_longest_answer() {
        let exported = Exported::new(Arc::new(Nothing), ExportSettings::default());
        let framing = Framing::Extended;
        let service = Service { exported: &exported, framing, contexts: &[0] };
        let cost = |flags, len| {
            let command = command::BLOCK_STATUS;
            service.cost(&Request { flags, command, cookie: 1, at: 0, len })
        };
        let longest = MAX_EXTENTS as u64 * 32;
        assert_eq!(cost(0, 1 << 40), longest);
        // The range is in a payload of 12 bytes.
        assert!(cost(command_flag::PAYLOAD_LEN, 12) >= longest);
        assert_eq!(cost(command_flag::REQ_ONE, 1 << 40), 32);
        assert_eq!(cost(0, 1), 32);
    }
}
