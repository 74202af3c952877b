//! Defects, each planted into images of every shape that can have it.

#![allow(unreachable_pub, reason = "a module of a test")]

pub mod base;
pub mod reader;

use holstein_format::{COPIED, RefcountOrder, Version};

use super::common::Image;
use base::Shape;

/// Where things are in an image of [`base::image`].
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub shape: Shape,
    pub size: u64,
    pub l1: u64,
    pub l2: u64,
    /// The second L2 table, which no snapshot shares.
    pub l2_own: u64,
    pub data: u64,
    /// The data cluster below the second table.
    pub data_own: u64,
    pub table: u64,
    pub block: u64,
    pub list: u64,
    pub end: u64,
}

impl Places {
    pub fn of(shape: Shape, image: &Image) -> Self {
        let offset = 0x00ff_ffff_ffff_fe00;
        let l1 = image.get(40);
        let l2 = image.get(l1) & offset;
        let l2_own = image.get(l1 + 8) & offset;
        let table = image.get(48);
        Self {
            shape,
            size: shape.size(),
            l1,
            l2,
            l2_own,
            data: image.get(l2) & offset,
            data_own: image.get(l2_own) & offset,
            table,
            block: image.get(table),
            list: image.get(64),
            end: image.bytes.len() as u64,
        }
    }

    fn cluster(&self, at: u64) -> u64 {
        at / self.size
    }
}

/// How a defect is judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    /// `qemu-img check` does not see it, or gives up.
    pub unseen: bool,
    /// The second table of the disk and the second snapshot name metadata as data.
    pub garbage: bool,
    /// It is none: nothing is to be done.
    pub harmless: bool,
    /// The snapshots go with the defect.
    pub loses_snapshots: bool,
}

type Spoil = fn(&mut Image, &Places);

/// One defect.
#[derive(Clone, Copy)]
pub struct Defect {
    pub name: &'static str,
    pub fits: fn(Shape) -> bool,
    pub spoil: Spoil,
    pub judged: Judged,
}

fn defect(name: &'static str, fits: fn(Shape) -> bool, spoil: Spoil) -> Defect {
    Defect { name, fits, spoil, judged: Judged::default() }
}

impl Defect {
    fn unseen(mut self) -> Self {
        self.judged.unseen = true;
        self
    }

    fn garbage(mut self) -> Self {
        self.judged.garbage = true;
        self
    }

    fn harmless(mut self) -> Self {
        self.judged.harmless = true;
        self.unseen()
    }

    fn loses_snapshots(mut self) -> Self {
        self.judged.loses_snapshots = true;
        self
    }
}

fn any(_: Shape) -> bool {
    true
}

fn shared(shape: Shape) -> bool {
    shape.shares()
}

/// Clusters above the granularity of offsets, so that some offsets are not aligned.
fn large(shape: Shape) -> bool {
    shape.bits > 9
}

fn v3(shape: Shape) -> bool {
    shape.version == Version::V3
}

fn v3_shared(shape: Shape) -> bool {
    v3(shape) && shared(shape)
}

fn v3_large(shape: Shape) -> bool {
    v3(shape) && large(shape)
}

fn v2(shape: Shape) -> bool {
    shape.version == Version::V2
}

fn large_shared(shape: Shape) -> bool {
    large(shape) && shared(shape)
}

fn count(i: &mut Image, p: &Places, at: u64, value: u64) {
    i.set_refcount(p.cluster(at), value);
}

fn flip(i: &mut Image, at: u64, bits: u64) {
    i.put(at, i.get(at) ^ bits);
}

/// The snapshot record with this number.
fn record(i: &Image, p: &Places, number: usize) -> u64 {
    let mut at = p.list;
    for _ in 0..number {
        let start = usize::try_from(at).expect("small");
        let (_, length) =
            holstein_format::SnapshotRecord::decode(&i.bytes[start..]).expect("an honest record");
        at = (at + length as u64).next_multiple_of(8);
    }
    at
}

/// The L1 table of the second snapshot and its L2 table.
fn snapshot_tables(i: &Image, p: &Places) -> (u64, u64) {
    let l1 = i.get(record(i, p, 1));
    (l1, i.get(l1) & !COPIED)
}

