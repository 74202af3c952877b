//! Many threads on one image: every sector has an owner who knows what it holds, clusters are
//! shared, caches are tiny, and the storage gives way to other threads in the middle of things.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use holstein::check::{CheckOptions, check};
use holstein::format::Version;
use holstein::{CreateOptions, Image, OpenOptions};
use holstein_storage::{Capabilities, MemStorage, Storage};
use holstein_testkit::{Pattern, Rng};
use holstein_units::{HostOffset, HostRange};

const SECTOR: u64 = 512;
const THREADS: u64 = 4;

/// Memory that lets other threads run before and after each call, now and then for longer.
#[derive(Debug, Default)]
struct Yielding {
    inner: MemStorage,
    calls: AtomicU64,
    /// Reads wait long before they look, so that what they were told may be old by then.
    slow_reads: bool,
}

impl Yielding {
    fn pause(&self) {
        let n = self.calls.fetch_add(1, Ordering::Relaxed);
        match n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58 {
            0 => std::thread::sleep(std::time::Duration::from_micros(100)),
            1..8 => std::thread::yield_now(),
            _ => {}
        }
    }

    fn around<T>(&self, call: impl FnOnce(&MemStorage) -> T) -> T {
        self.pause();
        let result = call(&self.inner);
        self.pause();
        result
    }
}

impl Storage for Yielding {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if self.slow_reads && self.calls.load(Ordering::Relaxed).is_multiple_of(4) {
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        self.around(|s| s.read_vectored_at(at, into))
    }
    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        self.around(|s| s.write_vectored_at(at, from))
    }
    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.around(|s| s.write_zeroes(range))
    }
    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.around(|s| s.discard(range))
    }
    fn flush(&self) -> io::Result<()> {
        self.around(MemStorage::flush)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.around(|s| s.set_len(len))
    }
    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.around(|s| s.allocate(range))
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// A run of threads on one image.
#[derive(Clone, Debug)]
struct Setup {
    version: Version,
    cluster: u64,
    width: u32,
    size: u64,
    /// Bytes of L2 cache and of a slice; 0 for the defaults.
    l2: (u64, u64),
    /// Freed clusters are punched out of the file.
    punch: bool,
    /// Whole clusters are given up and written again all the time, and reads are slow.
    churn: bool,
    steps: u64,
    seed: u64,
}

/// What each sector holds, by number: the write that it is from, 0 for zeros. Only its owner looks.
struct Owned<'a> {
    image: &'a Image,
    setup: &'a Setup,
    thread: u64,
    sectors: Vec<u64>,
    next: u64,
    rng: Rng,
}

