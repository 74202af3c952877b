//! Hazards that lose data without any attacker: faults, races, reuse, locks, flushes that fail.

mod hazard;

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::Duration;

use hazard::{CLUSTER, Crafted, SIZE, report};
use holstein::format::{
    AutoclearFeatures, CompatibleFeatures, DecodePurpose, Header, HeaderExtension, Version,
};
use holstein::{CreateOptions, ErrorKind, Image, OpenOptions, Preallocation};
use holstein_storage::{
    Capabilities, FileOptions, FileStorage, LockMode, MemStorage, OpenError, Storage,
};
use holstein_testkit::{
    Entry, Fault, FaultError, FaultStorage, Held, IoKind, Lasting, Oracle, Partial,
    RecordingStorage, TempDir, Verdict,
};
use holstein_units::{HostOffset, HostRange};

type Faulty = FaultStorage<MemStorage>;

fn faulty(options: &CreateOptions) -> Arc<Faulty> {
    let storage = Arc::new(FaultStorage::new(MemStorage::new()));
    let image = options.create_on(Arc::<Faulty>::clone(&storage)).expect("created");
    image.close().expect("closed");
    storage
}

fn fault(after: u64, kinds: &[IoKind], error: FaultError, lasting: Lasting) -> Fault {
    Fault { after, kinds: kinds.to_vec(), error, lasting, partial: Partial::Half }
}

/// Runs `requests` with the n-th call failing, for every n, once and from there on; after each the
/// file has no errors, leaks at worst.
fn with_every_fault(
    what: &str,
    make: &dyn Fn() -> Arc<Faulty>,
    requests: &dyn Fn(&Image) -> Result<(), holstein::Error>,
) -> u64 {
    let mut points = 0;
    for lasting in [Lasting::Once, Lasting::FromThereOn] {
        for error in [FaultError::Eio, FaultError::Enospc] {
            for after in 0.. {
                let storage = make();
                let open = OpenOptions::new()
                    .open_storage(Arc::<Faulty>::clone(&storage))
                    .expect("nothing fails yet");
                storage.arm(fault(after, &IoKind::CHANGES, error, lasting));
                let result = requests(&open).and_then(|()| open.flush());
                let fired = storage.fired() > 0;
                let closed = open.close();
                let fired_at_close = storage.fired() > 0;
                storage.disarm();
                let found = report(&*storage);
                let errors = found.corruptions + found.check_errors;
                assert_eq!(errors, 0, "{what}, call {after}: {:?}", found.findings);
                if !fired {
                    result.unwrap_or_else(|e| panic!("{what}, call {after}: {e}"));
                }
                if !fired_at_close {
                    closed.expect("nothing failed");
                    assert_eq!(found.leaks, 0, "{what}: {:?}", found.findings);
                    break;
                }
                points += 1;
            }
        }
    }
    points
}

#[test]
fn h40_a_fault_while_a_refcount_block_is_made_leaves_no_block_uncounted() {
    // 64 counters in a block of 512 bytes: one write takes several blocks.
    let options = CreateOptions::new(1 << 20).cluster_size(512).refcount_bits(64);
    let points = with_every_fault("growing", &|| faulty(&options), &|open| {
        for at in [0, 64 << 10, 128 << 10] {
            open.write_at(at, &[7; 60 << 10])?;
        }
        Ok(())
    });
    assert!(points > 40, "{points} calls failed in turn");
}

