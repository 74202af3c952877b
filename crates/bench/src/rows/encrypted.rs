//! Encrypted images from their start to their end: the two programs, and the library beside the bare
//! cipher.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use holstein::luks::Format;
use holstein::{CreateOptions, OpenOptions, Secret};
use holstein_crypto::{CipherMode, VectorKind, aes_sectors};

use super::{Bench, CONTENT, payload};
use crate::measure::{bytes_f64, interleaved};
use crate::qemu::run;
use crate::raw_file;
use crate::table::{Line, Other, Unit};

pub(crate) const READ: &str = "luks-read-1m";
pub(crate) const WRITE: &str = "luks-write-1m";
pub(crate) const CIPHER: &str = "luks-cipher-1m";

const REQUEST: u64 = 1 << 20;
const PASSPHRASE: &str = "bench";

/// One pass over the disk by `qemu-io` and by ours.
pub(super) fn programs(bench: &Bench<'_>, name: &'static str, write: bool) -> Result<Line> {
    let (qemu, program) = match bench.programs() {
        Ok(both) => both,
        Err(why) => return Ok(Line::Skipped { name, why }),
    };
    let size = bench.options.choose(1 << 30, 256 << 20);
    let path = image(bench, size)?;
    let pass = |program: &Path, first: &[&str]| -> Result<f64> {
        let args = io_args(first, &path, size, write);
        let start = Instant::now();
        run(program, args)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let io = qemu.io();
    let pair = interleaved(
        bench.options.rounds(9, 3),
        Box::new(|| pass(&program, &["io"])),
        Box::new(|| pass(&io, &[])),
    )?;
    bench.scratch.fresh("image");
    let what = if write { "writes to clusters that are there" } else { "reads" };
    let note = format!(
        "{} MiB disk under LUKS (aes-256, xts-plain64) in the page cache, {what} of 1 MiB one after the \
         other; whole processes of qemu-io and of ours",
        size >> 20
    );
    let work = bytes_f64(size);
    Ok(Line::Compared { name, unit: Unit::Bytes, work, other: Other::Qemu, pair, need: 1.2, note })
}

/// The library, beside decrypting as many bytes that are in memory.
pub(super) fn cipher(bench: &Bench<'_>, name: &'static str) -> Result<Line> {
    let size = bench.options.choose(512 << 20, 128 << 20);
    let path = image(bench, size)?;
    let image = OpenOptions::new().passphrase(passphrase()).open_read_only(&path)?;
    let key = payload(11, 64);
    let bare = aes_sectors(CipherMode::Xts, &key, VectorKind::Plain64)
        .map_err(|error| anyhow!("the bare cipher: {error}"))?;
    let places = || (0..size).step_by(1 << 20);
    let mut ours = vec![0; 1 << 20];
    let mut theirs = payload(12, 1 << 20);
    let pair = interleaved(
        bench.options.rounds(9, 3),
        Box::new(|| {
            let start = Instant::now();
            places().try_for_each(|at| image.read_at(at, &mut ours))?;
            Ok(start.elapsed().as_secs_f64())
        }),
        Box::new(|| {
            let start = Instant::now();
            places().for_each(|at| bare.decrypt(at / 512, &mut theirs));
            Ok(start.elapsed().as_secs_f64())
        }),
    )?;
    drop(image);
    bench.scratch.fresh("image");
    let note = format!(
        "{} MiB disk under LUKS (aes-256, xts-plain64) in the page cache, reads of 1 MiB by one thread; \
         the other side decrypts the same 1 MiB in memory again and again",
        size >> 20
    );
    Ok(Line::Compared {
        name,
        unit: Unit::Bytes,
        work: bytes_f64(size),
        other: Other::Cipher,
        pair,
        need: 0.6,
        note,
    })
}

fn passphrase() -> Secret {
    Secret::new(PASSPHRASE.as_bytes().to_vec())
}

/// An image whose every cluster is written, and whose passphrase is tried within a moment.
fn image(bench: &Bench<'_>, size: u64) -> Result<std::path::PathBuf> {
    let path = bench.scratch.fresh("image");
    let format = Format { iter_time: Duration::from_millis(10), ..Format::default() };
    let image = CreateOptions::new(size).luks(format, passphrase()).create(&path)?;
    raw_file::content(CONTENT, size, |at, bytes| Ok(image.write_at(at, bytes)?))?;
    image.close()?;
    Ok(path)
}

/// The words of one pass over the disk.
fn io_args(first: &[&str], path: &Path, size: u64, write: bool) -> Vec<OsString> {
    let mut args: Vec<OsString> = first.iter().map(OsString::from).collect();
    args.extend(["--object".into(), format!("secret,id=s,data={PASSPHRASE}").into()]);
    args.extend(["-t".into(), "writeback".into()]);
    if !write {
        args.push("-r".into());
    }
    let verb = if write { "write" } else { "read" };
    for at in (0..size).step_by(1 << 20) {
        args.extend(["-c".into(), format!("{verb} -q {at} {REQUEST}").into()]);
    }
    let image = format!("driver=qcow2,encrypt.key-secret=s,file.filename={}", path.display());
    args.extend(["--image-opts".into(), image.into()]);
    args
}
