//! The program's `convert` beside that of qemu-img, whole processes.

use std::ffi::OsString;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::{Bench, CONTENT, payload};
use crate::measure::{bytes_f64, interleaved};
use crate::offsets::Numbers;
use crate::qemu::run;
use crate::raw_file;
use crate::table::{Line, Other, Unit};

pub(crate) const TO_QCOW2: &str = "convert-to-qcow2";
pub(crate) const TO_RAW: &str = "convert-to-raw";
pub(crate) const COMPRESSED: &str = "convert-c";

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToQcow2,
    ToRaw,
    Compressed,
}

pub(super) fn row(bench: &Bench<'_>, name: &'static str, way: Way) -> Result<Line> {
    let (qemu, program) = match bench.programs() {
        Ok(both) => both,
        Err(why) => return Ok(Line::Skipped { name, why }),
    };
    if !converts(&program) {
        return Ok(Line::Skipped { name, why: "this holstein has no convert".to_owned() });
    }
    let (size, content, extra): (_, _, &[&str]) = match way {
        Way::Compressed => {
            (bench.options.choose(512 << 20, 64 << 20), text(raw_file::FILL), &["-c"])
        }
        _ => (bench.options.choose(1 << 30, 256 << 20), payload(CONTENT, raw_file::FILL), &[]),
    };
    let raw = source(bench, size, &content)?;
    let (from, formats) = if way != Way::ToRaw {
        (raw.clone(), ["raw", "qcow2"])
    } else {
        let path = bench.scratch.fresh("source.qcow2");
        run(qemu.program(), args(["raw", "qcow2"], &["-q"], &raw, &path))?;
        (path, ["qcow2", "raw"])
    };
    let convert = |program: &Path, options: &[&str], to: &str| -> Result<f64> {
        let to = bench.scratch.fresh(to);
        let start = Instant::now();
        run(program, args(formats, &[options, extra].concat(), &from, &to))?;
        Ok(start.elapsed().as_secs_f64())
    };
    let pair = interleaved(
        bench.options.rounds(11, 3),
        Box::new(|| convert(&program, &["-t", "writeback"], "ours")),
        Box::new(|| convert(qemu.program(), &["-t", "writeback", "-m", "16", "-W"], "theirs")),
    )?;
    let ours = bench.scratch.file("ours");
    let compare = ["compare", "-q", "-f", "raw", "-F", formats[1]].map(OsString::from);
    run(qemu.program(), compare.into_iter().chain([raw.into(), ours.clone().into()]))?;
    if way != Way::ToRaw {
        qemu.check(&ours)?;
    }
    for name in ["ours", "theirs", "source.qcow2", "source.raw"] {
        bench.scratch.fresh(name);
    }
    let (data, need) = match way {
        Way::Compressed => ("text, both with -c", 1.8),
        _ => ("data", 1.0),
    };
    let note = format!(
        "{} MiB disk, three quarters {data}, the rest holes and written zeros; whole processes, \
         -t writeback on both, qemu-img with -m 16 -W",
        size >> 20
    );
    let work = bytes_f64(size);
    Ok(Line::Compared { name, unit: Unit::Bytes, work, other: Other::Qemu, pair, need, note })
}

fn args(formats: [&str; 2], options: &[&str], from: &Path, to: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["convert", "-f", formats[0], "-O", formats[1]]
        .iter()
        .chain(options)
        .map(OsString::from)
        .collect();
    args.extend([from.into(), to.into()]);
    args
}

/// A raw disk: of each 16 MiB 12 are data, 2 a hole and 2 zeros that were written.
fn source(bench: &Bench<'_>, size: u64, data: &[u8]) -> Result<PathBuf> {
    const MIB: u64 = 1 << 20;
    let path = bench.scratch.fresh("source.raw");
    let file = raw_file::create(&path)?;
    file.set_len(size)?;
    let zeros = vec![0; raw_file::FILL];
    for at in (0..size).step_by(raw_file::FILL) {
        match at / MIB % 16 {
            0..12 => file.write_all_at(data, at)?,
            12..14 => {}
            _ => file.write_all_at(&zeros, at)?,
        }
    }
    file.sync_all()?;
    Ok(path)
}

/// Lines of words of which few are frequent, with numbers between: half of it is left when it is
/// compressed.
fn text(len: usize) -> Vec<u8> {
    let mut random = payload(CONTENT, 16 * 1024).into_iter().cycle();
    let mut next = move || u64::from(random.next().unwrap_or(0));
    let words: Vec<Vec<u8>> = (0..512)
        .map(|_| (0..2 + next() % 9).map(|_| b'a' + (next() % 26) as u8).collect())
        .collect();
    let mut text = Vec::with_capacity(len + 32);
    let mut numbers = Numbers::new(CONTENT);
    while text.len() < len {
        let n = numbers.next() >> 46;
        // The square makes small numbers frequent.
        let index = usize::try_from((n % 512) * (n / 512) / 512).unwrap_or(0);
        text.extend_from_slice(&words[index % words.len()]);
        match n % 11 {
            0 => text.extend_from_slice(format!(" {n:x},\n").as_bytes()),
            _ => text.push(b' '),
        }
    }
    text.truncate(len);
    text
}

/// Whether the program knows the command.
fn converts(program: &Path) -> bool {
    let output = Command::new(program).arg("--help").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("convert"))
}