#[test]
fn h41_a_fault_while_a_shared_table_is_copied_leaves_one_that_is_counted() {
    let Some(oracle) = Oracle::find_or_skip("h41", hazard_oracle()) else { return };
    let dir = TempDir::new("h41").expect("a scratch folder");
    let path = dir.file("a.qcow2");
    std::fs::write(&path, &Crafted::new().bytes).expect("written");
    let name = path.display().to_string();
    oracle.img_ok(["snapshot", "-c", "one", &name]).expect("a snapshot");
    let bytes = std::fs::read(&path).expect("read");
    let make = || Arc::new(FaultStorage::new(MemStorage::from_bytes(&bytes)));
    let points = with_every_fault("copying", &make, &|open| {
        open.write_at(100, &[7; 5000])?;
        open.discard(2 * CLUSTER, CLUSTER)?;
        open.write_at(600 * CLUSTER, &[8; 600])
    });
    assert!(points > 20, "{points} calls failed in turn");
    // What the snapshot holds is as it was after a fault in the middle.
    let storage = make();
    let open = OpenOptions::new().open_storage(Arc::<Faulty>::clone(&storage)).expect("opened");
    storage.arm(fault(1, &[IoKind::Write], FaultError::Eio, Lasting::Once));
    assert!(open.write_at(100, &[7; 5000]).is_err());
    storage.disarm();
    open.write_at(100, &[7; 5000]).expect("again");
    open.close().expect("closed");
    let image = storage.inner().to_bytes().expect("small");
    std::fs::write(&path, image).expect("written");
    let (verdict, text) = oracle.check(&path).expect("checked");
    assert_eq!(verdict, Verdict::Clean, "{text}");
    let raw = dir.file("a.raw").display().to_string();
    oracle.img_ok(["convert", "-l", "one", "-O", "raw", &name, &raw]).expect("converted");
    let mut disk = vec![0; SIZE as usize];
    Crafted::new().open_read_only().expect("fine").read_at(0, &mut disk).expect("read");
    assert!(std::fs::read(&raw).expect("read") == disk);
}

fn hazard_oracle() -> holstein_testkit::Version {
    holstein_testkit::Version { major: 10, minor: 0, patch: 0 }
}

/// Memory whose payload writes wait at a gate while it is shut.
#[derive(Debug, Default)]
struct Gated {
    inner: MemStorage,
    shut: Mutex<bool>,
    waiting: AtomicBool,
    opened: Condvar,
}

