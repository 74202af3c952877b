//! `write` and `writev`.

use std::io::IoSlice;
use std::time::Instant;

use super::buffer::{Buffer, pieces};
use super::letters::Letters;
use super::numbers::{MAX_REQUEST, check_sectors, number, pattern};
use super::report::{Done, Style};
use super::session::{Session, check_range, usage};
use super::{Failed, Outcome};
use crate::disk::{Disk, DiskError};
use crate::out::{self, say};
use crate::text::strerror;

/// What is written where nothing else is asked for.
pub(super) const DEFAULT_PATTERN: u8 = 0xcd;

/// The flags of `write`.
#[derive(Default)]
struct WriteOptions<'a> {
    vm_state: bool,
    compressed: bool,
    values: bool,
    fua: bool,
    no_fallback: bool,
    pattern: Option<u8>,
    quiet: bool,
    file: Option<&'a str>,
    unmap: bool,
    zeroes: bool,
}

impl WriteOptions<'_> {
    /// Two flags that exclude each other, or one that lacks another.
    fn contradiction(&self) -> Option<&'static str> {
        let sources = [self.zeroes, self.pattern.is_some(), self.file.is_some()];
        if self.vm_state && self.zeroes {
            Some("-b and -z cannot be specified at the same time")
        } else if self.fua && (self.vm_state || self.compressed) {
            Some("-f and -b or -c cannot be specified at the same time")
        } else if self.no_fallback && !self.zeroes {
            Some("-n requires -z to be specified")
        } else if self.unmap && !self.zeroes {
            Some("-u requires -z to be specified")
        } else if sources.iter().filter(|given| **given).count() > 1 {
            Some("Only one of -z, -P, and -s can be specified at the same time")
        } else {
            None
        }
    }
}

/// `write`: one range of a pattern, of a file's bytes, or of zeroes.
pub(super) fn write(session: &mut Session, words: &[&str]) -> Outcome {
    let mut options = WriteOptions::default();
    let mut letters = Letters::new(words, "bcCfnpP:qrs:uz");
    for option in letters.by_ref() {
        match option.letter {
            'b' => options.vm_state = true,
            'c' => options.compressed = true,
            'C' => options.values = true,
            'f' => options.fua = true,
            'n' => options.no_fallback = true,
            'P' => options.pattern = Some(pattern(option.value)?),
            'q' => options.quiet = true,
            's' => options.file = Some(option.value),
            'u' => options.unmap = true,
            'z' => options.zeroes = true,
            // `p` is historical, and registering a buffer changes nothing that can be seen.
            'p' | 'r' => {}
            _ => return Err(usage(words)),
        }
    }
    let [offset, given] = letters.operands()[..] else { return Err(usage(words)) };
    if let Some(message) = options.contradiction() {
        say!("{message}\n");
        return Err(Failed);
    }
    let offset = number(offset)?;
    let count = number(given)?;
    if count > MAX_REQUEST && !options.no_fallback {
        say!("length cannot exceed {MAX_REQUEST} without -n, given {given}\n");
        return Err(Failed);
    }
    if options.vm_state || options.compressed {
        check_sectors(offset, count)?;
    }
    let buffer = match (options.zeroes, options.file) {
        (true, _) => Ok(None),
        (false, Some(path)) => match Buffer::from_file(count, path, session.misalign) {
            Ok(buffer) => Ok(Some(buffer)),
            Err(message) => {
                out::error_text(&format!("{message}\n"));
                return Err(Failed);
            }
        },
        (false, None) => {
            let byte = options.pattern.unwrap_or(DEFAULT_PATTERN);
            Buffer::new(count, byte, session.misalign).map(Some)
        }
    };
    let disk = session.disk()?;
    let started = Instant::now();
    let result = buffer.and_then(|buffer| {
        if !options.vm_state {
            check_range(&**disk, offset, count)?;
        }
        let result = perform(&**disk, offset, count, buffer.as_ref(), &options);
        session.jobs.report_ready();
        result.map_err(|error| error.errno())
    });
    let took = started.elapsed();
    match result {
        Ok(()) => {
            let done = Done { verb: "wrote", offset, count, took };
            out::text(&done.report(Style::of(options.quiet, options.values)));
            Ok(())
        }
        Err(errno) => {
            say!("write failed: {}\n", strerror(errno));
            Err(Failed)
        }
    }
}

