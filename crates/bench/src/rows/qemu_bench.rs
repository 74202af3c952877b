//! Requests one at a time, beside `qemu-img bench -d 1`.
//!
//! qemu-img has no random order, so both sides go through the disk in steps of about its golden
//! ratio, as `bench -S` does: far from each other, no cluster twice.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use holstein::{CreateOptions, OpenOptions};

use super::{Bench, CONTENT, NO_QEMU, Page, REQUEST, payload};
use crate::measure::{as_f64, interleaved};
use crate::offsets;
use crate::raw_file;
use crate::table::{Line, Other, Unit};

pub(crate) const READ: &str = "qemu-read-4k";
pub(crate) const WRITE: &str = "qemu-alloc-4k";
pub(crate) const COPY_ON_WRITE: &str = "qemu-cow-4k";
pub(crate) const SUBCLUSTERS: &str = "qemu-cow-extended-4k";

/// Images that are written to.
#[derive(Clone, Copy)]
struct Kind {
    cluster: u64,
    extended: bool,
    /// The least ratio.
    need: f64,
}

impl Kind {
    const fn plain(need: f64) -> Self {
        Self { cluster: 64 << 10, extended: false, need }
    }
}

fn no_qemu(name: &'static str) -> Line {
    Line::Skipped { name, why: NO_QEMU.to_owned() }
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
    writes(bench, name, Kind::plain(3.0), 4 << 30, None)
}

pub(super) fn copy_on_write(bench: &Bench<'_>, name: &'static str) -> Result<Line> {
    over_backing(bench, name, Kind::plain(1.5))
}

pub(super) fn subclusters(bench: &Bench<'_>, name: &'static str) -> Result<Line> {
    over_backing(bench, name, Kind { cluster: 128 << 10, extended: true, need: 2.0 })
}

fn over_backing(bench: &Bench<'_>, name: &'static str, kind: Kind) -> Result<Line> {
    let size = bench.options.choose(1 << 30, 256 << 20);
    let backing = bench.scratch.fresh("backing.raw");
    raw_file::filled(&backing, CONTENT, size)?;
    let line = writes(bench, name, kind, size, Some(&backing))?;
    bench.scratch.fresh("backing.raw");
    Ok(line)
}

/// Writes of 4 KiB to clusters of their own, over a raw backing file if one is given.
fn writes(
    bench: &Bench<'_>,
    name: &'static str,
    kind: Kind,
    size: u64,
    backing: Option<&Path>,
) -> Result<Line> {
    let Some(qemu) = bench.qemu else { return Ok(no_qemu(name)) };
    // Few: a file system that is mounted with `discard` takes a millisecond or more for each of the
    // pieces of a file that is removed.
    let count = bench.options.choose(4_000, 2_000);
    let Kind { cluster, extended, need } = kind;
    let step = offsets::long_step(cluster, size);
    let places = offsets::strided(count, step, size);
    let bytes = payload(8, REQUEST);
    let theirs = bench.scratch.fresh("theirs");
    let words =
        format!("cluster_size={cluster},extended_l2={}", if extended { "on" } else { "off" });
    qemu.create(&theirs, size, &words, backing)?;
    let start_up = qemu.start_up(&theirs)?;
    let ours = bench.scratch.file("ours");
    let pair = interleaved(
        bench.options.rounds(7, 3),
        Box::new(|| {
            let image = match backing {
                None => bench.empty_image("ours", size)?,
                Some(backing) => {
                    let options = CreateOptions::new(size).cluster_size(cluster);
                    bench.overlay("ours", options.extended_l2(extended), backing)?
                }
            };
            let start = Instant::now();
            places.iter().try_for_each(|&at| image.write_at(at, &bytes))?;
            image.flush()?;
            let seconds = start.elapsed().as_secs_f64();
            image.close()?;
            Ok(seconds)
        }),
        Box::new(|| {
            let path = bench.scratch.fresh("theirs");
            qemu.create(&path, size, &words, backing)?;
            Ok(qemu.bench(&path, true, count, step)?.wall - start_up)
        }),
    )?;
    qemu.check(&ours)?;
    let over = match backing {
        Some(_) => " over a raw backing file with data in the page cache",
        None => "",
    };
    let of = if extended { " of subclusters" } else { "" };
    let note = format!(
        "{} MiB disk with clusters of {} KiB{of}{over}, {count} writes {step} bytes apart, each to a cluster of its own, and the \
         flush; qemu-img flushes after the time it says, so of it the whole process is counted less \
         {:.1} ms for its start and end, measured with one read",
        size >> 20,
        cluster >> 10,
        start_up * 1000.0
    );
    let work = as_f64(count);
    Ok(Line::Compared { name, unit: Unit::Requests, work, other: Other::Qemu, pair, need, note })
}