impl Gated {
    fn shut(&self) {
        *self.shut.lock().expect("no panic") = true;
    }
    fn open(&self) {
        *self.shut.lock().expect("no panic") = false;
        self.opened.notify_all();
    }
    fn pass(&self, from: &[IoSlice<'_>]) {
        // Payload of these tests begins with this byte.
        if from.iter().any(|b| b.contains(&0xdd)) {
            let mut shut = self.shut.lock().expect("no panic");
            while *shut {
                self.waiting.store(true, Ordering::SeqCst);
                shut = self.opened.wait(shut).expect("no panic");
            }
        }
    }
    fn wait_for_writer(&self) {
        while !self.waiting.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }
}

impl Storage for Gated {
    fn read_vectored_at(&self, at: HostOffset, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.inner.read_vectored_at(at, into)
    }
    fn write_vectored_at(&self, at: HostOffset, from: &[IoSlice<'_>]) -> io::Result<()> {
        self.pass(from);
        self.inner.write_vectored_at(at, from)
    }
    fn write_zeroes(&self, range: HostRange) -> io::Result<()> {
        self.inner.write_zeroes(range)
    }
    fn discard(&self, range: HostRange) -> io::Result<()> {
        self.inner.discard(range)
    }
    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn allocate(&self, range: HostRange) -> io::Result<()> {
        self.inner.allocate(range)
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[test]
fn h42_requests_for_a_cluster_wait_while_it_is_being_allocated() {
    type Request = fn(&Image) -> Result<(), holstein::Error>;
    let requests: [(&str, Request); 4] = [
        ("discard", |open| open.discard(0, 2 * CLUSTER)),
        ("zero", |open| open.write_zeroes(0, CLUSTER, true)),
        ("zero of a part", |open| open.write_zeroes(CLUSTER - 512, 1024, false)),
        ("write", |open| open.write_at(CLUSTER - 10, &[0xee; 20])),
    ];
    for (name, request) in requests {
        let storage = Arc::new(Gated::default());
        let open = CreateOptions::new(SIZE)
            .cluster_size(CLUSTER)
            .create_on(Arc::<Gated>::clone(&storage))
            .expect("created");
        open.write_at(10 * CLUSTER, &[1; 512]).expect("a table");
        storage.shut();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| open.write_at(0, &[0xdd; 2 * CLUSTER as usize]));
            storage.wait_for_writer();
            let other = scope.spawn(|| {
                request(&open).expect("done");
                done.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(Duration::from_millis(20));
            assert!(!done.load(Ordering::SeqCst), "{name} did not wait");
            // A request for another cluster does not wait, and neither does a flush.
            open.write_at(20 * CLUSTER, &[2; 100]).expect("another cluster");
            open.flush().expect("flushed");
            let mut bytes = [1; 512];
            open.read_at(0, &mut bytes).expect("reads see the old state");
            assert_eq!(bytes, [0; 512]);
            storage.open();
            writer.join().expect("no panic").expect("written");
            other.join().expect("no panic");
        });
        // The later one is what is there.
        let mut bytes = vec![0; 2 * CLUSTER as usize];
        open.read_at(0, &mut bytes).expect("read");
        let mut expected = vec![0xdd; 2 * CLUSTER as usize];
        let border = CLUSTER as usize;
        match name {
            "discard" => expected.fill(0),
            "zero" => expected[..border].fill(0),
            "zero of a part" => expected[border - 512..border + 512].fill(0),
            _ => expected[border - 10..border + 10].fill(0xee),
        }
        assert!(bytes == expected, "{name}");
        open.close().expect("closed");
        assert!(report(&*storage).is_clean(), "{name}");
    }
}

#[test]
fn h43_a_hole_is_punched_after_the_unlink_is_durable_and_before_reuse() {
    let storage = Arc::new(
        RecordingStorage::new(MemStorage::from_bytes(&Crafted::new().bytes)).expect("memory"),
    );
    let open = OpenOptions::new()
        .pass_discard_request(true)
        .open_storage(Arc::<RecordingStorage<MemStorage>>::clone(&storage))
        .expect("opened");
    for round in 0..20_u8 {
        for cluster in 0..4 {
            open.discard(cluster * CLUSTER, CLUSTER).expect("discarded");
            let fill = [0x80 | round; CLUSTER as usize];
            open.write_at((cluster + 8) * CLUSTER, &fill).expect("written");
        }
        open.flush().expect("flushed");
        for cluster in 8..12 {
            open.discard(cluster * CLUSTER, CLUSTER).expect("discarded");
            open.write_at((cluster - 8) * CLUSTER, &[round; CLUSTER as usize]).expect("written");
        }
        open.flush().expect("flushed");
        let mut bytes = vec![0; CLUSTER as usize];
        for cluster in 0..4 {
            open.read_at(cluster * CLUSTER, &mut bytes).expect("read");
            assert!(bytes.iter().all(|&b| b == round), "round {round}: a late hole");
        }
    }
    open.close().expect("closed");
    // In the record: a hole only after a barrier that followed the last write to the range.
    let log = storage.log();
    let mut unflushed: BTreeSet<u64> = BTreeSet::new();
    let mut holes = 0;
    for entry in log.entries() {
        match entry {
            Entry::Write { at, data } => {
                let end = at.get() + data.len() as u64;
                unflushed.extend(at.get() / CLUSTER..end.div_ceil(CLUSTER));
            }
            Entry::Flush => unflushed.clear(),
            Entry::Hole(range) => {
                holes += 1;
                let clusters = range.start.get() / CLUSTER..range.end().get() / CLUSTER;
                assert!(unflushed.range(clusters).next().is_none(), "a hole in what was written");
            }
            _ => {}
        }
    }
    assert!(holes > 20, "{holes} holes were punched");
    assert!(report(&*storage).is_clean());
}

#[test]
fn h44_h45_metadata_has_one_owner_whoever_asks() {
    // Four threads allocate in one L2 table and one refcount block, beside one that grows the disk
    // and preallocates.
    for seed in 0..6_u64 {
        let storage = Arc::new(MemStorage::new());
        let open = CreateOptions::new(SIZE)
            .cluster_size(CLUSTER)
            .refcount_bits([16, 64, 1][(seed % 3) as usize])
            .create_on(Arc::<MemStorage>::clone(&storage))
            .expect("created");
        let start = Barrier::new(5);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (open, start) = (&open, &start);
                scope.spawn(move || {
                    start.wait();
                    for n in 0..120 {
                        let cluster = (n * 4 + thread + seed * 7) % 500;
                        let byte = u8::try_from(thread + 1).expect("small");
                        open.write_at(cluster * CLUSTER + thread * 512, &[byte; 512])
                            .expect("written");
                    }
                });
            }
            start.wait();
            for n in 1..5 {
                let size = SIZE + n * 100 * CLUSTER;
                open.resize(size, Preallocation::Metadata).expect("grown");
            }
        });
        for thread in 0..4_u64 {
            for n in 0..120 {
                let cluster = (n * 4 + thread + seed * 7) % 500;
                let mut bytes = [0; 512];
                open.read_at(cluster * CLUSTER + thread * 512, &mut bytes).expect("read");
                assert_eq!(u64::from(bytes[0]), thread + 1, "cluster {cluster}");
            }
        }
        open.close().expect("closed");
        let found = report(&*storage);
        assert!(found.is_clean(), "seed {seed}: {:?}", found.findings);
    }
}

