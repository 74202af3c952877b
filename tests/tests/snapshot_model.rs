//! Snapshots of images against vectors of bytes, in many shapes of image.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use holstein::check::{CheckOptions, check};
use holstein::format::{RefcountOrder, Version};
use holstein::{
    CreateOptions, ErrorKind, Image, NewSnapshot, NoProgress, OpenOptions, OverlapCheck,
    Preallocation, SnapshotReader, SnapshotSelector,
};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::Rng;
use holstein_units::HostOffset;

/// A snapshot as it should be.
struct Kept {
    id: u64,
    disk: Vec<u8>,
    state: Vec<u8>,
    reader: Option<SnapshotReader>,
}

struct Run {
    rng: Rng,
    what: String,
    storage: Arc<MemStorage>,
    options: OpenOptions,
    image: Option<Image>,
    version: Version,
    cluster: u64,
    width: u32,
    disk: Vec<u8>,
    state: Vec<u8>,
    kept: Vec<Kept>,
    /// Snapshots that the width of the counters did not allow.
    refused: usize,
}

impl Run {
    fn new(seed: u64, bits: u32, version: Version, width: u32, extended: bool) -> Self {
        let mut rng = Rng::new(seed);
        let cluster = 1_u64 << bits;
        let size = (8 + rng.below(200)) * cluster.min(8192) / 512 * 512;
        let storage = Arc::new(MemStorage::new());
        let image = CreateOptions::new(size)
            .version(version)
            .cluster_size(cluster)
            .refcount_bits(width)
            .extended_l2(extended)
            .create_on(Arc::<MemStorage>::clone(&storage))
            .expect("an image");
        image.close().expect("closed");
        let mut options = OpenOptions::new();
        if seed.is_multiple_of(3) {
            options = options.l2_cache_size(1024).l2_cache_entry_size(512).refcount_cache_size(1);
        }
        if seed.is_multiple_of(2) {
            options = options.overlap_check(OverlapCheck::ALL);
        }
        let mut run = Self {
            rng,
            what: format!("seed {seed}, {bits} bits, {version:?}, width {width}"),
            storage,
            options,
            image: None,
            version,
            cluster,
            width,
            disk: vec![0; usize::try_from(size).expect("small")],
            state: Vec::new(),
            kept: Vec::new(),
            refused: 0,
        };
        run.open();
        run
    }

    fn open(&mut self) {
        let storage = Arc::<MemStorage>::clone(&self.storage);
        self.image = Some(self.options.open_storage(storage).expect("it opens"));
    }

    fn image(&self) -> &Image {
        self.image.as_ref().expect("an image is open")
    }

    fn range(&mut self) -> (usize, usize) {
        let size = self.disk.len() as u64;
        let at = self.rng.below(size);
        let end = (at + 1 + self.rng.below(self.cluster.max(4096) * 3)).min(size);
        let (at, end) = match self.rng.below(2) {
            0 => (at, end),
            _ => (at / self.cluster * self.cluster, end),
        };
        (usize::try_from(at).expect("small"), usize::try_from(end).expect("small"))
    }

    fn step(&mut self, n: usize) {
        let (at, end) = self.range();
        match self.rng.below(30) {
            0..=10 => {
                let byte = 1 + u8::try_from(self.rng.below(255)).expect("a byte");
                self.disk[at..end].fill(byte);
                self.image().write_at(at as u64, &self.disk[at..end]).expect("written");
            }
            11..=13 => {
                let unmap = self.rng.below(2) == 0;
                self.disk[at..end].fill(0);
                let len = (end - at) as u64;
                self.image().write_zeroes(at as u64, len, unmap).expect("zeroed");
            }
            14..=15 => {
                let cluster = usize::try_from(self.cluster).expect("small");
                let from = at.next_multiple_of(cluster);
                let to = if end == self.disk.len() { end } else { end / cluster * cluster };
                if from < to {
                    self.disk[from..to].fill(0);
                }
                self.image().discard(at as u64, (end - at) as u64).expect("discarded");
            }
            16..=17 => self.compress(at),
            18..=21 => self.create(n),
            22..=23 => self.apply(),
            24..=25 => self.delete(),
            26 => self.read_one(),
            27 => self.write_state(),
            28 => self.grow(),
            _ => self.reopen(),
        }
    }

