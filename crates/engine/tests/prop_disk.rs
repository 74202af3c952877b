//! A whole disk against a vector of bytes, on storage in memory.

mod common;

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use holstein_cache::CacheSizes;
use holstein_check::{CheckOptions, check};
use holstein_codec::Deflate;
use holstein_crypto::{Numbering, SectorCipher};
use holstein_engine::{
    Backing, Disk, DiskConfig, DiskExtentKind, EngineError, NoProgress, Preallocation,
};
use holstein_format::{AutoclearFeatures, Header, HeaderExtension, IncompatibleFeatures, Version};
use holstein_guard::RegionMask;
use holstein_refcount::DiscardPolicy;
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::any_range_in;
use holstein_units::HostOffset;
use proptest::prelude::*;

/// The most that a disk grows to.
const MOST: u64 = 600 << 10;

#[derive(Clone, Debug)]
struct Setup {
    version: Version,
    cluster_bits: u32,
    /// Extended L2 entries; only in version 3.
    extended: bool,
    /// 0: no external data file; 1: one; 2: a raw one. Only in version 3.
    data_file: u8,
    order: u32,
    size: u64,
    /// Bytes of a backing disk.
    backing: Option<u64>,
    /// Bytes of the L2 cache and of a slice, and of the refcount cache; 0 for the defaults.
    cache: (u64, u64, u64),
    keep: bool,
    punch: bool,
    /// Of the sectors that are encrypted, if they are.
    numbering: Option<Numbering>,
}

impl Setup {
    /// Whether the disk shows what the data file holds.
    fn shows_file(&self) -> bool {
        self.data_file == 2 && self.numbering.is_none()
    }

    /// A disk with the defaults of version 3.
    fn plain(cluster_bits: u32, size: u64) -> Self {
        Self {
            version: Version::V3,
            cluster_bits,
            extended: false,
            data_file: 0,
            order: 4,
            size,
            backing: None,
            cache: (0, 0, 0),
            keep: false,
            punch: false,
            numbering: None,
        }
    }
}

fn any_setup() -> impl Strategy<Value = Setup> {
    let size = (1..MOST / 512).prop_map(|sectors| sectors * 512);
    (
        (
            prop_oneof![2 => Just((true, false)), 3 => Just((false, false)), 2 => Just((false, true))],
            prop_oneof![4 => Just(0_u8), 1 => Just(1), 1 => Just(2)],
        ),
        prop_oneof![3 => Just(9_u32), 2 => Just(12), 1 => Just(16), 1 => Just(21)],
        0..=6_u32,
        size,
        prop::option::weighted(0.3, 1..MOST),
        prop_oneof![Just((0, 0, 0)), Just((1024, 512, 1)), Just((4096, 512, 0))],
        any::<bool>(),
        any::<bool>(),
        prop_oneof![3 => Just(None), 1 => Just(Some(Numbering::Guest)), 1 => Just(Some(Numbering::Host))],
    )
        .prop_map(
            |(((v2, extended), data_file), cluster_bits, order, size, backing, cache, keep, punch, numbering)| Setup {
                version: if v2 { Version::V2 } else { Version::V3 },
                cluster_bits: if extended { cluster_bits.max(14) } else { cluster_bits },
                extended,
                data_file: if v2 { 0 } else { data_file },
                order: if v2 { 4 } else { order },
                size,
                // A raw data file is all there is.
                backing: backing.filter(|_| v2 || data_file != 2),
                cache,
                keep,
                punch,
                numbering,
            },
        )
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, u64, u8),
    /// The same from three buffers.
    WriteParts(u64, u64, u8),
    /// Clusters, whole or to the end of the disk; some bytes of each are hard to compress.
    Compressed(u64, u64, u64),
    Read(u64, u64),
    ReadParts(u64, u64),
    Zero(u64, u64, bool),
    Discard(u64, u64),
    Flush,
    Grow(u64, u8),
    /// To at most so many sectors.
    Shrink(u64),
    Reopen,
    /// All extents.
    Map,
    /// A range that is not on the disk.
    Outside(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    let range = || {
        prop_oneof![
            any_range_in(MOST, 3000, 512),
            any_range_in(MOST, 9000, 4096),
            any_range_in(MOST, 200_000, 65_536),
        ]
    };
    prop_oneof![
        8 => (range(), 1..=255_u8).prop_map(|((a, n), b)| Op::Write(a, n, b)),
        3 => (range(), 1..=255_u8).prop_map(|((a, n), b)| Op::WriteParts(a, n, b)),
        4 => (range(), any::<u64>()).prop_map(|((a, n), s)| Op::Compressed(a, n, s)),
        4 => range().prop_map(|(a, n)| Op::Read(a, n)),
        2 => range().prop_map(|(a, n)| Op::ReadParts(a, n)),
        5 => (range(), any::<bool>()).prop_map(|((a, n), u)| Op::Zero(a, n, u)),
        5 => range().prop_map(|(a, n)| Op::Discard(a, n)),
        2 => Just(Op::Flush),
        1 => (1..200_u64, 0..4_u8).prop_map(|(sectors, how)| Op::Grow(sectors, how)),
        1 => (0..MOST / 512).prop_map(Op::Shrink),
        1 => Just(Op::Reopen),
        1 => Just(Op::Map),
        1 => any::<u64>().prop_map(Op::Outside),
    ]
}

