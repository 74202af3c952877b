//! `aio_read`, `aio_write` and `aio_flush`: requests that are reported when they are done.

use std::time::Instant;

use super::buffer::Buffer;
use super::letters::Letters;
use super::numbers::{number, pattern};
use super::read::{ReadView, read_buffer, read_pieces};
use super::report::{Done, Style};
use super::session::{Session, check_range, usage};
use super::write::{DEFAULT_PATTERN, write_pieces};
use super::{Failed, Outcome, vector};
use crate::out::say;
use crate::text::strerror;

/// `aio_read`: starts a read.
pub(super) fn aio_read(session: &mut Session, words: &[&str]) -> Outcome {
    let (mut quiet, mut values, mut dump, mut byte) = (false, false, false, None);
    let mut letters = Letters::new(words, "CP:iqrv");
    for option in letters.by_ref() {
        match option.letter {
            'C' => values = true,
            'P' => byte = Some(pattern(option.value)?),
            'i' => {
                say!("injecting invalid read request\n");
                return Ok(());
            }
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
    let (lengths, count) = vector::lengths(lengths)?;
    let disk = session.disk()?;
    let view = ReadView { pattern: byte, part: None, dump, style: Style::of(quiet, values) };
    let started = Instant::now();
    let prepared = check_range(&**disk, offset, count).and_then(|()| read_buffer(session, count));
    let mut buffer = match prepared {
        Ok(buffer) => buffer,
        Err(errno) => {
            session.jobs.finish_at_once(failure("readv", errno));
            return Ok(());
        }
    };
    let job = move || match read_pieces(&**disk, offset, &mut buffer, &lengths) {
        Ok(()) => {
            let done = Done { verb: "read", offset, count, took: started.elapsed() };
            view.show(buffer.bytes(), &done).0
        }
        Err(error) => failure("readv", error.errno()),
    };
    start(session, "readv", job)
}

/// `aio_write`: starts a write, of a pattern or of zeroes.
pub(super) fn aio_write(session: &mut Session, words: &[&str]) -> Outcome {
    let (mut quiet, mut values, mut fua, mut byte) = (false, false, false, DEFAULT_PATTERN);
    let (mut unmap, mut zeroes) = (false, false);
    let mut letters = Letters::new(words, "CfiP:qruz");
    for option in letters.by_ref() {
        match option.letter {
            'C' => values = true,
            'f' => fua = true,
            'i' => {
                say!("injecting invalid write request\n");
                return Ok(());
            }
            'P' => byte = pattern(option.value)?,
            'q' => quiet = true,
            'u' => unmap = true,
            'z' => zeroes = true,
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
    if zeroes && lengths.len() > 1 {
        say!("-z supports only a single length parameter\n");
        return Err(Failed);
    }
    if unmap && !zeroes {
        say!("-u requires -z to be specified\n");
        return Err(Failed);
    }
    let offset = number(offset)?;
    let style = Style::of(quiet, values);
    let disk = session.disk()?;
    if zeroes {
        let count = number(lengths[0])?;
        let started = Instant::now();
        if let Err(errno) = check_range(&**disk, offset, count) {
            session.jobs.finish_at_once(failure("aio_write", errno));
            return Ok(());
        }
        let job = move || match disk.write_zeroes(offset, count, unmap, fua) {
            Ok(()) => Done { verb: "wrote", offset, count, took: started.elapsed() }.report(style),
            Err(error) => failure("aio_write", error.errno()),
        };
        return start(session, "aio_write", job);
    }
    let (lengths, count) = vector::lengths(lengths)?;
    let started = Instant::now();
    let prepared = check_range(&**disk, offset, count)
        .and_then(|()| Buffer::new(count, byte, session.misalign));
    let buffer = match prepared {
        Ok(buffer) => buffer,
        Err(errno) => {
            session.jobs.finish_at_once(failure("aio_write", errno));
            return Ok(());
        }
    };
    let job = move || match write_pieces(&**disk, offset, &buffer, &lengths, fua) {
        Ok(()) => Done { verb: "wrote", offset, count, took: started.elapsed() }.report(style),
        Err(error) => failure("aio_write", error.errno()),
    };
    start(session, "aio_write", job)
}

/// `aio_flush`: waits for all requests.
pub(super) fn aio_flush(session: &mut Session, _words: &[&str]) -> Outcome {
    session.jobs.wait_all();
    Ok(())
}

/// Starts a job; that no thread can be made is its failure.
fn start(
    session: &mut Session,
    verb: &str,
    job: impl FnOnce() -> String + Send + 'static,
) -> Outcome {
    if let Err(errno) = session.jobs.start(job) {
        session.jobs.finish_at_once(failure(verb, errno));
    }
    Ok(())
}

fn failure(verb: &str, errno: i32) -> String {
    format!("{verb} failed: {}\n", strerror(errno))
}