#[test]
fn h46_a_range_that_is_written_again_and_again_takes_bounded_space() {
    let storage = Arc::new(MemStorage::new());
    let open = CreateOptions::new(SIZE)
        .cluster_size(CLUSTER)
        .create_on(Arc::<MemStorage>::clone(&storage))
        .expect("created");
    let mut longest = 0;
    for round in 0..200_u8 {
        open.write_at(0, &vec![round; 16 * CLUSTER as usize]).expect("written");
        if round % 3 == 0 {
            open.discard(0, 16 * CLUSTER).expect("discarded");
        } else if round % 3 == 1 {
            open.write_zeroes(0, 16 * CLUSTER, true).expect("zeroed");
        }
        open.flush().expect("flushed");
        longest = longest.max(storage.len().expect("memory"));
    }
    // The range, its double while the old clusters wait, and the tables.
    assert!(longest <= (2 * 16 + 8) * CLUSTER, "{longest} bytes");
    open.close().expect("closed");
    assert!(report(&*storage).is_clean(), "no leaks");
    // Without a single flush the quarantine is relieved by itself: 64 MiB, not without end.
    let open = OpenOptions::new().open_storage(Arc::<MemStorage>::clone(&storage)).expect("opened");
    for round in 0..3000_u64 {
        open.write_at(0, &vec![round as u8; 16 * CLUSTER as usize]).expect("written");
        open.discard(0, 16 * CLUSTER).expect("discarded");
    }
    let len = storage.len().expect("memory");
    assert!(len < 100 << 20, "{len} bytes");
    open.close().expect("closed");
    assert!(report(&*storage).is_clean(), "no leaks");
}

#[test]
fn h47_a_discard_in_version_2_shows_no_old_backing_data() {
    struct Old;
    impl holstein::Backing for Old {
        fn len(&self) -> u64 {
            SIZE
        }
        fn read_at(&self, _at: u64, into: &mut [u8]) -> io::Result<()> {
            into.fill(0xaa);
            Ok(())
        }
    }
    for version in [Version::V2, Version::V3] {
        let open = CreateOptions::new(SIZE)
            .version(version)
            .cluster_size(CLUSTER)
            .backing_file(b"old".to_vec(), None)
            .backing(Some(Arc::new(Old)))
            .create_on(Arc::new(MemStorage::new()))
            .expect("created");
        let mut bytes = vec![0; 3 * CLUSTER as usize];
        open.read_at(SIZE - 3 * CLUSTER, &mut bytes).expect("read");
        assert!(bytes.iter().all(|&b| b == 0xaa), "a new overlay shows what is below");
        open.write_at(0, &[0xdd; 2 * CLUSTER as usize]).expect("written");
        open.discard(0, 3 * CLUSTER).expect("ignored or zero");
        open.read_at(0, &mut bytes).expect("read");
        let (own, below) = bytes.split_at(2 * CLUSTER as usize);
        match version {
            // Nothing happens: not even to what was never written.
            Version::V2 => {
                assert!(own.iter().all(|&b| b == 0xdd) && below.iter().all(|&b| b == 0xaa))
            }
            Version::V3 => assert!(bytes.iter().all(|&b| b == 0)),
        }
        open.close().expect("closed");
    }
}

