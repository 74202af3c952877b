//! `read` and `readv`.

use std::io::IoSliceMut;
use std::time::Instant;

use super::buffer::{Buffer, pieces_mut};
use super::letters::Letters;
use super::numbers::{MAX_REQUEST, check_sectors, number, pattern};
use super::report::{Done, Style, dump_text};
use super::session::{Session, check_range, usage};
use super::{Failed, Outcome};
use crate::disk::{Disk, DiskError};
use crate::out::{self, say};
use crate::text::strerror;

/// What a read buffer holds before it is filled.
const UNREAD: u8 = 0xab;

/// What is done with bytes that were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadView {
    /// The byte that each of them has to be.
    pub(super) pattern: Option<u8>,
    /// The part that has to be: offset and length in the bytes read; without it all of them.
    pub(super) part: Option<(u64, u64)>,
    /// Whether they are dumped.
    pub(super) dump: bool,
    /// How the request is reported.
    pub(super) style: Style,
}

impl ReadView {
    /// The text about a successful read, and whether the pattern was found.
    pub(super) fn show(&self, bytes: &[u8], done: &Done) -> (String, bool) {
        let mut text = String::new();
        let verified = self.pattern.is_none_or(|pattern| {
            let (start, len) = self.part.unwrap_or((0, bytes.len() as u64));
            let part = part_of(bytes, start, len);
            let same = part.iter().all(|byte| *byte == pattern);
            if !same {
                text.push_str(&format!(
                    "Pattern verification failed at offset {}, {len} bytes\n",
                    done.offset.saturating_add(start)
                ));
            }
            same
        });
        if self.style != Style::Quiet {
            if self.dump {
                text.push_str(&dump_text(bytes, done.offset));
            }
            text.push_str(&done.report(self.style));
        }
        (text, verified)
    }
}

/// The bytes from `start`, as far as there are any.
fn part_of(bytes: &[u8], start: u64, len: u64) -> &[u8] {
    let start = usize::try_from(start).map_or(bytes.len(), |start| start.min(bytes.len()));
    let rest = &bytes[start..];
    &rest[..usize::try_from(len).map_or(rest.len(), |len| len.min(rest.len()))]
}

/// Reads into buffers of the given lengths, one after the other in `buffer`.
pub(super) fn read_pieces(
    disk: &dyn Disk,
    offset: u64,
    buffer: &mut Buffer,
    lengths: &[u64],
) -> Result<(), DiskError> {
    let pieces = pieces_mut(buffer.bytes_mut(), lengths);
    let mut pieces: Vec<_> = pieces.into_iter().map(IoSliceMut::new).collect();
    disk.read_vectored(offset, &mut pieces)
}

/// A buffer for a read.
pub(super) fn read_buffer(session: &Session, count: u64) -> Result<Buffer, i32> {
    Buffer::new(count, UNREAD, session.misalign)
}

/// `read`: one range, which may be verified and dumped.
pub(super) fn read(session: &mut Session, words: &[&str]) -> Outcome {
    let (mut vm_state, mut quiet, mut values, mut dump) = (false, false, false, false);
    let (mut byte, mut start, mut len) = (None, None, None);
    let mut letters = Letters::new(words, "bCl:pP:qrs:v");
    for option in letters.by_ref() {
        match option.letter {
            'b' => vm_state = true,
            'C' => values = true,
            'l' => len = Some(number(option.value)?),
            'P' => byte = Some(pattern(option.value)?),
            'q' => quiet = true,
            's' => start = Some(number(option.value)?),
            'v' => dump = true,
            // `p` is historical, and registering a buffer changes nothing that can be seen.
            'p' | 'r' => {}
            _ => return Err(usage(words)),
        }
    }
    let [offset, count] = letters.operands()[..] else { return Err(usage(words)) };
    let (offset, given) = (number(offset)?, count);
    let count = number(given)?;
    if count > MAX_REQUEST {
        say!("length cannot exceed {MAX_REQUEST}, given {given}\n");
        return Err(Failed);
    }
    if byte.is_none() && (start.is_some() || len.is_some()) {
        return Err(usage(words));
    }
    let part = part_to_verify(start.unwrap_or(0), len, count)?;
    if vm_state {
        check_sectors(offset, count)?;
    }
    let disk = session.disk()?;
    let view = ReadView { pattern: byte, part: Some(part), dump, style: Style::of(quiet, values) };
    let started = Instant::now();
    let inside = if vm_state { Ok(()) } else { check_range(&**disk, offset, count) };
    let result = inside.and_then(|()| read_buffer(session, count)).and_then(|mut buffer| {
        let result = match (vm_state, disk.snapshots()) {
            (false, _) => disk.read_at(offset, buffer.bytes_mut()),
            (true, Some(disk)) => disk.read_state(offset, buffer.bytes_mut()),
            (true, None) => Err(DiskError::from_errno(libc::ENOTSUP)),
        };
        session.jobs.report_ready();
        result.map(|()| buffer).map_err(|error| error.errno())
    });
    let took = started.elapsed();
    match result {
        Ok(buffer) => show(&view, buffer.bytes(), &Done { verb: "read", offset, count, took }),
        Err(errno) => {
            say!("read failed: {}\n", strerror(errno));
            Err(Failed)
        }
    }
}

/// The part of `count` bytes that is verified.
fn part_to_verify(start: u64, len: Option<u64>, count: u64) -> Result<(u64, u64), Failed> {
    let len = len.or_else(|| count.checked_sub(start));
    match len {
        Some(len) if start.checked_add(len).is_some_and(|end| end <= count) => Ok((start, len)),
        _ => {
            say!("pattern verification range exceeds end of read data\n");
            Err(Failed)
        }
    }
}

/// Prints what there is to say about a successful read.
fn show(view: &ReadView, bytes: &[u8], done: &Done) -> Outcome {
    let (text, verified) = view.show(bytes, done);
    out::text(&text);
    if verified { Ok(()) } else { Err(Failed) }
}

/// `readv`: one range into several buffers.
pub(super) fn readv(session: &mut Session, words: &[&str]) -> Outcome {
    let (mut quiet, mut values, mut dump, mut byte) = (false, false, false, None);
    let mut letters = Letters::new(words, "CP:qrv");
    for option in letters.by_ref() {
        match option.letter {
            'C' => values = true,
            'P' => byte = Some(pattern(option.value)?),
            'q' => quiet = true,
            'v' => dump = true,
            // Registering a buffer changes nothing that can be seen.
            'r' => {}
            _ => return Err(usage(words)),
        }
    }
    let operands = letters.operands();
    let [offset, lengths @ ..] = &operands[..] else { return Err(usage(words)) };
    if lengths.is_empty() {
        return Err(usage(words));
    }
    let offset = number(offset)?;
    let (lengths, count) = super::vector::lengths(lengths)?;
    let disk = session.disk()?;
    let view = ReadView { pattern: byte, part: None, dump, style: Style::of(quiet, values) };
    let started = Instant::now();
    let result = check_range(&**disk, offset, count)
        .and_then(|()| read_buffer(session, count))
        .and_then(|mut buffer| {
            let result = read_pieces(&**disk, offset, &mut buffer, &lengths);
            result.map(|()| buffer).map_err(|error| error.errno())
        });
    let took = started.elapsed();
    session.jobs.report_ready();
    match result {
        Ok(buffer) => show(&view, buffer.bytes(), &Done { verb: "read", offset, count, took }),
        Err(errno) => {
            say!("readv failed: {}\n", strerror(errno));
            Err(Failed)
        }
    }
}
