//! Random reads of what is in the page cache, beside a loop of `pread`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use holstein::{OpenOptions, ReadOnlyImage};

use super::{Bench, CONTENT, REQUEST};
use crate::measure::{as_f64, interleaved};
use crate::offsets;
use crate::raw_file;
use crate::table::{Line, Other, Unit};

pub(crate) const ONE: &str = "read-4k";
pub(crate) const TWO: &str = "read-4k-2t";

pub(super) fn row(bench: &Bench<'_>, name: &'static str, threads: usize) -> Result<Line> {
    let size = bench.disk_size();
    let count = bench.options.choose(100_000, 20_000);
    let raw = raw_file::filled(&bench.scratch.fresh("raw"), CONTENT, size)?;
    let path = bench.full_image("image", size)?;
    let image = OpenOptions::new().open_read_only(&path)?;
    let places: Vec<Vec<u64>> =
        (0..threads).map(|t| offsets::random(2 + t as u64, count, REQUEST as u64, size)).collect();
    same_bytes(&image, &raw, &places[0])?;
    let pair = interleaved(
        bench.options.rounds(41, 9),
        Box::new(|| together(&places, |at, into| Ok(image.read_at(at, into)?))),
        Box::new(|| together(&places, |at, into| Ok(raw.read_exact_at(into, at)?))),
    )?;
    let note = format!(
        "{} MiB disk, all in the page cache; {threads} thread(s), {count} reads each a round",
        size >> 20
    );
    let work = as_f64(count * threads);
    Ok(Line::Compared {
        name,
        unit: Unit::Requests,
        work,
        other: Other::RawFile,
        pair,
        need: 0.95,
        note,
    })
}

/// Runs one thread for each list of places; the seconds from the first start to the last end.
fn together(
    places: &[Vec<u64>],
    read: impl Fn(u64, &mut [u8]) -> Result<()> + Sync,
) -> Result<f64> {
    let all = |places: &[u64]| -> Result<()> {
        let mut buffer = [0; REQUEST];
        places.iter().try_for_each(|&at| read(at, &mut buffer))
    };
    if let [one] = places {
        let start = Instant::now();
        all(one)?;
        return Ok(start.elapsed().as_secs_f64());
    }
    // Each thread looks at the clock itself: who started them may get a core only later.
    let ready = Barrier::new(places.len());
    let timed = |places: &[u64]| -> Result<(Instant, Instant)> {
        ready.wait();
        let start = Instant::now();
        all(places)?;
        Ok((start, Instant::now()))
    };
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = places.iter().map(|places| scope.spawn(|| timed(places))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().ok().context("a reader panicked")?)
            .collect::<Result<Vec<_>>>()
    })?;
    let start = times.iter().map(|(start, _)| *start).min().context("no threads")?;
    let end = times.iter().map(|(_, end)| *end).max().context("no threads")?;
    Ok((end - start).as_secs_f64())
}

/// Both sides hold the same: what is compared is the same work.
fn same_bytes(image: &ReadOnlyImage, raw: &File, places: &[u64]) -> Result<()> {
    let (mut a, mut b) = ([0; REQUEST], [0; REQUEST]);
    for &at in places.iter().take(1000) {
        image.read_at(at, &mut a)?;
        raw.read_exact_at(&mut b, at)?;
        ensure!(a == b, "the image and the file differ at {at}");
    }
    Ok(())
}
