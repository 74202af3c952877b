//! Images made by hand, and the real `qemu-img check` to compare with.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use holstein_check::{CheckError, CheckOptions, Report, check};
use holstein_format::{
    COPIED, CompressedRun, DecodePurpose, Header, RefcountOrder, SnapshotRecord, Version,
};
use holstein_storage::{MemStorage, Storage};
use holstein_units::{ClusterBits, Geometry, HostOffset};

/// An image under construction: clusters are handed out one after the other, and refcounts follow
/// from how often each was referenced.
pub struct Builder {
    pub header: Header,
    pub bytes: Vec<u8>,
    pub references: BTreeMap<u64, u64>,
    l1: u64,
}

impl Builder {
    pub fn new(bits: u32, version: Version, extended: bool, order: u32, size: u64) -> Self {
        let bits = ClusterBits::new(bits).expect("a cluster size");
        let geometry = Geometry::new(bits, extended);
        let mut header = Header::new(version, geometry, size);
        header.refcount_order = RefcountOrder::new(order).expect("an order");
        let mut builder = Self { header, bytes: Vec::new(), references: BTreeMap::new(), l1: 0 };
        builder.allocate(1);
        let entries = geometry.l1_entries_for(size);
        builder.l1 = builder.allocate(geometry.clusters_for(entries * 8));
        builder.header.l1_size = u32::try_from(entries).expect("few");
        builder.header.l1_table_offset = HostOffset::new(builder.l1);
        builder
    }

    pub fn cluster_size(&self) -> u64 {
        self.header.geometry.cluster_size()
    }

    /// Appends clusters, each referenced once, and returns the offset of the first.
    pub fn allocate(&mut self, clusters: u64) -> u64 {
        let size = self.cluster_size();
        let at = (self.bytes.len() as u64).next_multiple_of(size);
        self.bytes.resize(usize::try_from(at + clusters * size).expect("small"), 0);
        for cluster in at / size..at / size + clusters {
            self.refer(cluster, 1);
        }
        at
    }

    pub fn refer(&mut self, cluster: u64, times: u64) {
        *self.references.entry(cluster).or_default() += times;
    }

    pub fn put(&mut self, at: u64, value: u64) {
        let at = usize::try_from(at).expect("small");
        self.bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
    }

    pub fn get(&self, at: u64) -> u64 {
        get(&self.bytes, at)
    }

    pub fn l1(&self) -> u64 {
        self.l1
    }

    /// The L2 table of a guest cluster; made if it is not there.
    pub fn l2_of(&mut self, guest: u64) -> u64 {
        let slot = self.l1 + guest / self.header.geometry.l2_entries() * 8;
        match self.get(slot) & !COPIED {
            0 => {
                let at = self.allocate(1);
                self.put(slot, at | COPIED);
                at
            }
            at => at,
        }
    }

    /// Where the L2 entry of a guest cluster is.
    pub fn entry_of(&mut self, guest: u64) -> u64 {
        let geometry = self.header.geometry;
        self.l2_of(guest) + guest % geometry.l2_entries() * geometry.l2_entry_size()
    }

    pub fn set_entry(&mut self, guest: u64, raw: u64) {
        let at = self.entry_of(guest);
        self.put(at, raw);
    }

    /// A data cluster, all of whose subclusters have data.
    pub fn data(&mut self, guest: u64) -> u64 {
        let entry = self.entry_of(guest);
        let at = self.allocate(1);
        self.put(entry, at | COPIED);
        if self.header.geometry.extended_l2() {
            self.put(entry + 8, 0xffff_ffff);
        }
        at
    }

    /// Compressed clusters side by side, from `start` on, of `bytes` each.
    pub fn compressed(&mut self, guest: u64, start: u64, bytes: u64) {
        let run = CompressedRun::for_stream(HostOffset::new(start), bytes);
        let bits = self.header.geometry.cluster_bits();
        self.set_entry(guest, run.encode(bits).expect("near"));
        let size = self.cluster_size();
        for cluster in start / size..=(start + run.len() - 1) / size {
            self.refer(cluster, 1);
        }
    }

