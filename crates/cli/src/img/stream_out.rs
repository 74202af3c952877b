//! `convert` to standard output: every byte is written once, in the order of the file.
//!
//! A raw disk goes out as it is read. The tables of a qcow2 image come before what they name, so the
//! image is outlined first, by what is known about the sources without reading them: the engine makes
//! it in memory with zeros for payload. Then the outline goes out, with the sources in its place.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use holstein::{ExtentKind, Image, OpenOptions};
use holstein_storage::Storage;
use holstein_units::HostOffset;

use super::Failure;
use super::convert_copy::{CopyOptions, Pace};
use super::convert_source::Sources;
use super::convert_walk::{Kind, Steps, Walk};
use super::make_qcow2::{QcowPlan, make_qcow2};
use super::outline::Outline;
use super::progress::Progress;
use crate::disk::{DiskError, engine_error};

/// Bytes that are read and written at a time.
pub(super) const BUFFER: usize = 256 << 10;

/// Standard output, as what an image is written to.
pub(super) struct Output<'a> {
    out: File,
    pace: Option<Pace>,
    progress: &'a mut Progress,
    done: u64,
    total: u64,
}

impl<'a> Output<'a> {
    /// Begins with nothing written of `total` bytes, which is 0 where nobody knows, at most `rate` bytes
    /// in a second.
    ///
    /// # Errors
    /// It is a terminal.
    pub(super) fn begin(
        rate: Option<u64>,
        total: u64,
        progress: &'a mut Progress,
    ) -> Result<Self, Failure> {
        if io::stdout().is_terminal() {
            return Err(Failure::message("standard output is a terminal, and takes no images"));
        }
        let out = io::stdout().as_fd().try_clone_to_owned().map_err(|error| unwritten(&error))?;
        Ok(Self { out: File::from(out), pace: rate.map(Pace::new), progress, done: 0, total })
    }

    /// Writes what comes next.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if let Some(pace) = &mut self.pace {
            pace.wait(bytes.len() as u64);
        }
        self.out.write_all(bytes).map_err(|error| unwritten(&error))?;
        self.done += bytes.len() as u64;
        self.progress.update(self.done, self.total);
        Ok(())
    }

    /// Copies a range of the sources.
    fn copy(&mut self, sources: &Sources, mut at: u64, end: u64) -> Result<(), Failure> {
        let mut buffer = vec![0; BUFFER];
        while at < end {
            let piece = part_of(&mut buffer, end - at);
            sources.read_at(at, piece).map_err(|error| {
                let reason = error.strerror();
                Failure::message(format!("error while reading at byte {at}: {reason}"))
            })?;
            self.write(piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

fn unwritten(error: &io::Error) -> Failure {
    let reason = DiskError::from(error).strerror();
    Failure::message(format!("error while writing to standard output: {reason}"))
}

/// As much of a buffer as a range of `len` bytes needs.
fn part_of(buffer: &mut [u8], len: u64) -> &mut [u8] {
    let len = usize::try_from(len).map_or(buffer.len(), |len| len.min(buffer.len()));
    &mut buffer[..len]
}

/// Writes the sources as they read.
pub(super) fn raw(
    sources: &Sources,
    rate: Option<u64>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut output = Output::begin(rate, sources.len(), progress)?;
    output.copy(sources, 0, sources.len())
}

/// Writes the sources as a qcow2 image.
pub(super) fn qcow2(
    sources: &Sources,
    plan: &QcowPlan,
    options: &CopyOptions,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let buffer = plan.cluster_size().max(BUFFER as u64);
    let outline = Arc::new(Outline::new(usize::try_from(buffer).unwrap_or(BUFFER)));
    let payload = draw(sources, plan, options, &outline)?;
    let len = outline.len().map_err(DiskError::from)?;
    let mut output = Output::begin(options.rate, len, progress)?;
    let mut at = 0;
    for Payload { host, guest, len } in payload {
        write_tables(&mut output, &outline, at, host)?;
        output.copy(sources, guest, guest + len)?;
        at = host + len;
    }
    write_tables(&mut output, &outline, at, len)
}

/// Bytes of the disk, and where they are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Payload {
    host: u64,
    guest: u64,
    len: u64,
}

/// Makes the image without its payload, and returns where that belongs, in the order of the file.
fn draw(
    sources: &Sources,
    plan: &QcowPlan,
    options: &CopyOptions,
    outline: &Arc<Outline>,
) -> Result<Vec<Payload>, Failure> {
    let storage: Arc<dyn Storage> = outline.clone();
    make_qcow2(Arc::clone(&storage), None, plan, &mut |_, _| {})?;
    let failed = |error: holstein::Error| Failure::from(engine_error(&error));
    let image = OpenOptions::new().no_backing().open_storage(storage).map_err(failed)?;
    let buffer = outline.zeros().len() as u64;
    let steps = Steps { buffer, unit: plan.cluster_size(), shown: buffer };
    let mut walk = Walk::new(sources, options, steps, false)?;
    while let Some(piece) = walk.next()? {
        if piece.kind == Kind::Data {
            let zeros = &outline.zeros()[..usize::try_from(piece.len).unwrap_or_default()];
            image.write_at(piece.at, zeros).map_err(failed)?;
        }
    }
    image.flush().map_err(failed)?;
    let payload = payload_of(&image)?;
    image.close().map_err(failed)?;
    Ok(payload)
}

fn payload_of(image: &Image) -> Result<Vec<Payload>, Failure> {
    let mut payload = Vec::new();
    let (mut at, end) = (0, image.virtual_size());
    while at < end {
        let extent =
            image.extent_at(at, end - at).map_err(|error| Failure::from(engine_error(&error)))?;
        if let (ExtentKind::Data, Some(host)) = (extent.kind, extent.host) {
            payload.push(Payload { host, guest: at, len: extent.len });
        }
        at += extent.len.max(1);
    }
    payload.sort_unstable();
    Ok(payload)
}

/// Writes what the outline has between two places.
fn write_tables(
    output: &mut Output<'_>,
    outline: &Outline,
    mut at: u64,
    end: u64,
) -> Result<(), Failure> {
    let mut buffer = vec![0; BUFFER];
    while at < end {
        let piece = part_of(&mut buffer, end - at);
        piece.fill(0);
        outline.read_at(HostOffset::new(at), piece).map_err(DiskError::from)?;
        output.write(piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}