#[test]
fn h48_two_writers_exclude_each_other() {
    let dir = TempDir::new("h48").expect("a scratch folder");
    let path = dir.file("a.qcow2");
    std::fs::write(&path, &Crafted::new().bytes).expect("written");
    let open = OpenOptions::new().open(&path).expect("the first");
    let locked = |result: Result<(), holstein::Error>, what: &str| {
        let error = result.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Locked, "{what}: {error}");
        assert!(error.to_string().contains("a.qcow2"), "{error}");
    };
    locked(OpenOptions::new().open(&path).map(drop), "a second writer");
    locked(OpenOptions::new().open_read_only(&path).map(drop), "a reader");
    locked(CreateOptions::new(1 << 20).create(&path).map(drop), "creating over it");
    assert_eq!(std::fs::metadata(&path).expect("there").len(), Crafted::new().bytes.len() as u64);
    let options = FileOptions { write: true, lock: LockMode::Write, ..FileOptions::default() };
    assert!(matches!(FileStorage::open(&path, &options), Err(OpenError::Lock { .. })));
    open.write_at(0, &[5; 512]).expect("still open");
    open.close().expect("closed");
    // Readers share.
    let one = OpenOptions::new().open_read_only(&path).expect("one");
    let two = OpenOptions::new().open_read_only(&path).expect("two");
    locked(OpenOptions::new().open(&path).map(drop), "a writer beside readers");
    drop((one, two));
    OpenOptions::new().open(&path).expect("all are gone").close().expect("closed");
}

#[test]
fn h48_a_running_machine_and_we_exclude_each_other() {
    let Some(oracle) = Oracle::find_or_skip("h48", hazard_oracle()) else { return };
    let dir = TempDir::new("h48-theirs").expect("a scratch folder");
    let path = dir.file("a.qcow2");
    std::fs::write(&path, &Crafted::new().bytes).expect("written");
    let name = path.display().to_string();
    {
        let mut held = Held::open(&oracle, ["-f", "qcow2", &name]).expect("they have it open");
        let error = OpenOptions::new().open(&path).expect_err("they write");
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        let error = OpenOptions::new().open_read_only(&path).expect_err("they write");
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        held.command("length").expect("still there");
    }
    {
        let _held = Held::open(&oracle, ["-r", "-f", "qcow2", &name]).expect("they read");
        let error = OpenOptions::new().open(&path).expect_err("they read");
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        drop(OpenOptions::new().open_read_only(&path).expect("readers share"));
    }
    let open = OpenOptions::new().open(&path).expect("they are gone");
    let said = Held::open(&oracle, ["-f", "qcow2", &name]).expect_err("we write").to_string();
    assert!(said.contains("lock"), "{said}");
    let output = oracle.img(["resize", "-f", "qcow2", &name, "+1M"]).expect("started");
    assert!(!output.status.success(), "a resize of a running disk");
    open.write_at(0, &[5; 512]).expect("still ours");
    open.close().expect("closed");
    let (verdict, text) = oracle.check(&path).expect("checked");
    assert_eq!(verdict, Verdict::Clean, "{text}");
}

