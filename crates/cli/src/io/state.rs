//! `flush`, `discard`, `length`, `truncate`, `alloc`, `map` and `info`.

use std::time::Instant;

use super::letters::Letters;
use super::numbers::{MAX_REQUEST, number, number_shown};
use super::report::{Done, Style, size_text};
use super::session::{Session, check_range, usage};
use super::{Failed, Outcome};
use crate::disk::{Disk, DiskError, Preallocation};
use crate::out::{self, say};
use crate::text::dump;

/// Bytes that `alloc` looks at when no length is given.
const ALLOC_DEFAULT: u64 = 512;

/// `flush`: makes durable what was written. Its failure shows in the exit status alone.
pub(super) fn flush(session: &mut Session, _words: &[&str]) -> Outcome {
    let result = session.disk()?.flush();
    session.jobs.report_ready();
    result.map_err(|_| Failed)
}

/// `discard`: gives a range back.
pub(super) fn discard(session: &mut Session, words: &[&str]) -> Outcome {
    let (mut quiet, mut values) = (false, false);
    let mut letters = Letters::new(words, "Cq");
    for option in letters.by_ref() {
        match option.letter {
            'C' => values = true,
            'q' => quiet = true,
            _ => return Err(usage(words)),
        }
    }
    let [offset, given] = letters.operands()[..] else { return Err(usage(words)) };
    let offset = number(offset)?;
    let count = number(given)?;
    if count > MAX_REQUEST {
        say!("length cannot exceed {MAX_REQUEST}, given {given}\n");
        return Err(Failed);
    }
    let disk = session.disk()?;
    let started = Instant::now();
    let result = match check_range(&**disk, offset, count) {
        Err(errno) => Err(DiskError::from_errno(errno)),
        Ok(()) => {
            let result = disk.discard(offset, count);
            session.jobs.report_ready();
            result
        }
    };
    let took = started.elapsed();
    match result {
        Ok(()) => {
            let done = Done { verb: "discard", offset, count, took };
            out::text(&done.report(Style::of(quiet, values)));
            Ok(())
        }
        Err(error) => {
            say!("discard failed: {}\n", error.strerror());
            Err(Failed)
        }
    }
}

/// `length`: the size of the disk.
pub(super) fn length(session: &mut Session, _words: &[&str]) -> Outcome {
    say!("{}\n", size_text(session.disk()?.len() as f64));
    Ok(())
}

/// `truncate`: changes the size of the disk.
pub(super) fn truncate(session: &mut Session, words: &[&str]) -> Outcome {
    let mut preallocation = Preallocation::Off;
    let mut letters = Letters::new(words, "m:");
    for option in letters.by_ref() {
        match option.letter {
            'm' => {
                preallocation = Preallocation::parse(option.value).ok_or_else(|| {
                    out::error_line(&format!("Invalid preallocation mode '{}'", option.value));
                    Failed
                })?;
            }
            _ => return Err(usage(words)),
        }
    }
    // Messages show the first word after the options were moved to the front.
    let operands = letters.operands();
    let option = words.iter().skip(1).find(|word| word.len() > 1 && word.starts_with('-'));
    let first = option.or(operands.first()).copied().unwrap_or("");
    let len = number_shown(operands.first().copied().unwrap_or(""), first)?;
    let result = session.disk()?.truncate(len, preallocation, &mut |_, _| {});
    session.jobs.report_ready();
    result.map_err(|error| {
        out::report("", &error);
        Failed
    })
}

/// `alloc`: how much of a range this image holds itself.
pub(super) fn alloc(session: &mut Session, words: &[&str]) -> Outcome {
    let Some(offset) = words.get(1) else { return Err(usage(words)) };
    let start = number(offset)?;
    let count = words.get(2).map_or(Ok(ALLOC_DEFAULT), |count| number(count))?;
    let disk = session.disk()?;
    let count = count.min(disk.len().saturating_sub(start));
    let mut allocated = 0;
    let mut at = start;
    while at < start + count {
        match run_of(&**disk, at, start + count) {
            Ok((0, _)) => break,
            Ok((len, true)) => {
                allocated += len;
                at += len;
            }
            Ok((len, false)) => at += len,
            Err(error) => {
                say!("is_allocated failed: {}\n", error.strerror());
                return Err(Failed);
            }
        }
    }
    say!("{allocated}/{count} bytes allocated at offset {}\n", size_text(start as f64));
    Ok(())
}

/// `map`: the ranges that this image holds itself, and those between.
pub(super) fn map(session: &mut Session, _words: &[&str]) -> Outcome {
    let disk = session.disk()?;
    let end = disk.len();
    let mut at = 0;
    while at < end {
        let (len, allocated) = match run_of(&**disk, at, end) {
            Ok(run) => run,
            Err(error) => {
                say!("Failed to get allocation status: {}\n", error.strerror());
                return Err(Failed);
            }
        };
        if len == 0 {
            say!("Unexpected end of image\n");
            return Err(Failed);
        }
        let state = if allocated { "    allocated" } else { "not allocated" };
        let (size, offset) = (size_text(len as f64), size_text(at as f64));
        say!("{size} ({len:#x}) bytes {state} at offset {offset} ({at:#x})\n");
        at += len;
    }
    Ok(())
}

/// The length of the run from `at` that is, or is not, held by this image itself.
fn run_of(disk: &dyn Disk, at: u64, end: u64) -> Result<(u64, bool), DiskError> {
    let held = |at: u64| {
        let status = disk.status(at, end - at)?;
        Ok::<_, DiskError>((status.len.min(end - at), status.present && status.depth == 0))
    };
    let (mut len, first) = held(at)?;
    while len > 0 && at + len < end {
        match held(at + len)? {
            (0, _) => break,
            (more, state) if state == first => len += more,
            _ => break,
        }
    }
    Ok((len, first))
}

/// `info`: what the format says about the image.
pub(super) fn info(session: &mut Session, _words: &[&str]) -> Outcome {
    let info = session.disk()?.info().map_err(|error| {
        out::report("", &error);
        Failed
    })?;
    say!("format name: {}\n", info.format);
    // Drivers of bytes have the same name for their protocol, which is printed as well.
    if !matches!(info.format, "raw" | "qcow2" | "compress" | "copy-on-read") {
        say!("format name: {}\n", info.format);
    }
    // Disks of nothing have no more to say, and the reference fails there.
    if info.format.starts_with("null-") {
        return Err(Failed);
    }
    let size = |bytes: Option<u64>| size_text(bytes.unwrap_or(0) as f64);
    say!("cluster size: {}\n", size(info.cluster_size));
    say!("vm state offset: {}\n", size(info.vm_state_offset));
    if let Some(specific) = info.specific {
        say!("Format specific information:\n{}", dump(&specific, 1));
    }
    Ok(())
}
