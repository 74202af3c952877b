//! The program's `snapshot` beside that of qemu-img, whole processes on a large image.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use holstein::{CreateOptions, Preallocation};

use super::Bench;
use crate::measure::{bytes_f64, interleaved};
use crate::qemu::run;
use crate::table::{Line, Other, Unit};

pub(crate) const CREATE: &str = "snapshot-create";
pub(crate) const DELETE: &str = "snapshot-delete";

/// Every so many bytes of the disk there is a stretch with clusters.
const STEP: u64 = 512 << 20;
/// Bytes of such a stretch: 256 clusters.
const STRETCH: u64 = 16 << 20;

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Create,
    Delete,
}

pub(super) fn row(bench: &Bench<'_>, name: &'static str, act: Act) -> Result<Line> {
    let (qemu, program) = match bench.programs() {
        Ok(both) => both,
        Err(why) => return Ok(Line::Skipped { name, why }),
    };
    let size = bench.options.choose(1 << 40, 64 << 30);
    let (ours, theirs) = (image(bench, "ours", size)?, image(bench, "theirs", size)?);
    let time = |program: &Path, image: &Path| -> Result<f64> {
        let mut took = 0.0;
        for (option, timed) in [("-c", Act::Create), ("-d", Act::Delete)] {
            let args = ["snapshot", option, "s"].map(OsString::from);
            let start = Instant::now();
            run(program, args.into_iter().chain([image.into()]))?;
            if timed == act {
                took = start.elapsed().as_secs_f64();
            }
        }
        Ok(took)
    };
    let pair = interleaved(
        bench.options.rounds(3, 1),
        Box::new(|| time(&program, &ours)),
        Box::new(|| time(qemu.program(), &theirs)),
    )?;
    qemu.check(&ours)?;
    for name in ["ours", "theirs"] {
        bench.scratch.fresh(name);
    }
    let note = format!(
        "{} GiB disk with {} mapped clusters, whole processes",
        size >> 30,
        size / STEP * (STRETCH >> 16)
    );
    // Clusters, as if each were a request.
    let work = bytes_f64(size / STEP * (STRETCH >> 16));
    Ok(Line::Compared {
        name,
        unit: Unit::Requests,
        work,
        other: Other::Qemu,
        pair,
        need: 5.0,
        note,
    })
}

/// A disk with stretches of clusters that are mapped and hold nothing, so that it takes little space.
fn image(bench: &Bench<'_>, name: &str, size: u64) -> Result<PathBuf> {
    let path = bench.scratch.fresh(name);
    let image = CreateOptions::new(0).create(&path)?;
    for at in (0..size).step_by(usize::try_from(STEP)?) {
        image.resize(at + STRETCH, Preallocation::Metadata)?;
        image.resize(at + STEP, Preallocation::Off)?;
    }
    image.close()?;
    Ok(path)
}
