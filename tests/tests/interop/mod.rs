//! One image that two programs write in turn, and what it should hold.
#![allow(dead_code, reason = "each test file uses a part of this module")]

pub(crate) mod encrypted;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use holstein::check::{CheckOptions, check};
use holstein::format::Version;
use holstein::{CreateOptions, Image, OpenOptions};
use holstein_storage::MemStorage;
use holstein_testkit::{Oracle, Rng, TempDir, Verdict};

/// The oracle of which the format reference speaks.
pub(crate) const ORACLE: holstein_testkit::Version =
    holstein_testkit::Version { major: 10, minor: 0, patch: 0 };

/// A directory in memory where there is one: the tests wait for flushes otherwise.
pub(crate) fn scratch(name: &str) -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { TempDir::under(memory, name) } else { TempDir::new(name) };
    dir.expect("a scratch folder")
}

/// Who makes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Ours,
    Qemu,
}

/// One change of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Write { at: u64, len: u64, byte: u8 },
    Zero { at: u64, len: u64, unmap: bool },
    Discard { at: u64, len: u64 },
    Flush,
}

impl Op {
    /// The command of `qemu-io` that does it.
    pub(crate) fn command(self) -> String {
        match self {
            Self::Write { at, len, byte } => format!("write -q -P {byte} {at} {len}"),
            Self::Zero { at, len, unmap: true } => format!("write -q -z -u {at} {len}"),
            Self::Zero { at, len, unmap: false } => format!("write -q -z {at} {len}"),
            Self::Discard { at, len } => format!("discard -q {at} {len}"),
            Self::Flush => "flush".to_owned(),
        }
    }

    /// Does it to an image of ours.
    pub(crate) fn apply(self, image: &Image) -> Result<(), holstein::Error> {
        match self {
            Self::Write { at, len, byte } => image.write_at(at, &vec![byte; len as usize]),
            Self::Zero { at, len, unmap } => image.write_zeroes(at, len, unmap),
            Self::Discard { at, len } => image.discard(at, len),
            Self::Flush => image.flush(),
        }
    }

    /// Does it to the bytes of the disk; a discard reaches whole clusters.
    pub(crate) fn model(self, disk: &mut [u8], cluster: u64) {
        let size = disk.len() as u64;
        let mut fill = |from: u64, to: u64, byte| {
            if from < to {
                disk[from as usize..to as usize].fill(byte);
            }
        };
        match self {
            Self::Write { at, len, byte } => fill(at, at + len, byte),
            Self::Zero { at, len, .. } => fill(at, at + len, 0),
            Self::Discard { at, len } => {
                let end = if at + len == size { size } else { (at + len) / cluster * cluster };
                fill(at.next_multiple_of(cluster), end, 0);
            }
            Self::Flush => {}
        }
    }
}

/// Repeatable changes.
pub(crate) struct Script {
    rng: Rng,
    cluster: u64,
    size: u64,
}

impl Script {
    pub(crate) fn new(seed: u64, cluster: u64, size: u64) -> Self {
        Self { rng: Rng::new(seed), cluster, size }
    }

    /// Half of the ranges on cluster borders, up to three clusters or 96 KiB.
    fn range(&mut self) -> (u64, u64) {
        let mut at = self.rng.below(self.size);
        let most = (3 * self.cluster).max(96 << 10);
        let mut end = at + 1 + self.rng.below(most);
        match self.rng.below(4) {
            0 => {
                at = at / self.cluster * self.cluster;
                end = end.next_multiple_of(self.cluster);
            }
            1 => {
                at = at / 512 * 512;
                end = end.next_multiple_of(512);
            }
            2 => end = at + 1 + self.rng.below(4096),
            _ => {}
        }
        (at, end.min(self.size) - at)
    }

    pub(crate) fn ops(&mut self, n: usize) -> Vec<Op> {
        (0..n)
            .map(|_| {
                let (at, len) = self.range();
                match self.rng.below(12) {
                    0 | 1 => Op::Zero { at, len, unmap: true },
                    2 => Op::Zero { at, len, unmap: false },
                    3 | 4 => Op::Discard { at, len },
                    5 => Op::Flush,
                    _ => Op::Write { at, len, byte: 1 + self.rng.below(255) as u8 },
                }
            })
            .collect()
    }
}

/// A folder, an image in it, and the bytes that its disk should hold.
pub(crate) struct Bench {
    pub(crate) oracle: Oracle,
    pub(crate) dir: TempDir,
    pub(crate) image: PathBuf,
    pub(crate) disk: Vec<u8>,
    pub(crate) cluster: u64,
}