/// What lies below, every byte different from its neighbours.
struct Below(u64);

fn below(at: u64) -> u8 {
    (at % 251) as u8 ^ 0x5a
}

impl Backing for Below {
    fn len(&self) -> u64 {
        self.0
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        assert!(at + into.len() as u64 <= self.0, "reads stay within the backing");
        for (n, byte) in (at..).zip(into) {
            *byte = below(n);
        }
        Ok(())
    }
}

/// Bytes of which a part in each cluster, from none to all of it, is noise.
fn compressible(len: usize, cluster: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut noise = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let mut bytes = vec![seed as u8; len];
    for part in bytes.chunks_mut(cluster) {
        let hard = usize::from(noise() % 5) * part.len() / 4;
        part[..hard].fill_with(&mut noise);
    }
    bytes
}

/// A cipher that tells one sector from another: each byte plus a mix of the sector's number.
struct Mixed(Numbering);

impl Mixed {
    fn change(first: u64, sectors: &mut [u8], change: impl Fn(u8, u8) -> u8) {
        for (number, sector) in (first..).zip(sectors.chunks_exact_mut(512)) {
            for (n, byte) in sector.iter_mut().enumerate() {
                let key = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (8 + n % 48)) as u8;
                *byte = change(*byte, key | 1);
            }
        }
    }
}

impl SectorCipher for Mixed {
    fn numbering(&self) -> Numbering {
        self.0
    }

    fn encrypt(&self, first: u64, sectors: &mut [u8]) {
        Self::change(first, sectors, u8::wrapping_add);
    }

    fn decrypt(&self, first: u64, sectors: &mut [u8]) {
        Self::change(first, sectors, u8::wrapping_sub);
    }
}

fn cipher(numbering: Option<Numbering>) -> Option<Arc<dyn SectorCipher>> {
    numbering.map(|numbering| Arc::new(Mixed(numbering)) as Arc<dyn SectorCipher>)
}

struct World {
    setup: Setup,
    storage: Arc<MemStorage>,
    data: Arc<MemStorage>,
    header: Header,
    disk: Disk,
    bytes: Vec<u8>,
    /// What a raw data file holds past the end of the disk.
    past: Vec<u8>,
}

impl World {
    fn open(
        setup: &Setup,
        (storage, data): (&Arc<MemStorage>, &Arc<MemStorage>),
        header: &Header,
        backing: Option<u64>,
    ) -> Result<Disk, EngineError> {
        let some = |n| (n != 0).then_some(n);
        let (l2, l2_slice, refcount) = setup.cache;
        let cache = CacheSizes {
            total: None,
            l2: some(l2),
            refcount: some(refcount),
            l2_slice: some(l2_slice),
        };
        let config = DiskConfig {
            writable: true,
            cache,
            overlap: RegionMask::ALL,
            discard: DiscardPolicy { request: setup.punch, snapshot: true, other: setup.punch },
            discard_no_unref: setup.keep,
            backing: backing.map(|len| Arc::new(Below(len)) as Arc<dyn Backing>),
            data_file: (setup.data_file > 0)
                .then(|| Arc::<MemStorage>::clone(data) as Arc<dyn Storage>),
            cipher: cipher(setup.numbering),
            ..DiskConfig::reading(Arc::new(Deflate::default()))
        };
        Disk::open(Arc::<MemStorage>::clone(storage), header, config)
    }