/// Wrong refcounts.
pub fn counts() -> Vec<Defect> {
    vec![
        defect("data count 0", any, |i, p| count(i, p, p.data_own, 0)),
        defect("shared data count 1", shared, |i, p| count(i, p, p.data, 1)),
        defect("shared data count 0", shared, |i, p| count(i, p, p.data, 0)),
        defect("data count too high", shared, |i, p| count(i, p, p.data_own, 2)),
        defect("data count the largest", shared, |i, p| {
            count(i, p, p.data_own, RefcountOrder::new(p.shape.order).expect("an order").max());
        }),
        defect("L2 count 0", any, |i, p| count(i, p, p.l2_own, 0)),
        defect("L2 count too high", shared, |i, p| count(i, p, p.l2_own, 3)),
        defect("L1 count 0", any, |i, p| count(i, p, p.l1, 0)),
        defect("L1 count too high", shared, |i, p| count(i, p, p.l1, 2)),
        defect("header count 0", any, |i, p| count(i, p, 0, 0)),
        defect("header count too high", shared, |i, p| count(i, p, 0, 2)),
        defect("refcount table count 0", any, |i, p| count(i, p, p.table, 0)),
        defect("refcount block count 0", any, |i, p| count(i, p, p.block, 0)),
        defect("refcount block count 2", shared, |i, p| count(i, p, p.block, 2)),
        defect("snapshot table count 0", shared, |i, p| count(i, p, p.list, 0)),
        defect("snapshot L1 count 0", shared, |i, p| {
            let l1 = i.get(p.list);
            count(i, p, l1, 0);
        }),
        defect("compressed count too low", shared, |i, p| {
            let packed = i.get(p.l2 + 64) & ((1 << 50) - 1);
            count(i, p, packed, 1);
        }),
        defect("leak at the end", any, |i, p| {
            i.put(p.end + p.size - 8, 0);
            count(i, p, p.end, 1);
        }),
        defect("all counts 0", any, |i, p| {
            i.put_bytes(p.block, &vec![0; usize::try_from(p.size).expect("small")]);
        }),
        defect("all counts the largest", shared, |i, p| {
            i.put_bytes(p.block, &vec![0xff; usize::try_from(p.size).expect("small")]);
        }),
        defect("counts of noise", any, |i, p| {
            for at in 0..p.size.min(4096) / 8 {
                i.put(p.block + at * 8, at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
        }),
    ]
}

/// Wrong COPIED flags.
pub fn flags() -> Vec<Defect> {
    vec![
        defect("data without COPIED", any, |i, p| flip(i, p.l2_own, COPIED)),
        defect("shared data with COPIED", shared, |i, p| flip(i, p.l2, COPIED)),
        defect("L2 without COPIED", any, |i, p| flip(i, p.l1 + 8, COPIED)),
        defect("shared L2 with COPIED", shared, |i, p| flip(i, p.l1, COPIED)),
        defect("kept zeros with wrong COPIED", v3, |i, p| flip(i, p.l2 + 32, COPIED)),
        defect("flags and counts", shared, |i, p| {
            flip(i, p.l2_own, COPIED);
            count(i, p, p.data_own, 2);
        }),
    ]
}

/// Bad L1 entries.
pub fn l1_entries() -> Vec<Defect> {
    vec![
        defect("L1 reserved low bit", any, |i, p| flip(i, p.l1 + 8, 1)),
        defect("L1 reserved high bits", any, |i, p| flip(i, p.l1 + 8, 0x7f << 56)),
        defect("L1 unaligned", large, |i, p| flip(i, p.l1 + 8, 512)),
        defect("L1 past the end", any, |i, p| i.put(p.l1 + 8, (p.end + 8 * p.size) | COPIED)),
        defect("L1 far past the end", any, |i, p| i.put(p.l1 + 8, 1 << 55 | COPIED)),
        defect("L1 at the header", any, |i, p| i.put(p.l1 + 8, COPIED)),
        defect("L1 names the L1 table", any, |i, p| i.put(p.l1 + 8, p.l1 | COPIED)).garbage(),
        defect("L1 names the refcount table", any, |i, p| i.put(p.l1 + 8, p.table | COPIED)),
        defect("L1 names a refcount block", any, |i, p| i.put(p.l1 + 8, p.block | COPIED)),
        defect("two L1 entries of one table", shared, |i, p| i.put(p.l1 + 8, i.get(p.l1))),
    ]
}

/// Bad L2 entries.
pub fn l2_entries() -> Vec<Defect> {
    vec![
        defect("L2 reserved low bits", any, |i, p| flip(i, p.l2_own, 0xfe)),
        defect("L2 reserved high bits", any, |i, p| flip(i, p.l2_own, 0x3f << 56)),
        defect("data unaligned", large, |i, p| flip(i, p.l2_own, 512)),
        defect("kept zeros unaligned", v3_large, |i, p| flip(i, p.l2 + 32, 512)),
        defect("data past the end", any, |i, p| i.put(p.l2_own, (p.end + 9 * p.size) | COPIED)),
        defect("data far past the end", any, |i, p| i.put(p.l2_own, 1 << 55 | COPIED)),
        defect("kept zeros past the end", v3, |i, p| i.put(p.l2_own, 1 << 50 | COPIED | 1)),
        defect("data at the header", any, |i, p| i.put(p.l2_own, COPIED)),
        defect("zero flag in version 2", v2, |i, p| flip(i, p.l2_own, 1)).unseen(),
        defect("compressed with COPIED", shared, |i, p| flip(i, p.l2 + 64, COPIED)),
        defect("compressed past the end", shared, |i, p| i.put(p.l2_own + 8, 1 << 62 | 1 << 45)),
        defect("compressed over the end", large_shared, |i, p| {
            let sectors = (p.size / 512 - 1) << (62 - (p.shape.bits - 8));
            i.put(p.l2_own + 8, 1 << 62 | sectors | (i.get(p.l2 + 64) & ((1 << 50) - 1)));
            i.bytes.truncate(usize::try_from(p.end).expect("small"));
            i.put(p.l2_own + 16, 1 << 62 | (sectors * 2) | (p.end - 1000));
        }),
        defect("two entries of one cluster", shared, |i, p| i.put(p.l2_own + 8, i.get(p.l2_own))),
        defect("data names the L1 table", shared, |i, p| i.put(p.l2_own + 8, p.l1 | COPIED)),
        defect("data names its L2 table", shared, |i, p| i.put(p.l2_own + 8, p.l2_own | COPIED))
            .garbage(),
        defect("data names a refcount block", shared, |i, p| {
            i.put(p.l2_own + 8, p.block | COPIED);
        }),
        defect("data names the refcount table", shared, |i, p| {
            i.put(p.l2_own + 8, p.table | COPIED);
        }),
        defect("data names the snapshot table", shared, |i, p| {
            i.put(p.l2_own + 8, p.list | COPIED);
        }),
    ]
}

/// Bad refcount tables.
pub fn refcount_tables() -> Vec<Defect> {
    vec![
        defect("table entry with reserved bits", any, |i, p| flip(i, p.table, 1)),
        defect("table entry unaligned", large, |i, p| flip(i, p.table, 512)),
        defect("table entry past the end", any, |i, p| i.put(p.table, p.end + 16 * p.size)),
        defect("table entry far past the end", any, |i, p| i.put(p.table, 1 << 50)),
        defect("table entry above 2^63", any, |i, p| i.put(p.table, 1 << 63)),
        defect("second table entry past the end", any, |i, p| {
            i.put(p.table + 8, p.end + 16 * p.size);
        }),
        defect("two entries of one block", any, |i, p| i.put(p.table + 8, p.block)),
        defect("table entry empty", any, |i, p| i.put(p.table, 0)),
        defect("table entry names an L2 table", any, |i, p| i.put(p.table, p.l2_own)),
        defect("table entry names data", any, |i, p| i.put(p.table, p.data)),
        defect("table entry names the table", any, |i, p| i.put(p.table, p.table)),
        defect("table entry names the L1 table", any, |i, p| i.put(p.table, p.l1)),
        defect("no refcount table", any, |i, _| i.put_bytes(48, &[0; 12])),
        defect("refcount table at the header", any, |i, _| i.put(48, 0)),
        defect("refcount table at the L1 table", any, |i, p| i.put(48, p.l1)),
        defect("refcount table at data", any, |i, p| i.put(48, p.data)),
        defect("refcount table past the end", any, |i, p| i.put(48, p.end + 4 * p.size)),
    ]
}

/// Bad lists of snapshots, and bad snapshots.
pub fn snapshots() -> Vec<Defect> {
    vec![
        defect("snapshot record without fields", v3_shared, |i, p| {
            let at = p.list;
            let bytes = i.bytes.clone();
            let start = usize::try_from(at).expect("small");
            let (mut record, _) =
                holstein_format::SnapshotRecord::decode(&bytes[start..]).expect("a record");
            record.extra.clear();
            let one = record.encode().expect("short");
            i.put_bytes(at, &one);
            i.put_bytes(60, &1_u32.to_be_bytes());
        })
        .loses_snapshots(),
        defect("snapshot with too much extra data", shared, |i, p| {
            i.put_bytes(p.list + 36, &2000_u32.to_be_bytes());
        })
        .loses_snapshots(),
        defect("snapshot L1 unaligned", shared, |i, p| {
            let at = record(i, p, 1);
            i.put(at, i.get(at) + 8);
        })
        .loses_snapshots(),
        defect("snapshot L1 too large", shared, |i, p| {
            i.put_bytes(record(i, p, 1) + 8, &0x7fff_0000_u32.to_be_bytes());
        })
        .loses_snapshots(),
        defect("snapshot L1 far past the end", shared, |i, p| {
            let at = record(i, p, 1);
            i.put(at, 1 << 50);
        })
        .loses_snapshots(),
        defect("snapshot L1 entry with reserved bits", shared, |i, p| {
            let (l1, _) = snapshot_tables(i, p);
            flip(i, l1, 1 << 57 | 4);
        }),
        defect("snapshot L1 entry unaligned", large_shared, |i, p| {
            let (l1, _) = snapshot_tables(i, p);
            flip(i, l1, 512);
        }),
        defect("snapshot L1 entry past the end", shared, |i, p| {
            let (l1, _) = snapshot_tables(i, p);
            i.put(l1, p.end + 64 * p.size);
        }),
        defect("snapshot L1 entry names the L1 table", shared, |i, p| {
            let (l1, _) = snapshot_tables(i, p);
            i.put(l1, p.l1);
        })
        .garbage(),
        defect("snapshot L2 entry with reserved bits", shared, |i, p| {
            let (_, l2) = snapshot_tables(i, p);
            flip(i, l2, 1 << 60 | 2);
        }),
        defect("snapshot L2 entry unaligned", large_shared, |i, p| {
            let (_, l2) = snapshot_tables(i, p);
            flip(i, l2 + 8, 512);
        }),
        defect("snapshot L2 entry past the end", shared, |i, p| {
            let (_, l2) = snapshot_tables(i, p);
            i.put(l2 + 8, p.end + 64 * p.size);
        }),
        defect("more snapshots than may be", shared, |i, _| {
            i.put_bytes(60, &70_000_u32.to_be_bytes());
        })
        .loses_snapshots(),
    ]
}

/// Files that were cut, and marks in the header.
pub fn files() -> Vec<Defect> {
    vec![
        defect("file cut within the last cluster", any, |i, p| {
            i.bytes.truncate(usize::try_from(p.end - 100).expect("small"));
        })
        .harmless(),
        defect("file cut before its blocks", any, |i, p| {
            i.bytes.truncate(usize::try_from(p.block).expect("small"));
        }),
        defect("file cut before its refcounts", any, |i, p| {
            i.bytes.truncate(usize::try_from(p.table).expect("small"));
        }),
        defect("corrupt bit", v3, |i, _| i.put(72, 2)).unseen(),
        defect("dirty bit", v3, |i, _| i.put(72, 1)).unseen(),
        defect("dirty bit and stale counts", v3, |i, p| {
            i.put(72, 1);
            count(i, p, p.data_own, 0);
            count(i, p, p.l2_own, 0);
        }),
        defect("unknown autoclear bit", v3, |i, _| i.put(88, 1 << 63)).unseen(),
    ]
}

/// Defects of images with extended L2 entries, by entry and bitmap of guest cluster 0.
pub fn extended() -> Vec<Defect> {
    vec![
        defect("subclusters data and zeros", any, |i, _| flip(i, i.l2() + 8, 1 << 32)),
        defect("subclusters without a place", any, |i, _| i.put(i.l2() + 16 * 5 + 8, 6)),
        defect("compressed with subclusters", any, |i, _| i.put(i.l2() + 16 * 8 + 8, 1)),
        defect("extended data past the end", any, |i, _| i.put(i.l2(), 1 << 50 | COPIED)),
    ]
}

/// Defects of images with a data file.
pub fn data_file() -> Vec<Defect> {
    vec![
        defect("data file cluster moved", any, |i, _| i.put(i.l2() + 8, 0x30000 | COPIED)).unseen(),
        defect("data file cluster unaligned", any, |i, _| flip(i, i.l2() + 8, 512)),
        defect("data file cluster compressed", any, |i, _| i.put(i.l2() + 8, 1 << 62 | 65536)),
        defect("data file cluster without COPIED", any, |i, _| flip(i, i.l2() + 8, COPIED)),
    ]
}