impl Owned<'_> {
    /// The first half of the disk is dealt out by sectors, so that all share all clusters; the
    /// second by groups of clusters.
    fn owner(setup: &Setup, sector: u64) -> u64 {
        let sectors = setup.size / SECTOR;
        if sector < sectors / 2 {
            sector % THREADS
        } else {
            sector * SECTOR / (setup.cluster * 3) % THREADS
        }
    }

    /// A run of sectors of this thread that begins somewhere.
    fn run(&mut self) -> (u64, u64) {
        let sectors = self.setup.size / SECTOR;
        loop {
            let start = self.rng.below(sectors);
            let mine = |s: u64| s < sectors && Self::owner(self.setup, s) == self.thread;
            if mine(start) {
                let most = 1 + self.rng.below(3 * self.setup.cluster / SECTOR);
                let len = (start..start + most).take_while(|s| mine(*s)).count() as u64;
                return (start, len);
            }
        }
    }

    fn verify(&self, start: u64, len: u64) {
        let mut bytes = vec![0xff; (len * SECTOR) as usize];
        self.image.read_at(start * SECTOR, &mut bytes).expect("read");
        for (sector, found) in (start..).zip(bytes.chunks_exact(512)) {
            let id = self.sectors[sector as usize];
            let mut expected = [0; 512];
            if id != 0 {
                Pattern::new(id).fill(sector * SECTOR, &mut expected);
            }
            assert!(
                found == expected,
                "{:?} thread {}: sector {sector} is {:?}, not of write {id}",
                self.setup,
                self.thread,
                Pattern::identify(found)
            );
        }
    }

    fn step(&mut self) {
        let (mut start, mut len) = self.run();
        let per = self.setup.cluster / SECTOR;
        let mut what = self.rng.below(16);
        if self.setup.churn && start >= self.setup.size / SECTOR / 2 {
            // One whole cluster, written or given up in turn.
            (start, len) = (start / per * per, per);
            what = if self.sectors[start as usize] == 0 { 0 } else { 8 + self.rng.below(4) };
        }
        let all = start as usize..(start + len) as usize;
        let (at, bytes) = (start * SECTOR, len * SECTOR);
        match what {
            0..8 => {
                self.next += THREADS;
                let data = Pattern::new(self.next).bytes(at, bytes as usize);
                if self.rng.coin() {
                    self.image.write_at(at, &data).expect("written");
                } else {
                    let (a, b) = data.split_at(data.len() / 3);
                    let parts = [IoSlice::new(a), IoSlice::new(b)];
                    self.image.write_vectored_at(at, &parts).expect("written");
                }
                self.sectors[all].fill(self.next);
            }
            8 | 9 => {
                let unmap = self.rng.coin();
                self.image.write_zeroes(at, bytes, unmap).expect("zeroed");
                self.sectors[all].fill(0);
            }
            10 | 11 => {
                self.image.discard(at, bytes).expect("discarded");
                let (first, end) = (start.next_multiple_of(per), (start + len) / per * per);
                if first < end {
                    self.sectors[first as usize..end as usize].fill(0);
                }
            }
            12 if self.rng.below(4) == 0 => self.image.flush().expect("flushed"),
            _ => self.verify(start, len),
        }
    }

    fn verify_all(&self) {
        for sector in 0..self.setup.size / SECTOR {
            if Self::owner(self.setup, sector) == self.thread {
                self.verify(sector, 1);
            }
        }
    }
}

/// Reads anything: a sector is zeros or whole, and never another sector's.
fn watch(image: &Image, setup: &Setup, seed: u64, stop: &AtomicBool) -> u64 {
    let mut rng = Rng::new(seed);
    let sectors = setup.size / SECTOR;
    let mut seen = 0;
    while !stop.load(Ordering::Relaxed) {
        let start = rng.below(sectors);
        let len = (1 + rng.below(4 * setup.cluster / SECTOR)).min(sectors - start);
        let mut bytes = vec![0xff; (len * SECTOR) as usize];
        if rng.coin() {
            image.read_at(start * SECTOR, &mut bytes).expect("read");
        } else {
            let (a, b) = bytes.split_at_mut((len * SECTOR / 3) as usize);
            let mut parts = [IoSliceMut::new(a), IoSliceMut::new(b)];
            image.read_vectored_at(start * SECTOR, &mut parts).expect("read");
        }
        for (sector, found) in (start..).zip(bytes.chunks_exact(512)) {
            match Pattern::identify(found) {
                None => assert!(found.iter().all(|&b| b == 0), "sector {sector} is of no write"),
                Some((id, of)) => {
                    assert_eq!(of, sector, "{setup:?}: foreign data of write {id}");
                    let whole = Pattern::new(id).bytes(sector * SECTOR, 512);
                    assert!(found == whole, "sector {sector} is of two writes");
                    assert_eq!(id % THREADS, Owned::owner(setup, sector), "written by its owner");
                    seen += 1;
                }
            }
        }
    }
    seen
}

