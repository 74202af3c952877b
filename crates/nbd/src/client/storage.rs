//! An export as storage under an image format.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Mutex, PoisonError};

use holstein_storage::{Capabilities, Storage};
use holstein_units::{HostOffset, HostRange};

use super::Client;
use crate::numbers::{allocation, transmission};

/// Bytes of zeros that are sent at once to servers that cannot make them.
const ZEROS: usize = 1 << 20;
/// Bytes of a range in one request without payload, at most.
const MAX_RANGE: u64 = 1 << 30;

/// An export of a server, as bytes of a fixed length.
pub struct NbdStorage {
    client: Client,
    /// Held while a block is changed that is written to in part.
    blocks: Mutex<()>,
}

impl NbdStorage {
    /// Storage over a connection.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, blocks: Mutex::default() }
    }

    /// The connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn size(&self) -> u64 {
        self.client.facts().size
    }

    fn maximum(&self) -> usize {
        self.client.facts().maximum as usize
    }

    /// The size of blocks, where the server has any.
    fn block(&self) -> u64 {
        u64::from(self.client.facts().minimum)
    }

    fn read_only(&self) -> bool {
        self.client.can(transmission::READ_ONLY)
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

    fn read_piece(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let (block, len) = (self.block(), into.len() as u64);
        if self.is_aligned(at, len) {
            return self.client.read(at, into);
        }
        let start = at - at % block;
        let whole = (at + len - start).next_multiple_of(block);
        let mut blocks = vec![0; usize::try_from(whole).map_err(|_| io::ErrorKind::OutOfMemory)?];
        for (nth, piece) in blocks.chunks_mut(self.maximum()).enumerate() {
            self.client.read(start + (nth * self.maximum()) as u64, piece)?;
        }
        let from = usize::try_from(at - start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        into.copy_from_slice(&blocks[from..][..into.len()]);
        Ok(())
    }

    fn write_piece(&self, at: u64, from: &[u8]) -> io::Result<()> {
        if self.is_aligned(at, from.len() as u64) {
            return self.client.write(at, &[IoSlice::new(from)]);
        }
        let _held = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let start = at - at % self.block();
        let whole = (at + from.len() as u64 - start).next_multiple_of(self.block());
        let mut blocks = vec![0; usize::try_from(whole).map_err(|_| io::ErrorKind::OutOfMemory)?];
        self.read_piece(start, &mut blocks)?;
        let begin = usize::try_from(at - start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        blocks[begin..][..from.len()].copy_from_slice(from);
        for (nth, piece) in blocks.chunks(self.maximum()).enumerate() {
            let at = start + (nth * self.maximum()) as u64;
            self.client.write(at, &[IoSlice::new(piece)])?;
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
            return if total == 0 { Ok(()) } else { self.client.write(at, from) };
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
        if !self.client.can(transmission::SEND_WRITE_ZEROES) {
            return self.write_zero_bytes(at, len);
        }
        // What is no whole block at the start and at the end is written.
        let mut done = at;
        for (start, len) in self.pieces(range) {
            self.write_zero_bytes(done, start - done)?;
            self.client.write_zeroes(start, len)?;
            done = start + len;
        }
        self.write_zero_bytes(done, at + len - done)
    }

    fn discard(&self, range: HostRange) -> io::Result<()> {
        let inside = self.check_write(range.start.get(), range.len).is_ok();
        if inside && self.client.can(transmission::SEND_TRIM) {
            for (at, len) in self.pieces(range) {
                self.client.trim(at, len)?;
            }
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.client.flush()
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
            alignment: self.client.facts().minimum,
            zero_beyond_end: false,
            resizable: false,
            discard: self.client.can(transmission::SEND_TRIM),
            fast_zeroes: self.client.can(transmission::SEND_WRITE_ZEROES),
            read_only: self.read_only(),
        }
    }

    fn extent_at(&self, at: HostOffset) -> io::Result<(bool, u64)> {
        let at = at.get();
        let rest = self.size().saturating_sub(at);
        if rest == 0 {
            return Ok((true, 0));
        }
        let start = at - at % self.block();
        let asked = (self.size() - start).min(MAX_RANGE);
        match self.client.extent_at(start, asked)? {
            None => Ok((true, rest)),
            Some(extent) => {
                let data = extent.flags & allocation::ZERO == 0;
                Ok((data, extent.len.saturating_sub(at - start).clamp(1, rest)))
            }
        }
    }
}