    /// A snapshot table with one record for each L1 table.
    pub fn snapshots(&mut self, l1_tables: &[(u64, u32)]) -> u64 {
        let mut table = Vec::new();
        for (number, (at, size)) in (1_u32..).zip(l1_tables) {
            table.resize(table.len().next_multiple_of(8), 0);
            let record = SnapshotRecord {
                l1_table_offset: HostOffset::new(*at),
                l1_size: *size,
                id: number.to_string().into(),
                name: format!("s{number}").into(),
                date_sec: 0,
                date_nsec: 0,
                vm_clock_nsec: 0,
                vm_state_size_32: 0,
                extra: SnapshotRecord::extra_data(0, self.header.size, 0),
            };
            table.extend(record.encode().expect("short"));
        }
        let clusters = self.header.geometry.clusters_for(table.len() as u64);
        let at = self.allocate(clusters);
        let start = usize::try_from(at).expect("small");
        self.bytes[start..start + table.len()].copy_from_slice(&table);
        self.header.snapshots_offset = HostOffset::new(at);
        self.header.nb_snapshots = u32::try_from(l1_tables.len()).expect("few");
        at
    }

    /// Writes refcount structures and the header.
    pub fn finish(mut self) -> Image {
        let order = self.header.refcount_order;
        let bits = self.header.geometry.cluster_bits();
        let per_block = order.counters_per_block(bits);
        let size = self.cluster_size();
        let so_far = self.bytes.len() as u64 / size;
        let mut blocks = 1;
        while (so_far + blocks + 1 + blocks * 8 / size).div_ceil(per_block) > blocks {
            blocks += 1;
        }
        let table_clusters = (blocks * 8).div_ceil(size);
        let table = self.allocate(table_clusters);
        let first_block = self.allocate(blocks);
        for index in 0..blocks {
            self.put(table + index * 8, first_block + index * size);
        }
        let references = self.references.clone();
        for (cluster, count) in references {
            let start = usize::try_from(first_block + cluster / per_block * size).expect("small");
            let end = start + usize::try_from(size).expect("small");
            assert!(order.write(&mut self.bytes[start..end], cluster % per_block, count));
        }
        self.header.refcount_table_offset = HostOffset::new(table);
        self.header.refcount_table_clusters = u32::try_from(table_clusters).expect("few");
        let header = self.header.encode().expect("fits");
        self.bytes[..header.len()].copy_from_slice(&header);
        Image { bytes: self.bytes }
    }
}

fn get(bytes: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).expect("small");
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// The bytes of an image, to be spoilt.
#[derive(Clone)]
pub struct Image {
    pub bytes: Vec<u8>,
}

impl Image {
    pub fn header(&self) -> Header {
        let length = self.bytes.len() as u64;
        Header::decode(&self.bytes, length, DecodePurpose::Check).expect("an honest header")
    }

    pub fn get(&self, at: u64) -> u64 {
        get(&self.bytes, at)
    }

    pub fn put(&mut self, at: u64, value: u64) {
        self.put_bytes(at, &value.to_be_bytes());
    }

