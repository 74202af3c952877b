//! Every backend behaves as a vector of bytes.

use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;

use holstein_storage::{Create, FileOptions, FileStorage, LockMode, MappedStorage, MemStorage};
use holstein_storage::{Storage, SyncMode};
use holstein_testkit::{Pattern, TempDir, any_range_in, skipped};
use holstein_units::{HostOffset, HostRange};
use proptest::prelude::*;

/// Room for two chunks of memory storage, and for many blocks.
const SIZE: u64 = 150_000;

#[derive(Clone, Debug)]
enum Op {
    Write(u64, u64),
    /// With the lengths of all buffers but the last.
    WriteVectored(u64, u64, Vec<usize>),
    Zeroes(u64, u64),
    Discard(u64, u64),
    Allocate(u64, u64),
    SetLen(u64),
    Read(u64, u64, Vec<usize>),
    Flush,
}

fn op() -> impl Strategy<Value = Op> {
    let range = || prop_oneof![any_range_in(SIZE, 90_000, 4096), any_range_in(SIZE, 3000, 512)];
    let cuts = || prop::collection::vec(prop_oneof![0..700_usize, Just(512), Just(4096)], 0..5);
    prop_oneof![
        3 => range().prop_map(|(at, len)| Op::Write(at, len)),
        3 => (range(), cuts()).prop_map(|((at, len), cuts)| Op::WriteVectored(at, len, cuts)),
        2 => range().prop_map(|(at, len)| Op::Zeroes(at, len)),
        1 => range().prop_map(|(at, len)| Op::Discard(at, len)),
        1 => range().prop_map(|(at, len)| Op::Allocate(at, len)),
        1 => (0..SIZE).prop_map(Op::SetLen),
        4 => (range(), cuts()).prop_map(|((at, len), cuts)| Op::Read(at, len, cuts)),
        1 => Just(Op::Flush),
    ]
}

/// `None` where a discard left any content.
#[derive(Default)]
struct Model(Vec<Option<u8>>);

impl Model {
    fn grow(&mut self, end: usize) {
        if self.0.len() < end {
            self.0.resize(end, Some(0));
        }
    }

    fn check(&self, at: usize, found: &[u8], n: usize) {
        let there = self.0.len().saturating_sub(at).min(found.len());
        assert_eq!(n, there, "bytes read at {at} of {}", self.0.len());
        for (i, byte) in found[..n].iter().enumerate() {
            if let Some(expected) = self.0[at + i] {
                assert_eq!(*byte, expected, "byte {}", at + i);
            }
        }
        assert!(found[n..].iter().all(|&byte| byte == 0xee), "past the end nothing is touched");
    }
}

fn small(n: u64) -> usize {
    usize::try_from(n).expect("small")
}

/// Cuts `len` bytes into buffers.
fn lengths(len: usize, cuts: &[usize]) -> Vec<usize> {
    let mut rest = len;
    let mut all = cuts.iter().map(|cut| {
        let n = (*cut).min(rest);
        rest -= n;
        n
    });
    let mut all = all.by_ref().collect::<Vec<_>>();
    all.push(rest);
    all
}

fn run(s: &dyn Storage, ops: &[Op]) -> io::Result<Model> {
    let mut model = Model::default();
    for (id, op) in (1..).zip(ops) {
        let range = |at, len| HostRange::new(HostOffset::new(at), len).expect("small");
        match op {
            Op::Write(at, len) | Op::WriteVectored(at, len, _) => {
                let bytes = Pattern::new(id).bytes(*at, small(*len));
                let at = HostOffset::new(*at);
                match op {
                    Op::WriteVectored(_, _, cuts) => {
                        let mut rest = &bytes[..];
                        let mut slices = Vec::new();
                        for n in lengths(bytes.len(), cuts) {
                            let (now, later) = rest.split_at(n);
                            slices.push(IoSlice::new(now));
                            rest = later;
                        }
                        s.write_vectored_at(at, &slices)?;
                    }
                    _ => s.write_at(at, &bytes)?,
                }
                let start = small(at.get());
                model.grow(start + bytes.len());
                for (to, from) in model.0[start..].iter_mut().zip(&bytes) {
                    *to = Some(*from);
                }
            }
            Op::Zeroes(at, len) => {
                s.write_zeroes(range(*at, *len))?;
                model.grow(small(at + len));
                model.0[small(*at)..small(at + len)].fill(Some(0));
            }
            Op::Discard(at, len) => {
                s.discard(range(*at, *len))?;
                let end = small(at + len).min(model.0.len());
                let start = small(*at).min(end);
                model.0[start..end].fill(None);
            }
            Op::Allocate(at, len) => match s.allocate(range(*at, *len)) {
                Ok(()) => model.grow(small(at + len)),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}"),
            },
            Op::SetLen(len) => {
                s.set_len(*len)?;
                model.0.resize(small(*len), Some(0));
            }
            Op::Read(at, len, cuts) => read(s, &model, *at, *len, cuts)?,
            Op::Flush => s.flush()?,
        }
        assert_eq!(s.len()?, model.0.len() as u64, "length after {op:?}");
    }
    read(s, &model, 0, SIZE + 1, &[])?;
    extents(s, &model)?;
    Ok(model)
}

