//! `convert` from standard input, where it is a pipe: a raw disk whose length shows at its end.

use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;

use super::Failure;
use super::convert_copy::Pace;
use super::progress::Progress;
use super::stream_out::{BUFFER, Output};
use crate::disk::{Disk, DiskError, Preallocation};
use crate::zero::is_zero;

/// By how much the target grows at a time.
const STEP: u64 = 1 << 30;

/// Whether standard input can be opened and read at any place, as a file.
pub(super) fn is_file() -> bool {
    std::fs::metadata("/dev/stdin")
        .is_ok_and(|input| input.is_file() || input.file_type().is_block_device())
}

/// Fills the buffer, or what there is of it at the end, and returns how much it is.
fn read(into: &mut [u8]) -> Result<usize, Failure> {
    let mut input = io::stdin().lock();
    let mut done = 0;
    while done < into.len() {
        match input.read(&mut into[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let reason = DiskError::from(error).strerror();
                let text = format!("error while reading from standard input: {reason}");
                return Err(Failure::message(text));
            }
        }
    }
    Ok(done)
}

/// Bytes with zeros behind them up to a whole sector.
fn whole_sectors(buffer: &mut [u8], len: usize) -> &[u8] {
    let end = len.next_multiple_of(holstein_units::SECTOR as usize).min(buffer.len());
    buffer[len..end].fill(0);
    &buffer[..end]
}

/// Fills a new, empty target, and returns its length.
pub(super) fn fill(
    target: &dyn Disk,
    sparse: u64,
    rate: Option<u64>,
    progress: &mut Progress,
) -> Result<u64, Failure> {
    let mut pace = rate.map(Pace::new);
    let mut buffer = vec![0; BUFFER];
    // What is not written reads as zeros.
    let unit = match usize::try_from(sparse) {
        Ok(sparse @ 1..=BUFFER) => sparse,
        _ => BUFFER,
    };
    let hole = |part: &[u8]| sparse > 0 && is_zero(part);
    let mut at = 0;
    loop {
        let len = read(&mut buffer)?;
        if len == 0 {
            break;
        }
        let data = whole_sectors(&mut buffer, len);
        let end = at + data.len() as u64;
        if end > target.len() {
            let len = end.next_multiple_of(STEP);
            target.truncate(len, Preallocation::Off, &mut |_, _| {})?;
        }
        let mut from = 0;
        for run in data.chunks(unit).collect::<Vec<_>>().chunk_by(|a, b| hole(a) == hole(b)) {
            let to = from + run.iter().map(|part| part.len()).sum::<usize>();
            if !run.first().is_some_and(|part| hole(part)) {
                if let Some(pace) = &mut pace {
                    pace.wait((to - from) as u64);
                }
                let place = at + from as u64;
                target.write_at(place, &data[from..to], false).map_err(|error| {
                    let reason = error.strerror();
                    Failure::message(format!("error while writing at byte {place}: {reason}"))
                })?;
            }
            from = to;
        }
        at = end;
        progress.update(at, 0);
    }
    target.truncate(at, Preallocation::Off, &mut |_, _| {})?;
    Ok(at)
}

/// Copies it to standard output.
pub(super) fn pass_on(rate: Option<u64>, progress: &mut Progress) -> Result<(), Failure> {
    let mut output = Output::begin(rate, 0, progress)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match read(&mut buffer)? {
            0 => return Ok(()),
            len => output.write(whole_sectors(&mut buffer, len))?,
        }
    }
}
