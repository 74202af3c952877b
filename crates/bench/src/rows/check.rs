//! The program's `check` beside that of qemu-img, whole processes, on a disk of 1 TiB.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use holstein::CreateOptions;
use holstein::format::{DecodePurpose, Header};

use super::Bench;
use crate::measure::{as_f64, interleaved};
use crate::qemu::run;
use crate::table::{Line, Other, Unit};

pub(crate) const DENSE: &str = "check";
pub(crate) const STREWN: &str = "check-strewn";

const SIZE: u64 = 1 << 40;
const CLUSTER: u64 = 64 << 10;
const MAPPED: u64 = 500_000;
/// Entries of an L2 table, and refcounts of a block.
const PER_TABLE: u64 = CLUSTER / 8;
const PER_BLOCK: u64 = CLUSTER / 2;
const COPIED: u64 = 1 << 63;

/// Whether the mapped clusters are one run, or are all over the disk and the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Dense,
    Strewn,
}

pub(super) fn row(bench: &Bench<'_>, name: &'static str, layout: Layout) -> Result<Line> {
    let (qemu, program) = match bench.programs() {
        Ok(both) => both,
        Err(why) => return Ok(Line::Skipped { name, why }),
    };
    let path = bench.scratch.fresh("image");
    make(&path, layout)?;
    let check = |program: &Path| -> Result<f64> {
        let start = Instant::now();
        let args = ["check", "-q", "-f", "qcow2"].map(OsString::from);
        run(program, args.into_iter().chain([path.clone().into()]))?;
        Ok(start.elapsed().as_secs_f64())
    };
    let pair = interleaved(
        bench.options.rounds(11, 3),
        Box::new(|| check(&program)),
        Box::new(|| check(qemu.program())),
    )?;
    bench.scratch.fresh("image");
    let (what, need) = match layout {
        Layout::Dense => ("in a row", 5.0),
        Layout::Strewn => ("strewn over all L2 tables and over the file", 10.0),
    };
    let note = format!(
        "1 TiB disk, {MAPPED} mapped clusters {what}; whole processes, the tables in the page cache"
    );
    let work = as_f64(usize::try_from(MAPPED)?);
    Ok(Line::Compared { name, unit: Unit::Requests, work, other: Other::Qemu, pair, need, note })
}

/// Writes the metadata of such an image; the clusters themselves are a hole.
fn make(path: &Path, layout: Layout) -> Result<()> {
    CreateOptions::new(SIZE).create(path)?.close()?;
    let file = File::options().read(true).write(true).open(path)?;
    let mut first = vec![0; usize::try_from(CLUSTER)?];
    file.read_exact_at(&mut first, 0)?;
    let header = Header::decode(&first, file.metadata()?.len(), DecodePurpose::Use)?;
    let tables = match layout {
        Layout::Dense => MAPPED.div_ceil(PER_TABLE),
        Layout::Strewn => SIZE / CLUSTER / PER_TABLE,
    };
    let base = file.metadata()?.len().div_ceil(CLUSTER);
    let data = base + tables;
    let blocks = (data + MAPPED).div_ceil(PER_BLOCK) + 1;
    let end = data + MAPPED + blocks - 1;
    let l1 = words((0..tables).map(|n| ((base + n) * CLUSTER) | COPIED));
    file.write_all_at(&l1, header.l1_table_offset.get())?;
    for table in 0..tables {
        let entries = (0..PER_TABLE).map(|slot| match layout {
            Layout::Dense => {
                let n = table * PER_TABLE + slot;
                if n < MAPPED { ((data + n) * CLUSTER) | COPIED } else { 0 }
            }
            Layout::Strewn => {
                // One guest cluster of 33, and a walk through the file with a step that meets all.
                let n = table * (MAPPED / tables) + slot / 33;
                let is_mapped = slot % 33 == 0 && slot / 33 < MAPPED / tables;
                let place = n * 314_159 % MAPPED;
                if is_mapped { ((data + place) * CLUSTER) | COPIED } else { 0 }
            }
        });
        file.write_all_at(&words(entries), (base + table) * CLUSTER)?;
    }
    // Of the strewn ones some are left over, as the tables hold an equal number.
    let mapped = if layout == Layout::Dense { MAPPED } else { MAPPED / tables * tables };
    let mut counted: Vec<u8> = vec![0; usize::try_from(blocks * CLUSTER)?];
    let mut count = |cluster: u64| -> Result<()> {
        let at = usize::try_from(cluster * 2 + 1)?;
        *counted.get_mut(at).context("within the blocks")? = 1;
        Ok(())
    };
    (0..data).try_for_each(&mut count)?;
    (0..mapped).try_for_each(|n| {
        count(data + if layout == Layout::Dense { n } else { n * 314_159 % MAPPED })
    })?;
    (data + MAPPED..end).try_for_each(&mut count)?;
    // The first block is the one that was there.
    let table = header.refcount_table_offset.get();
    let mut entry = [0; 8];
    file.read_exact_at(&mut entry, table)?;
    let first_block = u64::from_be_bytes(entry) / CLUSTER;
    let places =
        (0..blocks).map(|n| if n == 0 { first_block } else { data + MAPPED + n - 1 } * CLUSTER);
    for (place, block) in places.clone().zip(counted.chunks(usize::try_from(CLUSTER)?)) {
        file.write_all_at(block, place)?;
    }
    file.write_all_at(&words(places), table)?;
    file.set_len(end * CLUSTER)?;
    file.sync_all()?;
    Ok(())
}

fn words(words: impl Iterator<Item = u64>) -> Vec<u8> {
    words.flat_map(u64::to_be_bytes).collect()
}
