//! The program's `commit` beside that of qemu-img, whole processes.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use holstein::{CreateOptions, Image};

use super::{Bench, CONTENT};
use crate::measure::{bytes_f64, interleaved};
use crate::qemu::run;
use crate::raw_file;
use crate::table::{Line, Other, Unit};

pub(crate) const NAME: &str = "commit";

/// The name of the base, as the overlay stores it.
const BASE: &str = "base.qcow2";

pub(super) fn row(bench: &Bench<'_>, name: &'static str) -> Result<Line> {
    let (qemu, program) = match bench.programs() {
        Ok(both) => both,
        Err(why) => return Ok(Line::Skipped { name, why }),
    };
    let size = bench.options.choose(2 << 30, 256 << 20);
    let template = bench.scratch.fresh("template");
    let image = CreateOptions::new(size)
        .backing_file(BASE.into(), Some(b"qcow2".to_vec()))
        .create(&template)?;
    raw_file::content(CONTENT, size, |at, bytes| Ok(image.write_at(at, bytes)?))?;
    image.close()?;
    let commit = |program: &Path| -> Result<f64> {
        let base = bench.scratch.fresh(BASE);
        CreateOptions::new(size).create(&base).and_then(Image::close)?;
        let overlay = bench.scratch.fresh("overlay");
        std::fs::copy(&template, &overlay)?;
        let start = Instant::now();
        let args = ["commit", "-q", "-f", "qcow2"].map(OsStr::new);
        run(program, args.into_iter().chain([overlay.as_os_str()]))?;
        Ok(start.elapsed().as_secs_f64())
    };
    let pair = interleaved(
        bench.options.rounds(7, 3),
        Box::new(|| commit(&program)),
        Box::new(|| commit(qemu.program())),
    )?;
    commit(&program)?;
    qemu.check(&bench.scratch.file("overlay"))?;
    qemu.check(&bench.scratch.file(BASE))?;
    for name in ["template", "overlay", BASE] {
        bench.scratch.fresh(name);
    }
    let note = format!(
        "an overlay of {} MiB of data into an empty qcow2 base, both in the page cache, and emptied; \
         whole processes, -t writeback on both",
        size >> 20
    );
    let work = bytes_f64(size);
    Ok(Line::Compared { name, unit: Unit::Bytes, work, other: Other::Qemu, pair, need: 1.1, note })
}