    fn new(setup: &Setup) -> Result<Self, EngineError> {
        let (storage, mut header) =
            common::empty(setup.version, setup.cluster_bits, setup.extended, setup.order);
        if setup.data_file > 0 {
            header.incompatible.insert(IncompatibleFeatures::DATA_FILE);
            header.extensions.insert(0, HeaderExtension::DataFile(b"data".to_vec()));
            if setup.data_file == 2 {
                header.autoclear.insert(AutoclearFeatures::RAW_DATA_FILE);
            }
            let bytes = header.encode().expect("it fits");
            storage.write_at(HostOffset::new(0), &bytes).expect("memory");
        }
        // The disk shows what was in a raw file before; what was in any other is nobody's business.
        let data = Arc::new(MemStorage::from_bytes(&[0xdd; 100 << 10]));
        let file: &[u8] = if setup.shows_file() { &[0xdd; 100 << 10] } else { &[] };
        let disk = Self::open(setup, (&storage, &data), &header, None)?;
        disk.resize(setup.size, Preallocation::Off, &mut NoProgress)?;
        let header = disk.header();
        disk.close()?;
        let disk = Self::open(setup, (&storage, &data), &header, setup.backing)?;
        let shown = setup.backing.unwrap_or(0).min(setup.size);
        let mut bytes: Vec<u8> = (0..shown).map(below).collect();
        bytes.resize(setup.size as usize, 0);
        let (over, past) = file.split_at(bytes.len().min(file.len()));
        bytes[..over.len()].copy_from_slice(over);
        Ok(Self { setup: setup.clone(), storage, data, header, disk, bytes, past: past.to_vec() })
    }

    /// The part of a range that is on the disk; `None` if nothing is.
    fn on_disk(&self, at: u64, len: u64) -> Option<(u64, u64)> {
        let size = self.bytes.len() as u64;
        (at < size).then(|| (at, len.min(size - at)))
    }