fn run(setup: &Setup) {
    let storage = Arc::new(Yielding { slow_reads: setup.churn, ..Yielding::default() });
    CreateOptions::new(setup.size)
        .version(setup.version)
        .cluster_size(setup.cluster)
        .refcount_bits(setup.width)
        .create_on(Arc::<Yielding>::clone(&storage))
        .expect("created")
        .close()
        .expect("closed");
    let mut options = OpenOptions::new().pass_discard_request(setup.punch);
    if setup.l2.0 != 0 {
        options = options.l2_cache_size(setup.l2.0).l2_cache_entry_size(setup.l2.1);
    }
    let image = options.open_storage(Arc::<Yielding>::clone(&storage)).expect("opened");
    let stop = AtomicBool::new(false);
    let known: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let watchers: Vec<_> = (0..2)
            .map(|n| {
                let (image, stop) = (&image, &stop);
                scope.spawn(move || watch(image, setup, setup.seed * 100 + 50 + n, stop))
            })
            .collect();
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let image = &image;
                scope.spawn(move || {
                    let mut owned = Owned {
                        image,
                        setup,
                        thread,
                        sectors: vec![0; (setup.size / SECTOR) as usize],
                        next: thread + THREADS,
                        rng: Rng::new(setup.seed * 100 + thread),
                    };
                    for _ in 0..setup.steps {
                        owned.step();
                    }
                    owned.verify_all();
                    owned.sectors
                })
            })
            .collect();
        let known = writers.into_iter().map(|w| w.join()).collect::<Vec<_>>();
        stop.store(true, Ordering::Relaxed);
        let seen: u64 = watchers.into_iter().map(|w| w.join().expect("no reader panics")).sum();
        assert!(seen > 0, "the readers saw data");
        known.into_iter().map(|k| k.expect("no writer panics")).collect()
    });
    image.close().expect("closed");
    let report = check(&*storage, &CheckOptions::default(), &mut |_| {}).expect("checked");
    assert!(report.is_clean(), "{setup:?}: {:?}", report.findings);
    let image =
        OpenOptions::new().open_storage(Arc::<Yielding>::clone(&storage)).expect("opened again");
    for (thread, sectors) in (0..).zip(known) {
        let owned = Owned { image: &image, setup, thread, sectors, next: 0, rng: Rng::new(0) };
        owned.verify_all();
    }
}

fn base(seed: u64) -> Setup {
    Setup {
        version: Version::V3,
        cluster: 4096,
        width: 16,
        size: 1 << 20,
        l2: (0, 0),
        punch: false,
        churn: false,
        steps: 1500,
        seed,
    }
}

#[test]
fn shared_clusters_with_the_default_caches() {
    for seed in 0..2 {
        run(&base(seed));
        run(&Setup { version: Version::V2, ..base(10 + seed) });
    }
}

#[test]
fn discarded_clusters_are_reused_under_slow_readers() {
    for (seed, punch) in [(50, false), (51, true)] {
        run(&Setup { churn: true, punch, size: 48 * 4096, ..base(seed) });
    }
}

#[test]
fn two_slices_of_512_bytes_for_many_tables() {
    for seed in 20..22 {
        run(&Setup { l2: (1024, 512), size: 4 << 20, ..base(seed) });
        run(&Setup { l2: (1024, 512), punch: true, ..base(seed + 5) });
    }
}

#[test]
fn tiny_clusters_with_wide_refcounts_and_few_blocks() {
    for (seed, width) in [(30, 64), (31, 1), (32, 8)] {
        let small = Setup { cluster: 512, width, size: 1 << 20, ..base(seed) };
        run(&Setup { l2: (1024, 512), ..small.clone() });
        run(&Setup { punch: true, ..small });
    }
}

#[test]
fn large_clusters_whose_sectors_many_threads_write() {
    for seed in 40..42 {
        run(&Setup { cluster: 65_536, size: 4 << 20, steps: 800, ..base(seed) });
        run(&Setup {
            cluster: 65_536,
            size: 4 << 20,
            steps: 800,
            punch: true,
            l2: (1024, 512),
            ..base(seed)
        });
    }
}