    fn compress(&mut self, at: usize) {
        let cluster = usize::try_from(self.cluster).expect("small");
        let at = at / cluster * cluster;
        let end = (at + cluster).min(self.disk.len());
        if end - at < cluster && end != self.disk.len() {
            return;
        }
        let bytes: Vec<u8> = (at..end).map(|n| (n / 97 % 251) as u8).collect();
        match self.image().write_compressed_at(at as u64, &bytes) {
            Ok(()) => self.disk[at..end].copy_from_slice(&bytes),
            // Clusters that are taken are for the guest to overwrite.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{}: {error}", self.what)
            }
        }
    }

    fn create(&mut self, n: usize) {
        let new = NewSnapshot {
            name: format!("s{n}").into_bytes(),
            date: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5),
            vm_clock_nsec: n as u64,
            vm_state_size: self.state.len() as u64,
            icount: None,
        };
        if self.width <= 2 {
            // Nothing waits to be written, so that anything that is can be seen.
            self.reopen();
        }
        let before = bytes(&self.storage);
        let result = self.image().create_snapshot_with(&new, &mut NoProgress);
        if self.width <= 2 && result.is_err() {
            self.refused += 1;
            let error = result.expect_err("it was refused");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{}: {error}", self.what);
            assert!(before == bytes(&self.storage), "{}: refused, and written", self.what);
            return;
        }
        let record = result.unwrap_or_else(|e| panic!("{}, step {n}: {e}", self.what));
        assert_eq!(record.vm_state_size(), self.state.len() as u64);
        assert_eq!(record.disk_size(), Some(self.disk.len() as u64));
        let id = String::from_utf8(record.id).expect("digits").parse().expect("a number");
        let expected = self.kept.iter().map(|kept| kept.id).max().unwrap_or(0) + 1;
        assert_eq!(id, expected, "{}", self.what);
        let state = std::mem::take(&mut self.state);
        self.kept.push(Kept { id, disk: self.disk.clone(), state, reader: None });
        self.judge(&format!("step {n}, created {id}"));
    }

    fn pick(&mut self) -> Option<usize> {
        let count = self.kept.len() as u64;
        (count > 0).then(|| usize::try_from(self.rng.below(count)).expect("small"))
    }

    fn apply(&mut self) {
        let Some(n) = self.pick() else { return };
        let id = self.kept[n].id.to_string();
        let result = self.image().apply_snapshot(SnapshotSelector::Id(id.as_bytes()));
        match result {
            Ok(()) => {
                self.disk = self.kept[n].disk.clone();
                self.state = self.kept[n].state.clone();
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                assert!(self.width <= 2, "{}: {error}", self.what);
            }
            Err(error) => {
                let other_size = self.kept[n].disk.len() != self.disk.len();
                assert!(other_size && self.version == Version::V2, "{}: {error}", self.what);
            }
        }
        self.judge(&format!("applied {id}"));
    }

    fn delete(&mut self) {
        let Some(n) = self.pick() else { return };
        let id = self.kept[n].id.to_string();
        if self.kept[n].reader.is_some() {
            let busy = self.image().delete_snapshot(SnapshotSelector::Id(id.as_bytes()));
            assert_eq!(busy.expect_err("it is being read").kind(), ErrorKind::Busy);
            self.kept[n].reader = None;
        }
        let result = self.image().delete_snapshot(SnapshotSelector::Id(id.as_bytes()));
        result.unwrap_or_else(|e| panic!("{}: delete {id}: {e}", self.what));
        self.kept.remove(n);
        self.judge(&format!("deleted {id}"));
    }

    fn read_one(&mut self) {
        let Some(n) = self.pick() else { return };
        let id = self.kept[n].id.to_string();
        let reader = self.image().snapshot_reader(SnapshotSelector::Id(id.as_bytes()));
        self.kept[n].reader = Some(reader.expect("it opens"));
    }

    fn write_state(&mut self) {
        let len = usize::try_from(1 + self.rng.below(3 * self.cluster)).expect("small");
        let byte = 1 + u8::try_from(self.rng.below(255)).expect("a byte");
        self.state = vec![byte; len];
        self.image().write_vm_state(0, &self.state).expect("written");
    }

    fn grow(&mut self) {
        if self.version == Version::V2 && !self.kept.is_empty() || self.disk.len() > 4 << 20 {
            return;
        }
        let size = self.disk.len() + 512 * usize::try_from(1 + self.rng.below(64)).expect("small");
        self.image().resize(size as u64, Preallocation::Off).expect("grown");
        self.disk.resize(size, 0);
        // It lies elsewhere now, and nobody relies on it.
        self.state.clear();
    }

    fn reopen(&mut self) {
        self.kept.iter_mut().for_each(|kept| kept.reader = None);
        self.image.take().expect("an image is open").close().expect("closed");
        let report = check(&*self.storage, &CheckOptions::default(), &mut |_| {}).expect("judged");
        assert_eq!(
            (report.corruptions, report.leaks),
            (0, 0),
            "{}: {:?}",
            self.what,
            report.findings
        );
        self.open();
    }

    fn judge(&self, when: &str) {
        let what = &self.what;
        let report = check(&*self.storage, &CheckOptions::default(), &mut |_| {}).expect("judged");
        assert_eq!(report.corruptions, 0, "{what}, {when}: {:?}", report.findings);
        self.compare(when);
    }

    fn compare(&self, when: &str) {
        let what = &self.what;
        let image = self.image();
        assert_eq!(image.virtual_size(), self.disk.len() as u64, "{what}, {when}");
        let mut found = vec![0; self.disk.len()];
        image.read_at(0, &mut found).expect("read");
        assert!(found == self.disk, "{what}, {when}: the disk differs");
        let listed = image.snapshots().expect("listed");
        assert_eq!(listed.len(), self.kept.len(), "{what}, {when}");
        for (record, kept) in listed.iter().zip(&self.kept) {
            assert_eq!(record.id, kept.id.to_string().into_bytes());
            let fresh;
            let reader = match &kept.reader {
                Some(reader) => reader,
                None => {
                    let selector = SnapshotSelector::Id(&record.id);
                    fresh = image.snapshot_reader(selector).expect("it opens");
                    &fresh
                }
            };
            assert_eq!(reader.virtual_size(), kept.disk.len() as u64);
            let mut found = vec![0; kept.disk.len()];
            reader.read_at(0, &mut found).expect("read");
            assert!(found == kept.disk, "{what}, {when}: snapshot {} differs", kept.id);
            let mut state = vec![0; kept.state.len()];
            reader.read_vm_state(0, &mut state).expect("read");
            assert!(state == kept.state, "{what}, {when}: state of {} differs", kept.id);
        }
    }
}

