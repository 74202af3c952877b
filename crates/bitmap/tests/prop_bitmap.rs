//! A bitmap is a row of bits, in memory and in a file.

use std::collections::BTreeMap;
use std::convert::Infallible;

use holstein_bitmap::{
    Claims, DirtyBitmap, Granularity, LoadError, ReadFile, WriteFile, load, store,
};
use holstein_format::{BitmapDirectoryEntry, BitmapFlags};
use holstein_units::{ClusterBits, Geometry, HostOffset};
use proptest::prelude::*;

/// Bytes of the disk that a chunk of bits in memory stands for, at 512 bytes a bit.
const CHUNK: u64 = 512 << 15;

#[derive(Clone, Debug)]
enum Op {
    Set(u64, u64),
    Clear,
    Resize(u64),
    /// Another bitmap, of other granularity, with these ranges.
    Merge(u8, Vec<(u64, u64)>),
    /// To a file and back.
    Store,
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![1..40_000_u64, CHUNK - 600..CHUNK + 600, 1..3 * CHUNK, Just(2 * CHUNK)]
}

fn ranges() -> impl Strategy<Value = (u64, u64)> {
    let len = prop_oneof![0..2_000_u64, 0..3 * CHUNK];
    (prop_oneof![0..40_000_u64, 0..3 * CHUNK, Just(CHUNK)], len)
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => ranges().prop_map(|(at, len)| Op::Set(at, len)),
        1 => Just(Op::Clear),
        2 => sizes().prop_map(Op::Resize),
        2 => (9..17_u8, prop::collection::vec(ranges(), 0..4)).prop_map(|(g, r)| Op::Merge(g, r)),
        2 => Just(Op::Store),
    ]
}

/// One bit for each 512 bytes.
struct Model {
    size: u64,
    bits: Vec<bool>,
}

impl Model {
    fn new(size: u64) -> Self {
        Self { size, bits: vec![false; usize::try_from(size.div_ceil(512)).expect("small")] }
    }

    /// Sets all that bits of `unit` bytes would cover.
    fn set(&mut self, at: u64, len: u64, unit: u64) {
        let end = at.saturating_add(len).min(self.size);
        if at < end {
            let from = at / unit * unit / 512;
            let to = (end.div_ceil(unit) * unit).min(self.size).div_ceil(512);
            for bit in from..to {
                self.bits[bit as usize] = true;
            }
        }
    }

    fn extents(&self) -> Vec<(u64, u64)> {
        let mut found: Vec<(u64, u64)> = Vec::new();
        for (n, _) in self.bits.iter().enumerate().filter(|(_, dirty)| **dirty) {
            let (at, end) = (n as u64 * 512, (n as u64 * 512 + 512).min(self.size));
            match found.last_mut() {
                Some((start, len)) if *start + *len == at => *len = end - *start,
                _ => found.push((at, end - at)),
            }
        }
        found
    }
}

/// Clusters by their offset.
#[derive(Default)]
struct File {
    cluster: u64,
    clusters: BTreeMap<u64, Vec<u8>>,
    next: u64,
}

impl WriteFile for File {
    type Error = Infallible;

    fn allocate(&mut self, clusters: u64) -> Result<HostOffset, Infallible> {
        let at = self.next;
        self.next += clusters * self.cluster;
        Ok(HostOffset::new(at))
    }

    fn write(&mut self, at: HostOffset, bytes: &[u8]) -> Result<(), Infallible> {
        assert_eq!(at.get() % self.cluster, 0, "from the start of a cluster");
        for (n, cluster) in bytes.chunks(self.cluster as usize).enumerate() {
            let mut cluster = cluster.to_vec();
            // What a write leaves of its last cluster may be anything.
            cluster.resize(self.cluster as usize, 0xa5);
            let old = self.clusters.insert(at.get() + n as u64 * self.cluster, cluster);
            assert_eq!(old, None, "each cluster is written once");
        }
        Ok(())
    }
}

impl ReadFile for File {
    type Error = String;

    fn read(&self, at: HostOffset, into: &mut [u8]) -> Result<(), String> {
        for (n, byte) in into.iter_mut().enumerate() {
            let at = at.get() + n as u64;
            let cluster = self.clusters.get(&(at / self.cluster * self.cluster));
            *byte = cluster.ok_or("past the end")?[(at % self.cluster) as usize];
        }
        Ok(())
    }

    fn is_taken(&self, cluster: HostOffset) -> bool {
        cluster.get() == 0
    }
}

fn geometry(bits: u32) -> Geometry {
    Geometry::new(ClusterBits::new(bits).expect("a cluster size"), false)
}

