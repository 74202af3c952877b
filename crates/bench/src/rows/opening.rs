//! Opening a large image and reading from it for the first time, in process.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use holstein::{CreateOptions, OpenOptions};

use super::{Bench, REQUEST, payload};
use crate::measure::Times;
use crate::table::Line;

pub(crate) const WRITABLE: &str = "open-1t";
pub(crate) const READ_ONLY: &str = "open-1t-read-only";

const SIZE: u64 = 1 << 40;
/// Guest bytes of one L2 table of 64 KiB.
const PER_TABLE: u64 = 512 << 20;

pub(super) fn row(bench: &Bench<'_>, name: &'static str, writable: bool) -> Result<Line> {
    let path = bench.scratch.fresh("image");
    let image = CreateOptions::new(SIZE).create(&path)?;
    let bytes = payload(9, REQUEST);
    // A table in each entry of the L1 table: the largest set that opening has to know of.
    for at in (0..SIZE).step_by(usize::try_from(PER_TABLE)?) {
        image.write_at(at, &bytes)?;
    }
    image.close()?;
    let count = bench.options.choose(3000, 500);
    let mut times = Vec::with_capacity(count);
    let tables = SIZE / PER_TABLE;
    for n in 0..count as u64 {
        // Somewhere else each time, so that no table is better known than another.
        times.push(once(&path, n * 769 % tables * PER_TABLE, &bytes, writable)?);
    }
    let times = Times::new(times);
    bench.scratch.fresh("image");
    Ok(Line::Bounded {
        name,
        figure: times.median() * 1e6,
        spread: times.spread(),
        unit: "us",
        bound: 50.0,
        note: format!(
            "open for {} with locks and read 4 KiB, {count} times; all {tables} L2 tables exist, \
             the file is in the page cache; closing is not counted",
            if writable { "writing" } else { "reading" }
        ),
    })
}

fn once(path: &Path, at: u64, expect: &[u8], writable: bool) -> Result<f64> {
    let options = OpenOptions::new();
    let mut buffer = [0; REQUEST];
    let start = Instant::now();
    let seconds = if writable {
        let image = options.open(path)?;
        image.read_at(at, &mut buffer)?;
        let seconds = start.elapsed().as_secs_f64();
        image.close()?;
        seconds
    } else {
        let image = options.open_read_only(path)?;
        image.read_at(at, &mut buffer)?;
        start.elapsed().as_secs_f64()
    };
    anyhow::ensure!(buffer == expect, "wrong bytes at {at}");
    Ok(seconds)
}