#[test]
fn h51_after_a_failed_flush_no_flush_succeeds_and_nothing_is_written() {
    let image = Crafted::new();
    // Each barrier of an allocating flush in turn; the device works again at once.
    for failing in 0..3 {
        let recording =
            RecordingStorage::new(MemStorage::from_bytes(&image.bytes)).expect("memory");
        let storage = Arc::new(FaultStorage::new(recording));
        let mem = || Arc::<FaultStorage<RecordingStorage<MemStorage>>>::clone(&storage);
        let open = OpenOptions::new().open_storage(mem()).expect("opened");
        open.write_at(20 * CLUSTER, &[7; CLUSTER as usize]).expect("written");
        storage.arm(fault(failing, &[IoKind::Flush], FaultError::Eio, Lasting::Once));
        let failed = open.flush();
        let fired = storage.fired() > 0;
        storage.disarm();
        assert_eq!(failed.is_err(), fired);
        if !fired {
            assert!(failing >= 2, "an allocating write has two barriers");
            break;
        }
        let entries = storage.inner().log().entries().len();
        for _ in 0..3 {
            let error = open.flush().expect_err("the pages may be gone");
            assert_eq!(error.raw_os_error(), Some(5), "{error}");
        }
        assert!(open.write_at(0, &[1; 512]).is_err());
        assert!(open.write_zeroes(0, CLUSTER, true).and_then(|()| open.flush()).is_err());
        assert!(open.resize(SIZE + CLUSTER, Preallocation::Off).is_err());
        // Reads go on, from memory where the tables are newer.
        let mut bytes = [0; 512];
        open.read_at(20 * CLUSTER, &mut bytes).expect("read");
        assert_eq!(bytes, [7; 512]);
        open.read_at(CLUSTER, &mut bytes).expect("read");
        assert_eq!(bytes, [2; 512]);
        assert!(open.close().is_err(), "no clean close");
        assert_eq!(storage.inner().log().entries().len(), entries, "nothing more was done");
        let found = report(&*storage);
        assert_eq!(found.corruptions + found.check_errors, 0, "{:?}", found.findings);
    }
}

#[test]
fn h52_a_full_disk_and_writes_past_the_end_change_no_metadata() {
    let storage = Arc::new(FaultStorage::new(MemStorage::from_bytes(&Crafted::new().bytes)));
    let open = OpenOptions::new().open_storage(Arc::<Faulty>::clone(&storage)).expect("opened");
    for (at, len) in [(SIZE, 1), (SIZE - 1, 2), (u64::MAX, 1), (1 << 63, 512), (u64::MAX - 5, 6)] {
        let bytes = vec![1; len];
        assert_eq!(open.write_at(at, &bytes).expect_err("past").kind(), ErrorKind::OutOfRange);
        let len = len as u64;
        assert_eq!(open.discard(at, len).expect_err("past").kind(), ErrorKind::OutOfRange);
        assert_eq!(
            open.write_zeroes(at, len, true).expect_err("past").kind(),
            ErrorKind::OutOfRange
        );
    }
    assert!(open.write_zeroes(0, u64::MAX, true).is_err());
    let before = storage.inner().to_bytes().expect("small");
    storage.arm(fault(0, &[IoKind::Write], FaultError::Enospc, Lasting::FromThereOn));
    let error = open.write_at(30 * CLUSTER + 5, &[7; 3 * CLUSTER as usize]).expect_err("full");
    assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::Full, Some(28)));
    storage.disarm();
    let mut bytes = vec![1; 4 * CLUSTER as usize];
    open.read_at(30 * CLUSTER, &mut bytes).expect("read");
    assert!(bytes.iter().all(|&b| b == 0), "nothing is linked");
    let after = storage.inner().to_bytes().expect("small");
    assert!(after[..before.len()] == before[..], "metadata is unchanged");
    open.write_at(30 * CLUSTER + 5, &[7; 3 * CLUSTER as usize]).expect("there is room again");
    open.close().expect("closed");
    assert!(report(&*storage).is_clean());
}

