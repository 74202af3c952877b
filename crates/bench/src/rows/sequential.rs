//! A new disk written from its start to its end, beside a new file; both end with a flush.

use std::time::Instant;

use anyhow::Result;

use super::{Bench, payload};
use crate::measure::{bytes_f64, interleaved};
use crate::table::{Line, Other, Unit};

pub(crate) const SMALL: &str = "seq-64k";
pub(crate) const LARGE: &str = "seq-1m";

pub(super) fn row(bench: &Bench<'_>, name: &'static str, request: usize) -> Result<Line> {
    let size = bench.disk_size();
    let bytes = payload(7, request);
    let places = || (0..size).step_by(request);
    let pair = interleaved(
        bench.options.rounds(15, 5),
        Box::new(|| {
            let image = bench.empty_image("image", size)?;
            let start = Instant::now();
            places().try_for_each(|at| image.write_at(at, &bytes))?;
            image.flush()?;
            let seconds = start.elapsed().as_secs_f64();
            image.close()?;
            bench.scratch.fresh("image");
            Ok(seconds)
        }),
        Box::new(|| bench.new_raw(0, places(), &bytes)),
    )?;
    let note = format!(
        "{} MiB in requests of {} KiB and one flush a round; making the empty files is not counted",
        size >> 20,
        request >> 10
    );
    let work = bytes_f64(size);
    Ok(Line::Compared {
        name,
        unit: Unit::Bytes,
        work,
        other: Other::RawFile,
        pair,
        need: 0.9,
        note,
    })
}
