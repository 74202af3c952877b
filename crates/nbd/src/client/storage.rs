//! An export as storage under an image format.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use super::connection::Connection;
use super::{Client, ConnectOptions, ExportFacts, Target};
use crate::numbers::{allocation, transmission};
use crate::server::Extent;

/// Bytes of zeros that are sent at once to servers that cannot make them.
const ZEROS: usize = 1 << 20;
/// Bytes of a range in one request without payload, at most.
const MAX_RANGE: u64 = 1 << 30;

/// An export of a server, as bytes of a fixed length.
pub struct NbdStorage {
    connection: Connection,
    /// The state is that of the context about holes.
    tells_holes: bool,
    /// Held while a block is changed that is written to in part.
    blocks: Mutex<()>,
}

impl NbdStorage {
    /// Storage over a connection.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { connection: Connection::once(client), tells_holes: true, blocks: Mutex::default() }
    }

    /// Storage over a connection to `target` that was made with `options`. When it breaks, requests wait
    /// up to `delay` for another one, and go on with that; later ones fail until there is one. What
    /// the server had not made durable is lost with it.
    #[must_use]
    pub fn lasting(
        client: Client,
        target: Target,
        options: ConnectOptions,
        delay: Duration,
    ) -> Self {
        let tells_holes = options.context.is_none();
        let connection = match delay.is_zero() {
            true => Connection::once(client),
            false => Connection::lasting(client, target, options, delay),
        };
        Self { connection, tells_holes, blocks: Mutex::default() }
    }

    /// What the server said about the export.
    #[must_use]
    pub fn facts(&self) -> &ExportFacts {
        self.connection.facts()
    }

    /// The state of the export at `at`, which is within it, in the context that was asked for, and for
    /// how many bytes it holds at least; nothing where the server does not tell.
    ///
    /// # Errors
    /// As for [`Client::read`].
    pub fn state_at(&self, at: u64) -> io::Result<Option<Extent>> {
        let start = at - at % self.block();
        let asked = self.size().saturating_sub(start).min(MAX_RANGE);
        let extent = self.connection.run(|client| client.extent_at(start, asked))?;
        let rest = self.size().saturating_sub(at).max(1);
        Ok(extent.map(|extent| {
            let len = extent.len.saturating_sub(at - start).clamp(1, rest);
            Extent { len, ..extent }
        }))
    }

    fn size(&self) -> u64 {
        self.connection.facts().size
    }

    fn maximum(&self) -> usize {
        self.connection.facts().maximum as usize
    }

    /// The size of blocks, where the server has any.
    fn block(&self) -> u64 {
        u64::from(self.connection.facts().minimum)
    }

    fn read_only(&self) -> bool {
        self.connection.can(transmission::READ_ONLY)
    }

    fn is_aligned(&self, at: u64, len: u64) -> bool {
        (at | len).is_multiple_of(self.block())
    }

    /// A part of the export that can be written.
    fn check_write(&self, at: u64, len: u64) -> io::Result<()> {
        if self.read_only() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        match at.checked_add(len) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    /// Reads whole blocks, however many.
    fn read_blocks(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let mut at = at;
        for piece in into.chunks_mut(self.maximum()) {
            self.connection.run(|client| client.read(at, piece))?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// The blocks around a range: where they begin, and room for them.
    fn around(&self, at: u64, len: usize) -> io::Result<(u64, Vec<u8>)> {
        let start = at - at % self.block();
        let whole = (at + len as u64 - start).next_multiple_of(self.block());
        let whole = usize::try_from(whole).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok((start, vec![0; whole]))
    }

    fn read_piece(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        if self.is_aligned(at, into.len() as u64) {
            return self.read_blocks(at, into);
        }
        let (start, mut blocks) = self.around(at, into.len())?;
        self.read_blocks(start, &mut blocks)?;
        let from = usize::try_from(at - start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        into.copy_from_slice(&blocks[from..][..into.len()]);
        Ok(())
    }

    fn write_piece(&self, at: u64, from: &[u8]) -> io::Result<()> {
        if self.is_aligned(at, from.len() as u64) {
            return self.connection.run(|client| client.write(at, &[IoSlice::new(from)]));
        }
        let _held = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, mut blocks) = self.around(at, from.len())?;
        let begin = usize::try_from(at - start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let block = usize::try_from(self.block()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // Only the first and the last block keep anything of what there is.
        let last = blocks.len() - block;
        self.read_blocks(start, &mut blocks[..block])?;
        if last > 0 {
            self.read_blocks(start + last as u64, &mut blocks[last..])?;
        }
        blocks[begin..][..from.len()].copy_from_slice(from);
        // With the blocks at both ends it may be longer than the server takes.
        let mut at = start;
        for piece in blocks.chunks(self.maximum()) {
            self.connection.run(|client| client.write(at, &[IoSlice::new(piece)]))?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Cuts a range into whole blocks, as far as there are any, for requests without payload.
    fn pieces(&self, range: HostRange) -> impl Iterator<Item = (u64, u64)> {
        let start = range.start.get().next_multiple_of(self.block());
        let end = range.start.get() + range.len;
        let end = end - end % self.block();
        let mut at = start;
        std::iter::from_fn(move || {
            let len = end.saturating_sub(at).min(MAX_RANGE);
            let piece = (at, len);
            at += len;
            (len > 0).then_some(piece)
        })
    }

    fn write_zero_bytes(&self, at: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS.min(self.maximum())];
        let mut at = at;
        let end = at + len;
        while at < end {
            let here = usize::try_from(end - at).map_or(zeros.len(), |rest| rest.min(zeros.len()));
            self.write_piece(at, &zeros[..here])?;
            at += here as u64;
        }
        Ok(())
    }
}

impl Storage for NbdStorage {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut at = at.get();
        let mut rest = self.size().saturating_sub(at);
        let mut read = 0;
        for buffer in into {
            let here = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
            for piece in buffer[..here].chunks_mut(self.maximum()) {
                self.read_piece(at, piece)?;
                at += piece.len() as u64;
            }
            rest -= here as u64;
            read += here;
        }
        Ok(read)
    }

    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        let at = at.get();
        let total: u64 = from.iter().map(|buffer| buffer.len() as u64).sum();
        self.check_write(at, total)?;
        if total <= self.maximum() as u64 && self.is_aligned(at, total) {
            return if total == 0 {
                Ok(())
            } else {
                self.connection.run(|client| client.write(at, from))
            };
        }
        let mut at = at;
        for piece in from.iter().flat_map(|buffer| buffer.chunks(self.maximum())) {
            self.write_piece(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        let (at, len) = (range.start.get(), range.len);
        self.check_write(at, len)?;
        if !self.connection.can(transmission::SEND_WRITE_ZEROES) {
            return self.write_zero_bytes(at, len);
        }
        // What is no whole block at the start and at the end is written.
        let mut done = at;
        for (start, len) in self.pieces(range) {
            self.write_zero_bytes(done, start - done)?;
            self.connection.run(|client| client.write_zeroes(start, len))?;
            done = start + len;
        }
        self.write_zero_bytes(done, at + len - done)
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        let inside = self.check_write(range.start.get(), range.len).is_ok();
        if inside && self.connection.can(transmission::SEND_TRIM) {
            for (at, len) in self.pieces(range) {
                self.connection.run(|client| client.trim(at, len))?;
            }
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.connection.run(Client::flush)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len == self.size() { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn allocate(&self, _: HostRange) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            alignment: self.connection.facts().minimum,
            zero_beyond_end: false,
            resizable: false,
            discard: self.connection.can(transmission::SEND_TRIM),
            fast_zeroes: self.connection.can(transmission::SEND_WRITE_ZEROES),
            read_only: self.read_only(),
        }
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        let at = at.get();
        let rest = self.size().saturating_sub(at);
        if rest == 0 {
            return Ok((true, 0));
        }
        if !self.tells_holes {
            return Ok((true, rest));
        }
        Ok(match self.state_at(at)? {
            None => (true, rest),
            Some(Extent { len, flags }) => (flags & allocation::ZERO == 0, len),
        })
    }
}