fn stored(bitmap: &DirtyBitmap, bits: u32) -> (File, BitmapDirectoryEntry) {
    let geometry = geometry(bits);
    let cluster = geometry.cluster_size();
    let mut file = File { cluster, next: cluster, ..File::default() };
    let Ok(table) = store(&mut file, geometry, bitmap);
    let entry = BitmapDirectoryEntry {
        table_offset: table.at,
        table_size: table.entries,
        flags: BitmapFlags(0),
        kind: BitmapDirectoryEntry::DIRTY_TRACKING,
        granularity_bits: bitmap.granularity().bits(),
        extra: Vec::new(),
        name: b"b".to_vec(),
    };
    (file, entry)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_bitmap_is_a_row_of_bits(
        size in sizes(),
        cluster_bits in 9..13_u32,
        ops in prop::collection::vec(ops(), 1..14),
        looks in prop::collection::vec(ranges(), 6),
    ) {
        let fine = Granularity::new(512).expect("a granularity");
        let mut model = Model::new(size);
        let mut bitmap = DirtyBitmap::new(size, fine);
        for op in ops {
            match op {
                Op::Set(at, len) => {
                    bitmap.set(at, len);
                    model.set(at, len, 512);
                }
                Op::Clear => {
                    bitmap.clear();
                    model = Model::new(model.size);
                }
                Op::Resize(size) => {
                    bitmap.resize(size);
                    model.bits.resize(size.div_ceil(512) as usize, false);
                    model.size = size;
                }
                Op::Merge(bits, ranges) => {
                    let coarse = Granularity::from_bits(bits).expect("a granularity");
                    let mut other = DirtyBitmap::new(model.size, coarse);
                    for (at, len) in ranges {
                        other.set(at, len);
                        model.set(at, len, coarse.bytes());
                    }
                    bitmap.merge(&other).expect("of one size");
                    let elsewhere = DirtyBitmap::new(model.size + 1, coarse);
                    prop_assert!(bitmap.merge(&elsewhere).is_err());
                }
                Op::Store => {
                    let (file, entry) = stored(&bitmap, cluster_bits);
                    let mut claims = Claims::default();
                    let geometry = geometry(cluster_bits);
                    let back = load(&file, geometry, model.size, &entry, &mut claims);
                    prop_assert_eq!(back.as_ref(), Ok(&bitmap));
                    // All of it is claimed now.
                    let again = load(&file, geometry, model.size, &entry, &mut claims);
                    prop_assert!(matches!(again, Err(LoadError::Shared { .. })), "{:?}", again);
                }
            }
            prop_assert_eq!(bitmap.extents().collect::<Vec<_>>(), model.extents());
            prop_assert_eq!(bitmap.size(), model.size);
            for &(at, len) in &looks {
                let end = at.saturating_add(len).min(model.size);
                let row = model.bits.get((at / 512) as usize..end.div_ceil(512) as usize);
                let found = bitmap.extent_at(at, len);
                let Some(row) = row.filter(|_| at < end) else {
                    prop_assert_eq!(found, None);
                    continue;
                };
                let alike = row.iter().take_while(|bit| **bit == row[0]).count() as u64;
                let until = (at / 512 * 512 + alike * 512).min(end);
                prop_assert_eq!(found, Some((row[0], until - at)));
                prop_assert_eq!(bitmap.is_all_dirty(at, len), row.iter().all(|dirty| *dirty));
                prop_assert_eq!(bitmap.is_dirty(at), row[0]);
            }
        }
    }

    #[test]
    fn a_coarse_bitmap_covers_what_was_written(
        size in sizes(),
        bits in 9..20_u8,
        written in prop::collection::vec(ranges(), 0..6),
    ) {
        let granularity = Granularity::from_bits(bits).expect("a granularity");
        let mut bitmap = DirtyBitmap::new(size, granularity);
        let mut model = Model::new(size);
        for (at, len) in written {
            bitmap.set(at, len);
            model.set(at, len, granularity.bytes());
        }
        prop_assert_eq!(bitmap.extents().collect::<Vec<_>>(), model.extents());
        prop_assert_eq!(bitmap.dirty_bytes(), model.extents().iter().map(|(_, len)| len).sum::<u64>());
    }
}

#[test]
fn tables_that_lie_are_refused() {
    let geometry = geometry(9);
    let size = 3 * 512 * 8 * 512;
    let mut bitmap = DirtyBitmap::new(size, Granularity::new(512).expect("a granularity"));
    bitmap.set(0, 512);
    bitmap.set(size - 512, 512);
    let (file, entry) = stored(&bitmap, 9);
    let open = |file: &File, entry: &BitmapDirectoryEntry| {
        load(file, geometry, size, entry, &mut Claims::default())
    };
    assert_eq!(open(&file, &entry), Ok(bitmap.clone()));
    let table = entry.table_offset.get();
    let with = |index: u64, raw: u64| {
        let mut file = File { clusters: file.clusters.clone(), ..file };
        let cluster = file.clusters.get_mut(&table).expect("the table");
        cluster[index as usize * 8..][..8].copy_from_slice(&raw.to_be_bytes());
        file
    };
    let first = 512;
    for (what, file) in [
        ("the same cluster twice", with(1, first)),
        ("the table itself", with(1, table)),
        ("a cluster of something else, at offset 0 with a flag", with(1, 1 << 60)),
        ("a reserved bit", with(0, first | 2)),
        ("a flag beside an offset", with(0, first | 1)),
        ("past the end", with(1, 1 << 40)),
    ] {
        assert!(open(&file, &entry).is_err(), "{what}");
    }
    assert_eq!(open(&with(1, 1), &entry).expect("all ones").dirty_bytes(), 4096 * 512 + 1024);
    for (what, entry) in [
        ("in use", BitmapDirectoryEntry { flags: BitmapFlags::IN_USE, ..entry.clone() }),
        ("too long", BitmapDirectoryEntry { table_size: 4, ..entry.clone() }),
        ("too short", BitmapDirectoryEntry { table_size: 2, ..entry.clone() }),
        ("unknown flag", BitmapDirectoryEntry { flags: BitmapFlags(8), ..entry.clone() }),
        ("unknown extra data", BitmapDirectoryEntry { extra: vec![1], ..entry.clone() }),
        ("granularity", BitmapDirectoryEntry { granularity_bits: 63, ..entry.clone() }),
    ] {
        assert!(open(&file, &entry).is_err(), "{what}");
    }
    let compatible =
        BitmapDirectoryEntry { extra: vec![1], flags: BitmapFlags::EXTRA_DATA_COMPATIBLE, ..entry };
    assert_eq!(open(&file, &compatible), Ok(bitmap));
}