/// All of a file.
fn bytes(storage: &MemStorage) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.len().expect("known")).expect("small")];
    storage.read_at(HostOffset::new(0), &mut bytes).expect("memory reads");
    bytes
}

fn sequences(seeds: std::ops::Range<u64>, bits: u32, version: Version, width: u32) -> usize {
    let mut refused = 0;
    for seed in seeds {
        // Clusters of this size are large enough to have subclusters.
        let extended = bits == 16 && seed.is_multiple_of(2);
        let mut run = Run::new(seed, bits, version, width, extended);
        for n in 0..60 {
            run.step(n);
        }
        run.compare("at the end");
        run.reopen();
        run.compare("reopened");
        refused += run.refused;
    }
    refused
}

#[test]
fn snapshots_read_as_they_were_whatever_happens_to_the_disk() {
    assert!(RefcountOrder::from_bits(16).is_some());
    for (bits, version, width) in [
        (9, Version::V3, 16),
        (9, Version::V2, 16),
        (9, Version::V3, 64),
        (12, Version::V3, 16),
        (12, Version::V3, 8),
        (12, Version::V2, 16),
        (16, Version::V3, 16),
        (16, Version::V3, 4),
    ] {
        assert_eq!(sequences(0..8, bits, version, width), 0);
    }
}

#[test]
fn narrow_counters_refuse_one_snapshot_too_many_and_change_nothing() {
    for bits in [9, 12, 16] {
        for width in [1, 2] {
            assert!(sequences(100..106, bits, Version::V3, width) > 0);
        }
    }
}
