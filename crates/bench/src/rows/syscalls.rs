//! How many system calls a cached read makes, counted by strace.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use holstein::OpenOptions;

use super::{Bench, REQUEST};
use crate::offsets;
use crate::qemu::run;
use crate::table::Line;

pub(crate) const NAME: &str = "strace";
/// The hidden command that is run under strace.
pub(crate) const READS_CHILD: &str = "reads-under-strace";

const READS: usize = 10_000;
const SIZE: u64 = 64 << 20;

pub(super) fn row(bench: &Bench<'_>, name: &'static str) -> Result<Line> {
    if Command::new("strace").arg("-V").output().is_err() {
        return Ok(Line::Skipped { name, why: "there is no strace".to_owned() });
    }
    let image = bench.full_image("image", SIZE)?;
    let log = bench.scratch.file("strace");
    let without = match calls(&image, &log, 0) {
        Ok(calls) => calls,
        Err(error) => return Ok(Line::Skipped { name, why: format!("strace: {error:#}") }),
    };
    let with = calls(&image, &log, READS)?;
    let mut more = BTreeMap::new();
    for (call, count) in &with {
        let extra = count.saturating_sub(without.get(call).copied().unwrap_or(0));
        if extra > 0 {
            more.insert(call.as_str(), extra);
        }
    }
    let total: u64 = more.values().sum();
    let list: Vec<String> = more.iter().map(|(call, n)| format!("{call} {n}")).collect();
    Ok(Line::Bounded {
        name,
        figure: crate::measure::bytes_f64(total) / crate::measure::as_f64(READS),
        spread: 0.0,
        unit: "calls",
        bound: 1.01,
        note: format!(
            "system calls of a process that makes {READS} cached 4 KiB reads beyond those of one \
             that makes none, by read: {}",
            list.join(", ")
        ),
    })
}

/// How often each system call is made by a process that makes `reads` reads after having made
/// them once before.
fn calls(image: &Path, log: &Path, reads: usize) -> Result<BTreeMap<String, u64>> {
    let this = std::env::current_exe().context("find this program")?;
    let reads = reads.to_string();
    let args = ["-f".as_ref(), "-qq".as_ref(), "-o".as_ref(), log.as_os_str(), this.as_os_str()];
    let rest = [READS_CHILD.as_ref(), image.as_os_str(), reads.as_ref()];
    run(Path::new("strace"), args.into_iter().chain(rest))?;
    let mut calls = BTreeMap::new();
    for line in std::fs::read_to_string(log)?.lines() {
        // "1234 pread64(3, ..."
        if let Some((head, _)) = line.split_once('(')
            && let Some(call) = head.split_whitespace().last()
        {
            *calls.entry(call.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(calls)
}

/// Opens the image, warms the tables, and makes the reads: `IMAGE COUNT`.
pub(crate) fn reads_child(args: &[String]) -> Result<()> {
    let [image, count] = args else { bail!("the child takes an image and a count") };
    let image = OpenOptions::new().open_read_only(image)?;
    let mut buffer = [0; REQUEST];
    let places = offsets::random(11, READS, REQUEST as u64, SIZE);
    for &at in places.iter().chain(places.iter().take(count.parse()?)) {
        image.read_at(at, &mut buffer)?;
    }
    Ok(())
}