impl Bench {
    /// `None`, said loudly, without the oracle.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let oracle = Oracle::find_or_skip(name, ORACLE)?;
        let dir = scratch(name);
        let image = dir.file("a.qcow2");
        Some(Self { oracle, dir, image, disk: Vec::new(), cluster: 0 })
    }

    pub(crate) fn size(&self) -> u64 {
        self.disk.len() as u64
    }

    /// A new image, in place of the one before: a few clusters and some sectors, 1 MiB at least.
    pub(crate) fn start(&mut self, maker: Maker, version: Version, bits: u32, width: u32) {
        self.cluster = 1 << bits;
        let size = (5 * self.cluster).max(1 << 20) + 3 * 512;
        self.disk = vec![0; size as usize];
        match maker {
            Maker::Ours => {
                let image = CreateOptions::new(size)
                    .version(version)
                    .cluster_size(self.cluster)
                    .refcount_bits(width)
                    .create(&self.image)
                    .expect("a new image");
                image.close().expect("closed");
            }
            Maker::Qemu => {
                let mut options = format!("cluster_size={}", self.cluster);
                match version {
                    Version::V2 => options.push_str(",compat=0.10"),
                    Version::V3 => {
                        write!(options, ",refcount_bits={width}").expect("a string");
                    }
                }
                self.oracle.create(&self.image, &options, size).expect("a new image");
            }
        }
    }

    /// A new image of theirs over a backing file, in place of the one before.
    pub(crate) fn overlay(&self, options: &str, (below, format): (&str, &str), size: u64) {
        let (to, size) = (self.image.display().to_string(), size.to_string());
        let words = ["create", "-q", "-f", "qcow2", "-o", options, "-b", below, "-F", format];
        self.oracle.img_ok(words.into_iter().chain([&*to, &*size])).expect("an overlay");
    }

    /// Opens the image with options, changes it, and closes it.
    pub(crate) fn write_ours_with(&mut self, options: &OpenOptions, ops: &[Op]) {
        let image = options.open(&self.image).expect("opened for writing");
        for op in ops {
            op.apply(&image).unwrap_or_else(|e| panic!("{op:?}: {e}"));
            op.model(&mut self.disk, self.cluster);
        }
        let mut back = vec![0; self.disk.len()];
        image.read_at(0, &mut back).expect("read");
        assert_same(&back, &self.disk, "ours, while open");
        image.close().expect("closed");
    }

    pub(crate) fn write_ours(&mut self, ops: &[Op]) {
        self.write_ours_with(&OpenOptions::new(), ops);
    }

    pub(crate) fn write_qemu(&mut self, ops: &[Op]) {
        self.qemu_io(&[], &ops.iter().map(|op| op.command()).collect::<Vec<_>>());
        for op in ops {
            op.model(&mut self.disk, self.cluster);
        }
    }

    /// Runs `qemu-io` commands on the image, discards passed on; all must succeed.
    pub(crate) fn qemu_io(&self, args: &[&str], commands: &[String]) -> String {
        let mut run = Command::new(self.oracle.qemu_io());
        run.args(["-f", "qcow2", "-d", "unmap"]).args(args).stdin(Stdio::null());
        for command in commands {
            run.args(["-c", command]);
        }
        let output = run.arg(&self.image).output().expect("qemu-io starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty() && !text.contains("failed"),
            "{run:?}: {text}{said}"
        );
        text
    }

    /// The disk as `qemu-img` reads it, from the image or one of its snapshots.
    pub(crate) fn read_qemu(&self, snapshot: Option<&str>) -> Vec<u8> {
        let raw = self.dir.file("a.raw");
        let mut args = vec!["convert", "-f", "qcow2", "-O", "raw", "-t", "unsafe"];
        if let Some(name) = snapshot {
            args.extend(["-l", name]);
        }
        let (image, to) = (self.image.display().to_string(), raw.display().to_string());
        args.extend([image.as_str(), to.as_str()]);
        self.oracle.img_ok(&args).expect("converted");
        let bytes = std::fs::read(&raw).expect("the copy");
        std::fs::remove_file(&raw).expect("removed");
        bytes
    }

    /// Both checks find nothing, and both sides read what should be there.
    pub(crate) fn judge(&self, what: &str) {
        self.judge_structure(what);
        let image = OpenOptions::new().open_read_only(&self.image).expect("opened for reading");
        let mut back = vec![0; self.disk.len()];
        image.read_at(0, &mut back).unwrap_or_else(|e| panic!("{what}: {e}"));
        drop(image);
        assert_same(&back, &self.disk, &format!("{what}: ours"));
        assert_same(&self.read_qemu(None), &self.disk, &format!("{what}: theirs"));
    }

    /// Both checks find nothing.
    pub(crate) fn judge_structure(&self, what: &str) {
        let (verdict, text) = self.oracle.check(&self.image).expect("checked");
        assert_eq!(verdict, Verdict::Clean, "{what}: {text}");
        judge_file(&self.image, what);
    }
}

/// Our check finds nothing.
pub(crate) fn judge_file(image: &Path, what: &str) {
    let bytes = std::fs::read(image).expect("the image");
    let report = check(&MemStorage::from_bytes(&bytes), &CheckOptions::default(), &mut |_| {})
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.is_clean(), "{what}: {:?}", report.findings);
}

/// Bytes are equal; the first that is not is named.
pub(crate) fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        panic!("{what}: byte {at:#x} is {:#x}, not {:#x}", found[at], expected[at]);
    }
}
