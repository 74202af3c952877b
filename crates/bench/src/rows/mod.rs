//! What is measured.

mod check;
mod commit;
mod convert;
mod encrypted;
mod in_place;
mod nbd;
mod opening;
mod program;
mod qemu_bench;
mod reads;
mod sequential;
mod snapshot;
mod subclusters;
mod syscalls;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use holstein::chain::BackingPolicy;
use holstein::{CreateOptions, Image, OpenOptions};

use crate::offsets::Numbers;
use crate::options::Options;
use crate::qemu::Qemu;
use crate::raw_file;
use crate::scratch::Scratch;
use crate::table::Line;

use check::Layout;
use convert::Way;
use nbd::Load;
use snapshot::Act;

pub(crate) use syscalls::{READS_CHILD, reads_child};

/// The names of all rows, in the order of the table.
pub(crate) const NAMES: [&str; 32] = [
    reads::ONE,
    reads::TWO,
    in_place::NAME,
    sequential::SMALL,
    sequential::LARGE,
    qemu_bench::READ,
    qemu_bench::WRITE,
    qemu_bench::COPY_ON_WRITE,
    qemu_bench::SUBCLUSTERS,
    subclusters::NAME,
    encrypted::READ,
    encrypted::WRITE,
    encrypted::CIPHER,
    convert::TO_QCOW2,
    convert::TO_RAW,
    convert::COMPRESSED,
    commit::NAME,
    check::DENSE,
    check::STREWN,
    opening::WRITABLE,
    opening::READ_ONLY,
    snapshot::CREATE,
    snapshot::DELETE,
    nbd::READ,
    nbd::WRITE,
    nbd::READ_DEEP,
    nbd::WRITE_DEEP,
    nbd::READ_TWO,
    nbd::WRITE_TWO,
    nbd::COPY_FROM,
    nbd::COPY_TO,
    syscalls::NAME,
];

/// Bytes of a small request.
const REQUEST: usize = 4096;
/// Why a row beside QEMU is skipped.
const NO_QEMU: &str = "there is no qemu-img";
/// The seed of the content of disks.
const CONTENT: u64 = 1;

/// All that a row needs.
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) scratch: &'a Scratch,
    pub(crate) qemu: Option<&'a Qemu>,
}