#[test]
fn h53_what_is_not_understood_is_kept_or_cleared_as_the_format_says() {
    let image = Crafted::new();
    let mut header = image.open_read_only().expect("fine").header();
    let unknown = HeaderExtension::Unknown { kind: 0x1234_5678, data: b"keep me, 13 b".to_vec() };
    header.extensions.push(unknown.clone());
    header.compatible = CompatibleFeatures::new(1 | 1 << 50);
    header.autoclear = AutoclearFeatures::new(1 << 40);
    let image = image.put(0, &header.encode().expect("encoded"));
    // Reading changes nothing.
    drop(image.open_read_only().expect("opened"));
    let storage = image.storage();
    let open = OpenOptions::new().open_storage(Arc::<MemStorage>::clone(&storage)).expect("opened");
    open.write_at(0, &[1; 512]).expect("written");
    open.resize(SIZE + (4 << 20), Preallocation::Off).expect("a new L1 table");
    open.close().expect("closed");
    let bytes = storage.to_bytes().expect("small");
    let now = Header::decode(&bytes, bytes.len() as u64, DecodePurpose::Use).expect("whole");
    assert_eq!(now.extensions, header.extensions);
    assert!(now.extensions.contains(&unknown));
    assert_eq!(now.autoclear.bits(), 0, "a writer that does not know it clears it");
    assert_eq!(now.compatible.bits(), 1 | 1 << 50, "lazy refcounts and unknown bits stay");
    assert!(report(&*storage).is_clean());
    // Bitmaps that cannot be marked as in use would become stale: the image is not written at all.
    let mut header = image.open_read_only().expect("fine").header();
    header.autoclear = AutoclearFeatures::BITMAPS;
    header.extensions.push(HeaderExtension::Bitmaps(holstein::format::BitmapsExtension {
        nb_bitmaps: 1,
        reserved: 0,
        directory_size: 32,
        directory_offset: HostOffset::new(8 * CLUSTER),
    }));
    let image = image.put(0, &header.encode().expect("encoded"));
    assert_eq!(image.open().expect_err("no directory").kind(), ErrorKind::Corrupt);
    drop(image.open_read_only().expect("reading is fine"));
    // Dirty refcounts are not written over either: they are put right first, if that is allowed.
    let dirty = Crafted::new().put_u64(72, 1);
    drop(dirty.open_read_only().expect("reading is fine"));
    let open = |options: OpenOptions| options.open_storage(dirty.storage());
    assert!(open(OpenOptions::new().repair_dirty(false)).is_err());
    let repaired = open(OpenOptions::new()).expect("repaired");
    assert_eq!(repaired.header().incompatible.bits(), 0);
}

#[test]
fn h54_odd_lengths_work_past_the_page_cache() {
    let dir = TempDir::new("h54").expect("a scratch folder");
    let path = dir.file("a.qcow2");
    // Small clusters, and a file that ends in the middle of a block.
    let size = 100 * 512;
    CreateOptions::new(size).cluster_size(512).create(&path).expect("created").close().expect("ok");
    let direct =
        FileOptions { write: true, direct: true, lock: LockMode::Write, ..FileOptions::default() };
    let open = match OpenOptions::new().file_options(direct).open(&path) {
        Ok(open) => open,
        // A file system without direct I/O, such as some in memory.
        Err(error) if error.raw_os_error() == Some(22) => {
            holstein_testkit::skipped("h54: the scratch folder has no direct I/O");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let mut disk = vec![0; size as usize];
    for n in 0..60_usize {
        let at = n * 797 % (size as usize - 700);
        let len = 1 + n * 37 % 700;
        let byte = u8::try_from(n + 1).expect("small");
        open.write_at(at as u64, &vec![byte; len]).expect("written");
        disk[at..at + len].fill(byte);
    }
    let mut back = vec![0; size as usize];
    open.read_at(0, &mut back).expect("read");
    assert!(back == disk);
    open.read_at(3, &mut back[..1001]).expect("read");
    assert!(back[..1001] == disk[3..1004]);
    open.close().expect("closed");
    let open = OpenOptions::new().open_read_only(&path).expect("through the page cache");
    open.read_at(0, &mut back).expect("read");
    assert!(back == disk);
    let bytes = std::fs::read(&path).expect("read");
    assert!(report(&MemStorage::from_bytes(&bytes)).is_clean());
}
