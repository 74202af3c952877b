//! Random writes to clusters that are there, beside a loop of `pwrite`; both end with a flush.

use std::os::unix::fs::FileExt;
use std::time::Instant;

use anyhow::Result;
use holstein::OpenOptions;

use super::{Bench, CONTENT, REQUEST, payload};
use crate::measure::{as_f64, interleaved};
use crate::offsets;
use crate::raw_file;
use crate::table::{Line, Other, Unit};

pub(crate) const NAME: &str = "write-4k";

pub(super) fn row(bench: &Bench<'_>, name: &'static str) -> Result<Line> {
    let size = bench.disk_size();
    let count = bench.options.choose(50_000, 10_000);
    let raw = raw_file::filled(&bench.scratch.fresh("raw"), CONTENT, size)?;
    let path = bench.full_image("image", size)?;
    let image = OpenOptions::new().open(&path)?;
    let places = offsets::random(5, count, REQUEST as u64, size);
    let bytes = payload(6, REQUEST);
    let pair = interleaved(
        bench.options.rounds(15, 5),
        Box::new(|| {
            let start = Instant::now();
            places.iter().try_for_each(|&at| image.write_at(at, &bytes))?;
            image.flush()?;
            Ok(start.elapsed().as_secs_f64())
        }),
        Box::new(|| {
            let start = Instant::now();
            places.iter().try_for_each(|&at| raw.write_all_at(&bytes, at))?;
            raw.sync_data()?;
            Ok(start.elapsed().as_secs_f64())
        }),
    )?;
    image.close()?;
    let note = format!("{} MiB disk, {count} writes and one flush a round", size >> 20);
    let work = as_f64(count);
    Ok(Line::Compared {
        name,
        unit: Unit::Requests,
        work,
        other: Other::RawFile,
        pair,
        need: 0.9,
        note,
    })
}