    fn close(&mut self) -> Result<(), TestCaseError> {
        self.disk.close().expect("memory does not fail");
        self.header = self.disk.header();
        let report = check(&*self.storage, &CheckOptions::default(), &mut |_| {});
        let report = report.expect("checked");
        prop_assert!(report.is_clean(), "{:?}", report.findings);
        // What the file says is what memory said.
        let len = self.storage.len().expect("memory");
        let mut first = vec![0; 1 << self.setup.cluster_bits];
        self.storage.read_at(HostOffset::new(0), &mut first).expect("memory");
        let header = Header::decode(&first, len, holstein_format::DecodePurpose::Use);
        prop_assert_eq!(header.as_ref(), Ok(&self.header));
        if self.setup.data_file > 0 {
            let len = (self.bytes.len() + self.past.len()) as u64;
            prop_assert_eq!(self.data.len().expect("memory"), len);
        }
        if self.setup.shows_file() {
            let whole = [&*self.bytes, &*self.past].concat();
            prop_assert!(self.data.to_bytes().expect("small") == whole, "the raw data file");
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), TestCaseError> {
        self.close()?;
        let files = (&self.storage, &self.data);
        self.disk = Self::open(&self.setup, files, &self.header, self.setup.backing)
            .expect("it was closed");
        Ok(())
    }

    fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        let failed = |e: EngineError| TestCaseError::fail(e.to_string());
        let all = |(at, len): (u64, u64)| at as usize..(at + len) as usize;
        match op {
            Op::Write(at, len, byte) => {
                if let Some(range) = self.on_disk(at, len) {
                    self.disk.write_at(at, &vec![byte; range.1 as usize]).map_err(failed)?;
                    self.bytes[all(range)].fill(byte);
                }
            }
            Op::WriteParts(at, len, byte) => {
                if let Some(range) = self.on_disk(at, len) {
                    let data: Vec<u8> =
                        (0..range.1).map(|n| byte.wrapping_add((n / 100) as u8)).collect();
                    let (a, rest) = data.split_at(data.len() / 5);
                    let (b, c) = rest.split_at(rest.len() / 2);
                    let parts =
                        [IoSlice::new(a), IoSlice::new(b), IoSlice::new(&[]), IoSlice::new(c)];
                    self.disk.write_vectored_at(at, &parts).map_err(failed)?;
                    self.bytes[all(range)].copy_from_slice(&data);
                }
            }
            Op::Compressed(at, len, seed) => {
                let cluster = 1_u64 << self.setup.cluster_bits;
                let start = at / cluster * cluster;
                let end = (at + len).next_multiple_of(cluster);
                let Some(range) = self.on_disk(start, end - start) else { return Ok(()) };
                let data = compressible(range.1 as usize, cluster as usize, seed);
                let before = self.bytes[all(range)].to_vec();
                match self.disk.write_compressed_at(start, &data) {
                    Err(EngineError::CompressWithDataFile) => {
                        prop_assert!(self.setup.data_file > 0);
                    }
                    Ok(()) => self.bytes[all(range)].copy_from_slice(&data),
                    Err(EngineError::CompressEncrypted) => {
                        prop_assert!(self.setup.numbering.is_some());
                    }
                    // Clusters before the one with data are written.
                    Err(EngineError::Occupied { at }) => {
                        let done = (at.get() - start) as usize;
                        self.bytes[all(range)][..done].copy_from_slice(&data[..done]);
                        let extent = self.disk.extent_at(at.get(), 1).map_err(failed)?;
                        let zero_at = extent.kind == DiskExtentKind::Zero && extent.host.is_some();
                        let space = zero_at || self.setup.extended;
                        prop_assert!(extent.kind == DiskExtentKind::Data || space);
                        prop_assert_eq!(&self.bytes[all(range)][done..], &before[done..]);
                    }
                    Err(other) => return Err(failed(other)),
                }
            }
            Op::Read(at, len) => {
                if let Some(range) = self.on_disk(at, len) {
                    let mut found = vec![0xee; range.1 as usize];
                    self.disk.read_at(at, &mut found).map_err(failed)?;
                    prop_assert!(found == self.bytes[all(range)], "read at {:#x}", at);
                }
            }
            Op::ReadParts(at, len) => {
                if let Some(range) = self.on_disk(at, len) {
                    let mut found = vec![0xee; range.1 as usize];
                    let (a, rest) = found.split_at_mut(range.1 as usize / 7);
                    let (b, c) = rest.split_at_mut(rest.len() / 3);
                    let mut parts = [
                        IoSliceMut::new(a),
                        IoSliceMut::new(b),
                        IoSliceMut::new(&mut []),
                        IoSliceMut::new(c),
                    ];
                    self.disk.read_vectored_at(at, &mut parts).map_err(failed)?;
                    prop_assert!(found == self.bytes[all(range)], "vectored read at {:#x}", at);
                }
            }
            Op::Zero(at, len, unmap) => {
                if let Some(range) = self.on_disk(at, len) {
                    self.disk.write_zeroes(at, range.1, unmap).map_err(failed)?;
                    self.bytes[all(range)].fill(0);
                }
            }
            Op::Discard(at, len) => {
                if let Some((at, len)) = self.on_disk(at, len) {
                    self.disk.discard(at, len).map_err(failed)?;
                    let cluster = 1_u64 << self.setup.cluster_bits;
                    let size = self.bytes.len() as u64;
                    let end = if at + len == size { size } else { (at + len) / cluster * cluster };
                    let start = at.next_multiple_of(cluster);
                    let ignored = self.setup.version == Version::V2 && self.setup.backing.is_some();
                    if start < end && !ignored {
                        self.bytes[start as usize..end as usize].fill(0);
                    }
                }
            }
            Op::Flush => self.disk.flush().map_err(failed)?,
            Op::Shrink(sectors) => {
                let size = sectors * 512;
                let old = self.bytes.len() as u64;
                let result = self.disk.shrink(size);
                if size > old {
                    let refused = matches!(result, Err(EngineError::Resize { .. }));
                    prop_assert!(refused);
                    return Ok(());
                }
                result.map_err(failed)?;
                self.bytes.truncate(size as usize);
                if size < old {
                    self.past.clear();
                }
                prop_assert_eq!(self.disk.size(), size);
                if size < old {
                    let cluster = 1 << self.setup.cluster_bits;
                    let used = self.storage.len().expect("memory").div_ceil(cluster);
                    let report = check(&*self.storage, &CheckOptions::default(), &mut |_| {});
                    let report = report.expect("checked");
                    prop_assert!(report.is_clean(), "{:?}", report.findings);
                    prop_assert!(report.image_end_offset.div_ceil(cluster) >= used);
                }
            }
            Op::Grow(sectors, how) => {
                let size = self.bytes.len() as u64 + sectors * 512;
                if size > MOST + (200 << 10) {
                    return Ok(());
                }
                let how = match how {
                    0 if self.setup.backing.is_none() => Preallocation::Metadata,
                    1 if self.setup.backing.is_none() => Preallocation::Full,
                    2 if self.setup.backing.is_none() => Preallocation::Falloc,
                    _ => Preallocation::Off,
                };
                let longer = self.setup.backing.is_some_and(|n| n > self.bytes.len() as u64);
                match self.disk.resize(size, how, &mut NoProgress) {
                    Ok(()) => {
                        prop_assert!(!longer || self.setup.version == Version::V3);
                        let grown = size as usize - self.bytes.len();
                        self.bytes.extend(self.past.drain(..grown.min(self.past.len())));
                        self.bytes.resize(size as usize, 0);
                    }
                    Err(EngineError::Resize { .. }) => {
                        prop_assert!(longer && self.setup.version == Version::V2);
                    }
                    Err(other) => return Err(failed(other)),
                }
                prop_assert_eq!(self.disk.size(), self.bytes.len() as u64);
                let now = self.disk.size();
                let shorter = now.checked_sub(512);
                for bad in [now + 1, u64::MAX - 511].into_iter().chain(shorter) {
                    prop_assert!(
                        self.disk.resize(bad, Preallocation::Off, &mut NoProgress).is_err()
                    );
                }
            }
            Op::Reopen => self.reopen()?,
            Op::Map => {
                let size = self.bytes.len() as u64;
                let mut at = 0;
                while at < size {
                    let extent = self.disk.extent_at(at, size - at).map_err(failed)?;
                    prop_assert!(extent.len > 0 && extent.len <= size - at);
                    let part = &self.bytes[at as usize..(at + extent.len) as usize];
                    match extent.kind {
                        DiskExtentKind::Zero => prop_assert!(part.iter().all(|&b| b == 0)),
                        DiskExtentKind::Unallocated => {
                            let shown = self.setup.backing.unwrap_or(0);
                            let same =
                                |(n, b): (u64, &u8)| *b == if n < shown { below(n) } else { 0 };
                            prop_assert!((at..).zip(part).all(same), "extent at {:#x}", at);
                        }
                        DiskExtentKind::Data if self.setup.numbering.is_some() => {
                            prop_assert_eq!(extent.host, None);
                        }
                        DiskExtentKind::Data if extent.compressed => {}
                        DiskExtentKind::Data => {
                            let host = extent.host.expect("nothing is compressed");
                            let mut found = vec![0; part.len()];
                            let file =
                                if self.setup.data_file > 0 { &self.data } else { &self.storage };
                            file.read_at(HostOffset::new(host), &mut found).expect("memory");
                            prop_assert!(found == part, "extent at {:#x}", at);
                        }
                    }
                    at += extent.len;
                }
            }
            Op::Outside(n) => {
                let at = (self.bytes.len() as u64).saturating_sub(1) + n % 3;
                let refused =
                    |r: Result<(), EngineError>| matches!(r, Err(EngineError::OutOfRange { .. }));
                prop_assert!(refused(self.disk.read_at(at, &mut [0; 2])));
                prop_assert!(refused(self.disk.write_at(at, &[1, 2])));
                prop_assert!(refused(self.disk.write_zeroes(at, n.max(2), n % 2 == 0)));
                prop_assert!(refused(self.disk.discard(at, n.max(2))));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_is_a_vector_of_bytes(
        setup in any_setup(),
        ops in prop::collection::vec(any_op(), 1..40),
    ) {
        let mut world = World::new(&setup).map_err(|e| TestCaseError::fail(e.to_string()))?;
        for op in ops {
            world.step(op)?;
        }
        world.step(Op::Map)?;
        let all = world.bytes.len() as u64;
        world.step(Op::Read(0, all))?;
        world.reopen()?;
        world.step(Op::Read(0, all))?;
    }
}

/// A disk that is open for reading takes no change and writes nothing.
#[test]
fn reading_only_writes_nothing() {
    let setup = Setup::plain(12, 1 << 20);
    let mut world = World::new(&setup).expect("created");
    world.step(Op::Write(5, 10_000, 7)).expect("written");
    world.close().expect("clean");
    let before = world.storage.to_bytes().expect("small");
    let config = DiskConfig {
        overlap: RegionMask::CACHED,
        ..DiskConfig::reading(Arc::new(Deflate::default()))
    };
    let storage = Arc::<MemStorage>::clone(&world.storage);
    let disk = Disk::open(storage, &world.header, config).expect("opened");
    let mut found = vec![0; 1 << 20];
    disk.read_at(0, &mut found).expect("read");
    assert!(found == world.bytes);
    assert!(matches!(disk.write_at(0, &[1]), Err(EngineError::ReadOnly)));
    assert!(matches!(disk.write_zeroes(0, 1, true), Err(EngineError::ReadOnly)));
    assert!(matches!(disk.discard(0, 4096), Err(EngineError::ReadOnly)));
    assert!(matches!(
        disk.resize(2 << 20, Preallocation::Off, &mut NoProgress),
        Err(EngineError::ReadOnly)
    ));
    disk.flush().expect("nothing to do");
    disk.close().expect("nothing to do");
    assert!(world.storage.to_bytes().expect("small") == before);
}

/// Zeros within the last subcluster of the disk, which the disk ends in, write nothing past its end.
#[test]
fn zeros_in_the_last_subcluster_end_with_the_disk() {
    let setup = Setup { extended: true, data_file: 1, ..Setup::plain(21, 366_592) };
    let mut world = World::new(&setup).expect("created");
    world.step(Op::Write(210_930, 155_662, 1)).expect("written");
    world.step(Op::Zero(327_681, 38_911, false)).expect("zeroed");
    let all = world.bytes.len() as u64;
    world.step(Op::Read(0, all)).expect("the same");
    world.reopen().expect("the data file is as long as the disk");
}

/// The disk grows by less than a cluster over a longer backing file: what is encrypted in the data file
/// up to the new end is zeros, not the file's own zeros taken for ciphertext.
#[test]
fn growing_hides_the_backing_file_in_an_encrypted_data_file() {
    let setup = Setup {
        data_file: 1,
        backing: Some(74_241),
        numbering: Some(Numbering::Guest),
        ..Setup::plain(16, 74_240)
    };
    let mut world = World::new(&setup).expect("created");
    world.step(Op::Grow(20, 0)).expect("grown");
    let all = world.bytes.len() as u64;
    world.step(Op::Read(0, all)).expect("the same");
    world.reopen().expect("clean");
    world.step(Op::Read(0, all)).expect("the same");
}

/// A raw data file that is longer than the disk loses nothing when the disk grows, whatever the mode and
/// wherever in a cluster the old end is.
#[test]
fn growing_shows_a_longer_raw_data_file() {
    for extended in [false, true] {
        let setup = Setup { extended, data_file: 2, ..Setup::plain(16, 20 << 10) };
        let mut world = World::new(&setup).expect("created");
        world.step(Op::Write(1000, 3000, 1)).expect("written");
        for (sectors, mode) in [(20, 3), (20, 0), (22, 1), (24, 2), (90, 1), (100, 2)] {
            world.step(Op::Grow(sectors, mode)).expect("grown");
            let all = world.bytes.len() as u64;
            world.step(Op::Read(0, all)).expect("the same");
            world.reopen().expect("the file is what it was");
        }
    }
}