/// Writes `buffer`, or zeroes without one.
fn perform(
    disk: &dyn Disk,
    offset: u64,
    count: u64,
    buffer: Option<&Buffer>,
    options: &WriteOptions<'_>,
) -> Result<(), DiskError> {
    match buffer {
        // Zeroes are not compressed, as little as by the reference.
        None => {
            if options.no_fallback && !zeroes_without_data(disk, offset, count)? {
                return Err(DiskError::from_errno(libc::ENOTSUP));
            }
            disk.write_zeroes(offset, count, options.unmap, options.fua)
        }
        Some(buffer) if options.vm_state => match disk.snapshots() {
            Some(disk) => disk.write_state(offset, buffer.bytes()),
            None => Err(DiskError::from_errno(libc::ENOTSUP)),
        },
        Some(buffer) if options.compressed => disk.compress(offset, buffer.bytes())?(),
        Some(buffer) => disk.write_at(offset, buffer.bytes(), options.fua),
    }
}

/// Whether a range can become zeroes by changing tables alone: where it ends inside a cluster, the
/// rest of that cluster has to be zeros already.
fn zeroes_without_data(disk: &dyn Disk, offset: u64, count: u64) -> Result<bool, DiskError> {
    let Some(cluster) = disk.info()?.cluster_size.filter(|size| *size > 0) else {
        return Ok(true);
    };
    let end = offset.saturating_add(count);
    let head = offset - offset % cluster;
    let tail = end.next_multiple_of(cluster).min(disk.len());
    Ok(reads_as_zeros(disk, head, offset)? && reads_as_zeros(disk, end, tail)?)
}

/// Whether the tables say that a range is zeros.
fn reads_as_zeros(disk: &dyn Disk, start: u64, end: u64) -> Result<bool, DiskError> {
    let mut at = start;
    while at < end {
        let status = disk.status(at, end - at)?;
        if !status.zero || status.len == 0 {
            return Ok(false);
        }
        at += status.len;
    }
    Ok(true)
}

/// Writes buffers of the given lengths, one after the other in `buffer`.
pub(super) fn write_pieces(
    disk: &dyn Disk,
    offset: u64,
    buffer: &Buffer,
    lengths: &[u64],
    fua: bool,
) -> Result<(), DiskError> {
    let pieces: Vec<_> = pieces(buffer.bytes(), lengths).into_iter().map(IoSlice::new).collect();
    disk.write_vectored(offset, &pieces, fua)
}

/// `writev`: one range from several buffers.
pub(super) fn writev(session: &mut Session, words: &[&str]) -> Outcome {
    let (mut quiet, mut values, mut fua, mut byte) = (false, false, false, DEFAULT_PATTERN);
    let mut letters = Letters::new(words, "CfP:qr");
    for option in letters.by_ref() {
        match option.letter {
            'C' => values = true,
            'f' => fua = true,
            'P' => byte = pattern(option.value)?,
            'q' => quiet = true,
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
    let started = Instant::now();
    let result = check_range(&**disk, offset, count)
        .and_then(|()| Buffer::new(count, byte, session.misalign))
        .and_then(|buffer| {
            write_pieces(&**disk, offset, &buffer, &lengths, fua).map_err(|error| error.errno())
        });
    let took = started.elapsed();
    session.jobs.report_ready();
    match result {
        Ok(()) => {
            let done = Done { verb: "wrote", offset, count, took };
            out::text(&done.report(Style::of(quiet, values)));
            Ok(())
        }
        Err(errno) => {
            say!("writev failed: {}\n", strerror(errno));
            Err(Failed)
        }
    }
}