fn read(s: &dyn Storage, model: &Model, at: u64, len: u64, cuts: &[usize]) -> io::Result<()> {
    let mut found = vec![0xee; small(len)];
    let n = s.read_at(HostOffset::new(at), &mut found)?;
    model.check(small(at), &found, n);
    let mut found = vec![0xee; small(len)];
    let mut slices = Vec::new();
    let mut rest = &mut found[..];
    for n in lengths(small(len), cuts) {
        let (now, later) = rest.split_at_mut(n);
        slices.push(IoSliceMut::new(now));
        rest = later;
    }
    let n = s.read_vectored_at(HostOffset::new(at), &mut slices)?;
    model.check(small(at), &found, n);
    Ok(())
}

/// Extents cover the file, and what is no data is zero.
fn extents(s: &dyn Storage, model: &Model) -> io::Result<()> {
    let len = model.0.len() as u64;
    let mut at = 0;
    while at < len {
        let (data, run) = s.extent_at(HostOffset::new(at))?;
        assert!(run > 0 && at + run <= len, "extent of {run} at {at} of {len}");
        let part = &model.0[small(at)..small(at + run)];
        assert!(data || part.iter().all(|b| b.unwrap_or(0) == 0), "data in a hole at {at}+{run}");
        at += run;
    }
    assert_eq!(s.extent_at(HostOffset::new(len))?, (false, 0));
    assert_eq!(s.extent_at(HostOffset::new(len + 5))?, (false, 0));
    Ok(())
}

fn file(path: &Path, options: FileOptions) -> FileStorage {
    let options =
        FileOptions { write: true, create: Create::Truncate, lock: LockMode::Write, ..options };
    FileStorage::open(path, &options).expect("a fresh directory takes files")
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..25)
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn memory(ops in ops()) {
        run(&MemStorage::new(), &ops)?;
    }

    #[test]
    fn buffered_file_and_its_map(ops in ops()) {
        let dir = TempDir::new("bytes")?;
        let path = dir.file("f");
        let s = file(&path, FileOptions::default());
        let model = run(&s, &ops)?;
        drop(s);
        let s = MappedStorage::open(&path).expect("it is not in use");
        prop_assert_eq!(s.len()?, model.0.len() as u64);
        read(&s, &model, 0, SIZE + 1, &[3, 4096])?;
        read(&s, &model, 70_001, 9, &[0, 3])?;
        extents(&s, &model)?;
        prop_assert!(s.write_at(HostOffset::new(0), &[1]).is_err());
    }
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn direct_file(ops in ops()) {
        let dir = TempDir::new("bytes")?;
        let options = FileOptions { direct: true, sync: SyncMode::Unsafe, ..Default::default() };
        let s = file(&dir.file("f"), options);
        prop_assert!(s.capabilities().alignment >= 512);
        run(&s, &ops)?;
    }

    #[test]
    fn file_system_without_zero_ranges(ops in ops()) {
        let Ok(dir) = TempDir::under(Path::new("/dev/shm"), "bytes") else {
            skipped("file system without zero ranges: there is no /dev/shm");
            return Ok(());
        };
        let s = file(&dir.file("f"), FileOptions::default());
        run(&s, &ops)?;
    }
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn write_through(ops in ops(), direct in any::<bool>()) {
        let dir = TempDir::new("bytes")?;
        let options = FileOptions { direct, sync: SyncMode::WriteThrough, ..Default::default() };
        run(&file(&dir.file("f"), options), &ops)?;
    }
}
