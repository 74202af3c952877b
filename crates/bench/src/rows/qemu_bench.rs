//! Requests one at a time, beside `qemu-img bench -d 1`.
//!
//! qemu-img has no random order, so both sides go through the disk in steps of about its golden
//! ratio, as `bench -S` does: far from each other, no cluster twice.

use std::time::Instant;

use anyhow::Result;
use holstein::OpenOptions;

use super::{Bench, Page, REQUEST, payload};
use crate::measure::{as_f64, interleaved};
use crate::offsets;
use crate::table::{Line, Other, Unit};

pub(crate) const READ: &str = "qemu-read-4k";
pub(crate) const WRITE: &str = "qemu-alloc-4k";

const CLUSTER: u64 = 64 << 10;

fn no_qemu(name: &'static str) -> Line {
    Line::Skipped { name, why: "there is no qemu-img".to_owned() }
}

pub(super) fn reads(bench: &Bench<'_>, name: &'static str) -> Result<Line> {
    let Some(qemu) = bench.qemu else { return Ok(no_qemu(name)) };
    let size = bench.disk_size();
    let count = bench.options.choose(50_000, 10_000);
    let path = bench.full_image("image", size)?;
    let step = offsets::long_step(REQUEST as u64, size);
    let places = offsets::strided(count, step, size);
    let pair = interleaved(
        bench.options.rounds(9, 3),
        Box::new(|| {
            let image = OpenOptions::new().open_read_only(&path)?;
            let mut page = Page::new();
            let start = Instant::now();
            places.iter().try_for_each(|&at| image.read_at(at, &mut page.0))?;
            Ok(start.elapsed().as_secs_f64())
        }),
        Box::new(|| Ok(qemu.bench(&path, false, count, step)?.run)),
    )?;
    let note = format!(
        "fully allocated {} MiB disk in the page cache, {count} reads {step} bytes apart; \
         of qemu-img the time it says its run took, without starting the process",
        size >> 20
    );
    let work = as_f64(count);
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

pub(super) fn allocating_writes(bench: &Bench<'_>, name: &'static str) -> Result<Line> {
    let Some(qemu) = bench.qemu else { return Ok(no_qemu(name)) };
    let size = 4 << 30;
    // Few: a file system that is mounted with `discard` takes a millisecond or more for each of the
    // pieces of a file that is removed.
    let count = bench.options.choose(4_000, 2_000);
    let step = offsets::long_step(CLUSTER, size);
    let places = offsets::strided(count, step, size);
    let bytes = payload(8, REQUEST);
    let theirs = bench.scratch.fresh("theirs");
    qemu.create(&theirs, size)?;
    let start_up = qemu.start_up(&theirs)?;
    let ours = bench.scratch.file("ours");
    let pair = interleaved(
        bench.options.rounds(7, 3),
        Box::new(|| {
            let image = bench.empty_image("ours", size)?;
            let start = Instant::now();
            places.iter().try_for_each(|&at| image.write_at(at, &bytes))?;
            image.flush()?;
            let seconds = start.elapsed().as_secs_f64();
            image.close()?;
            Ok(seconds)
        }),
        Box::new(|| {
            let path = bench.scratch.fresh("theirs");
            qemu.create(&path, size)?;
            Ok(qemu.bench(&path, true, count, step)?.wall - start_up)
        }),
    )?;
    qemu.check(&ours)?;
    let note = format!(
        "{} GiB disk, {count} writes {step} bytes apart, each to a cluster of its own, and the flush; \
         qemu-img flushes after the time it says, so of it the whole process is counted less \
         {:.1} ms for its start and end, measured with one read",
        size >> 30,
        start_up * 1000.0
    );
    let work = as_f64(count);
    Ok(Line::Compared {
        name,
        unit: Unit::Requests,
        work,
        other: Other::Qemu,
        pair,
        need: 3.0,
        note,
    })
}
