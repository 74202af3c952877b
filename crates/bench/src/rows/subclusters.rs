//! Writes to subclusters over a backing file, beside writes of the same bytes to a bare file; both end
//! with a flush.

use std::time::Instant;

use anyhow::Result;
use holstein::CreateOptions;

use super::{Bench, CONTENT, REQUEST, payload};
use crate::measure::{as_f64, interleaved};
use crate::offsets;
use crate::raw_file;
use crate::table::{Line, Other, Unit};

pub(crate) const NAME: &str = "cow-extended-4k";

const CLUSTER: u64 = 128 << 10;

pub(super) fn row(bench: &Bench<'_>, name: &'static str) -> Result<Line> {
    let size = bench.options.choose(1 << 30, 512 << 20);
    let count = bench.options.choose(4_000, 2_000);
    let backing = bench.scratch.fresh("backing.raw");
    raw_file::filled(&backing, CONTENT, size)?;
    let step = offsets::long_step(CLUSTER, size);
    let places = offsets::strided(count, step, size);
    let bytes = payload(9, REQUEST);
    let pair = interleaved(
        bench.options.rounds(15, 5),
        Box::new(|| {
            let options = CreateOptions::new(size).cluster_size(CLUSTER).extended_l2(true);
            let image = bench.overlay("image", options, &backing)?;
            let start = Instant::now();
            places.iter().try_for_each(|&at| image.write_at(at, &bytes))?;
            image.flush()?;
            let seconds = start.elapsed().as_secs_f64();
            image.close()?;
            bench.scratch.fresh("image");
            Ok(seconds)
        }),
        Box::new(|| bench.new_raw(size, places.iter().copied(), &bytes)),
    )?;
    bench.scratch.fresh("backing.raw");
    let note = format!(
        "{} MiB disk with clusters of 128 KiB of subclusters over a raw backing file with data in the page \
         cache, {count} writes {step} bytes apart; the bare file is new, of the same size and empty",
        size >> 20
    );
    Ok(Line::Compared {
        name,
        unit: Unit::Requests,
        work: as_f64(count),
        other: Other::RawFile,
        pair,
        need: 0.6,
        note,
    })
}