impl Bench<'_> {
    /// Measures what was asked for.
    pub(crate) fn run(&self) -> Result<Vec<Line>> {
        type Row = fn(&Bench<'_>, &'static str) -> Result<Line>;
        let rows: [(&'static str, Row); 32] = [
            (reads::ONE, |bench, name| reads::row(bench, name, 1)),
            (reads::TWO, |bench, name| reads::row(bench, name, 2)),
            (in_place::NAME, in_place::row),
            (sequential::SMALL, |bench, name| sequential::row(bench, name, 64 << 10)),
            (sequential::LARGE, |bench, name| sequential::row(bench, name, 1 << 20)),
            (qemu_bench::READ, qemu_bench::reads),
            (qemu_bench::WRITE, qemu_bench::allocating_writes),
            (qemu_bench::COPY_ON_WRITE, qemu_bench::copy_on_write),
            (qemu_bench::SUBCLUSTERS, qemu_bench::subclusters),
            (subclusters::NAME, subclusters::row),
            (encrypted::READ, |bench, name| encrypted::programs(bench, name, false)),
            (encrypted::WRITE, |bench, name| encrypted::programs(bench, name, true)),
            (encrypted::CIPHER, encrypted::cipher),
            (convert::TO_QCOW2, |bench, name| convert::row(bench, name, Way::ToQcow2)),
            (convert::TO_RAW, |bench, name| convert::row(bench, name, Way::ToRaw)),
            (convert::COMPRESSED, |bench, name| convert::row(bench, name, Way::Compressed)),
            (commit::NAME, commit::row),
            (check::DENSE, |bench, name| check::row(bench, name, Layout::Dense)),
            (check::STREWN, |bench, name| check::row(bench, name, Layout::Strewn)),
            (opening::WRITABLE, |bench, name| opening::row(bench, name, true)),
            (opening::READ_ONLY, |bench, name| opening::row(bench, name, false)),
            (snapshot::CREATE, |bench, name| snapshot::row(bench, name, Act::Create)),
            (snapshot::DELETE, |bench, name| snapshot::row(bench, name, Act::Delete)),
            (nbd::READ, |bench, name| nbd::requests(bench, name, Load::new(false, 1, 1))),
            (nbd::WRITE, |bench, name| nbd::requests(bench, name, Load::new(true, 1, 1))),
            (nbd::READ_DEEP, |bench, name| nbd::requests(bench, name, Load::new(false, 32, 1))),
            (nbd::WRITE_DEEP, |bench, name| nbd::requests(bench, name, Load::new(true, 32, 1))),
            (nbd::READ_TWO, |bench, name| nbd::requests(bench, name, Load::new(false, 32, 2))),
            (nbd::WRITE_TWO, |bench, name| nbd::requests(bench, name, Load::new(true, 32, 2))),
            (nbd::COPY_FROM, |bench, name| nbd::copy(bench, name, false)),
            (nbd::COPY_TO, |bench, name| nbd::copy(bench, name, true)),
            (syscalls::NAME, syscalls::row),
        ];
        let mut lines = Vec::new();
        for (name, row) in rows {
            if self.options.wants(name) {
                eprintln!("bench: {name}");
                lines.push(row(self, name).with_context(|| format!("row {name}"))?);
            }
        }
        Ok(lines)
    }

    /// Bytes of the disks of rows that read or overwrite.
    fn disk_size(&self) -> u64 {
        self.options.choose(512 << 20, 128 << 20)
    }

    /// A new image whose every cluster is allocated, holding the bytes of [`raw_file::filled`].
    fn full_image(&self, name: &str, size: u64) -> Result<std::path::PathBuf> {
        let path = self.scratch.fresh(name);
        let image = CreateOptions::new(size).create(&path)?;
        raw_file::content(CONTENT, size, |at, bytes| Ok(image.write_at(at, bytes)?))?;
        image.close()?;
        Ok(path)
    }

    /// A new image over a raw backing file, open.
    fn overlay(&self, name: &str, options: CreateOptions, backing: &Path) -> Result<Image> {
        let path = self.scratch.fresh(name);
        let backing = backing.as_os_str().as_encoded_bytes().to_vec();
        let options = options.backing_file(backing, Some(b"raw".to_vec()));
        options.create(&path).and_then(Image::close)?;
        Ok(OpenOptions::new().backing_policy(BackingPolicy::anything()).open(&path)?)
    }

    /// How many seconds it takes to write `bytes` at each of the places of a new bare file of `len` bytes,
    /// and to make them durable.
    fn new_raw(&self, len: u64, places: impl Iterator<Item = u64>, bytes: &[u8]) -> Result<f64> {
        let path = self.scratch.fresh("raw");
        let raw = raw_file::create(&path)?;
        raw.set_len(len)?;
        let start = Instant::now();
        for at in places {
            raw.write_all_at(bytes, at)?;
        }
        raw.sync_data()?;
        let seconds = start.elapsed().as_secs_f64();
        drop(raw);
        self.scratch.fresh("raw");
        Ok(seconds)
    }

    /// A new and empty image, open.
    fn empty_image(&self, name: &str, size: u64) -> Result<Image> {
        Ok(CreateOptions::new(size).create(self.scratch.fresh(name))?)
    }
}

/// A buffer that begins on a page, so that where a stack happens to lie makes no side faster.
#[repr(align(4096))]
struct Page([u8; REQUEST]);

impl Page {
    const fn new() -> Self {
        Self([0; REQUEST])
    }
}

/// Bytes to write, without a pattern.
fn payload(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Numbers::new(seed).fill(&mut bytes);
    bytes
}