    pub fn put_bytes(&mut self, at: u64, value: &[u8]) {
        let at = usize::try_from(at).expect("small");
        if self.bytes.len() < at + value.len() {
            self.bytes.resize(at + value.len(), 0);
        }
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    pub fn refcount_table(&self) -> u64 {
        self.get(48)
    }

    /// Where the first L2 table is.
    pub fn l2(&self) -> u64 {
        self.get(self.get(40)) & 0x00ff_ffff_ffff_fe00
    }

    pub fn set_refcount(&mut self, cluster: u64, value: u64) {
        let header = self.header();
        let order = header.refcount_order;
        let bits = header.geometry.cluster_bits();
        let per_block = order.counters_per_block(bits);
        let block = self.get(self.refcount_table() + cluster / per_block * 8);
        let start = usize::try_from(block).expect("small");
        let end = start + usize::try_from(bits.size()).expect("small");
        assert!(order.write(&mut self.bytes[start..end], cluster % per_block, value));
    }

    pub fn check(&self) -> Result<Report, CheckError> {
        self.check_with(&CheckOptions::default())
    }

    pub fn check_with(&self, options: &CheckOptions) -> Result<Report, CheckError> {
        let storage = MemStorage::new();
        storage.write_at(HostOffset::new(0), &self.bytes).expect("memory takes it");
        check(&storage, options, &mut |_| {})
    }
}

/// The lines that a report prints.
pub fn lines(report: &Report) -> Vec<String> {
    report
        .findings
        .iter()
        .flat_map(|f| f.to_string().lines().map(String::from).collect::<Vec<_>>())
        .collect()
}

/// A folder that goes away with its value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("holstein-check-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the folder of temporary files is writable");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether the real tools are there; says so if not.
pub fn have_qemu() -> bool {
    let found =
        Command::new("qemu-img").arg("--version").output().is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("skipped: qemu-img not found");
    }
    found
}

/// What `qemu-img check` says about a file.
pub struct Verdict {
    pub exit: i32,
    pub lines: Vec<String>,
    pub json: String,
}

impl Verdict {
    /// A number of the JSON output; 0 where it is left out.
    pub fn number(&self, key: &str) -> u64 {
        let key = format!("\"{key}\": ");
        let Some(at) = self.json.find(&key) else { return 0 };
        let digits: String =
            self.json[at + key.len()..].chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    }
}

pub fn qemu_check(path: &Path) -> Verdict {
    verdict(Command::new("qemu-img").args(["check", "-f", "qcow2", "--output=json"]).arg(path))
}

/// As `qemu_check`, for an image that is opened with options.
pub fn qemu_check_options(options: &str) -> Verdict {
    verdict(Command::new("qemu-img").args(["check", "--image-opts", "--output=json", options]))
}

fn verdict(command: &mut Command) -> Verdict {
    let output = command.output().expect("qemu-img runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines = text
        .lines()
        // The driver's own complaint is no finding.
        .filter(|line| {
            !line.is_empty() && !line.starts_with("qcow2: ") && *line != "qemu-img: Check failed"
        })
        .map(String::from)
        .collect();
    let json = String::from_utf8_lossy(&output.stdout).into_owned();
    Verdict { exit: output.status.code().unwrap_or(-1), lines, json }
}

/// Compares report and verdict, line by line and number by number.
pub fn compare(name: &str, report: &Report, verdict: &Verdict) {
    let ours = lines(report);
    for (number, (our, their)) in ours.iter().zip(&verdict.lines).enumerate() {
        assert_eq!(our, their, "{name}: line {number}");
    }
    if report.findings_dropped == 0 {
        let (ours, theirs) = (ours.len(), verdict.lines.len());
        assert_eq!(ours, theirs, "{name}: {:?}", verdict.lines.get(ours..));
    }
    let exit = match report {
        r if r.check_errors > 0 => 1,
        r if r.corruptions > 0 => 2,
        r if r.leaks > 0 => 3,
        _ => 0,
    };
    assert_eq!(exit, verdict.exit, "{name}");
    for (key, value) in [
        ("corruptions", report.corruptions),
        ("leaks", report.leaks),
        ("check-errors", report.check_errors),
        ("image-end-offset", report.image_end_offset),
        ("total-clusters", report.total_clusters),
        ("allocated-clusters", report.allocated_clusters),
        ("fragmented-clusters", report.fragmented_clusters),
        ("compressed-clusters", report.compressed_clusters),
    ] {
        assert_eq!(value, verdict.number(key), "{name}: {key}");
    }
}
