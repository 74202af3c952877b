//! The door against a map of clusters: no write reaches a region that it did not declare.

use std::collections::BTreeMap;
use std::sync::Arc;

use holstein_guard::{GuardError, ImageFile, Intent, Region, RegionMask, RegionSet};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{
    Entry, Fault, FaultError, FaultStorage, IoKind, Lasting, Partial, RecordingStorage,
};
use holstein_units::{ClusterBits, Geometry, HostCluster, HostOffset, HostRange};
use proptest::prelude::*;

fn any_region() -> impl Strategy<Value = Region> {
    (0..Region::ALL.len()).prop_map(|n| Region::ALL[n])
}

/// Clusters at the borders of what the set keeps in arrays, and far past them.
fn any_cluster() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..40_u64,
        1020..1030_u64,
        (1_u64 << 20) - 5..(1 << 20) + 5,
        (1_u64 << 28) - 5..(1 << 28) + 5,
        (1_u64 << 47) - 3..1 << 47,
        u64::MAX - 3..=u64::MAX,
    ]
}

#[derive(Clone, Debug)]
enum SetOp {
    Insert(Region, u64, u64),
    Remove(Region, u64, u64),
    Lookup(u64, u64),
}

fn any_set_op() -> impl Strategy<Value = SetOp> {
    prop_oneof![
        (any_region(), any_cluster(), 0..12_u64).prop_map(|(r, c, n)| SetOp::Insert(r, c, n)),
        (any_region(), any_cluster(), 0..12_u64).prop_map(|(r, c, n)| SetOp::Remove(r, c, n)),
        (any_cluster(), 0..3000_u64).prop_map(|(c, n)| SetOp::Lookup(c, n)),
    ]
}

/// Which kinds are in a run of clusters, by a look at each member.
fn union(model: &BTreeMap<u64, u16>, first: u64, count: u64) -> RegionMask {
    let end = first.saturating_add(count);
    RegionMask::from_bits(model.range(first..end).fold(0, |bits, (_, kinds)| bits | kinds))
}

proptest! {
    #[test]
    fn the_set_is_a_map_of_clusters(ops in prop::collection::vec(any_set_op(), 1..60)) {
        let set = RegionSet::new();
        let mut model: BTreeMap<u64, u16> = BTreeMap::new();
        for op in ops {
            match op {
                SetOp::Insert(region, first, count) => {
                    set.insert(region, HostCluster::new(first), count);
                    for cluster in first..first.saturating_add(count) {
                        *model.entry(cluster).or_insert(0) |= region.mask().bits();
                    }
                }
                SetOp::Remove(region, first, count) => {
                    set.remove(region, HostCluster::new(first), count);
                    for cluster in first..first.saturating_add(count) {
                        *model.entry(cluster).or_insert(0) &= !region.mask().bits();
                    }
                }
                SetOp::Lookup(first, count) => {
                    let found = set.lookup(HostCluster::new(first), count);
                    prop_assert_eq!(found, union(&model, first, count));
                }
            }
        }
        for (cluster, kinds) in model {
            if cluster < u64::MAX {
                let found = set.lookup(HostCluster::new(cluster), 1);
                prop_assert_eq!(found.bits(), kinds, "cluster {:#x}", cluster);
            }
        }
    }
}

/// Bytes of the file of the write test: 32 clusters.
const CLUSTERS: u64 = 32;

#[derive(Clone, Debug)]
struct Write {
    intent: Intent,
    start: u64,
    len: u64,
    how: u8,
}

fn any_intent() -> impl Strategy<Value = Intent> {
    prop_oneof![Just(Intent::Payload), any_region().prop_map(Intent::Metadata)]
}

fn any_write(file: u64) -> impl Strategy<Value = Write> {
    (any_intent(), 0..file, 0..3000_u64, 0..4_u8).prop_map(move |(intent, start, len, how)| Write {
        intent,
        start,
        len: len.min(file - start),
        how,
    })
}

proptest! {
    #[test]
    fn no_write_reaches_a_region_it_did_not_declare(
        regions in prop::collection::vec((any_region(), 0..CLUSTERS, 1..4_u64), 0..8),
        checked in prop_oneof![
            Just(RegionMask::CACHED),
            Just(RegionMask::ALL),
            (0..0x200_u16).prop_map(RegionMask::from_bits),
        ],
        writes in prop::collection::vec(any_write(CLUSTERS * 512), 1..40),
    ) {
        let bits = ClusterBits::new(9).expect("within 9..=21");
        let storage = Arc::new(MemStorage::from_bytes(&vec![0xee; (CLUSTERS * 512) as usize]));
        let file = ImageFile::new(
            Arc::<MemStorage>::clone(&storage), Geometry::new(bits, false), checked,
        );
        let mut model: BTreeMap<u64, u16> = BTreeMap::new();
        for (region, first, count) in regions {
            file.regions().insert(region, HostCluster::new(first), count);
            for cluster in first..first + count {
                *model.entry(cluster).or_insert(0) |= region.mask().bits();
            }
        }
        let mut bytes = storage.to_bytes()?;
        for (number, write) in (0_u8..).zip(writes) {
            let Write { intent, start, len, how } = write;
            let range = HostRange { start: HostOffset::new(start), len };
            let touched = if len == 0 { 0 } else { (start + len - 1) / 512 + 1 - start / 512 };
            let forbidden = union(&model, start / 512, touched)
                .intersection(checked)
                .without(intent.allowed());
            let part = start as usize..(start + len) as usize;
            let result = match file.clear(intent, range) {
                Err(error) => Err(error),
                Ok(cleared) => match how {
                    0 => cleared.write(&vec![number; len as usize]),
                    1 => cleared.write_zeroes(),
                    2 => cleared.allocate(),
                    _ => {
                        let (a, b) = (vec![number; len as usize / 3], number);
                        let rest = vec![b; len as usize - a.len()];
                        cleared.write_vectored(&[
                            std::io::IoSlice::new(&a), std::io::IoSlice::new(&rest),
                        ])
                    }
                },
            };
            match result {
                Ok(()) => {
                    prop_assert!(len == 0 || forbidden.is_empty(), "{:?} passed", write);
                    match how {
                        1 => bytes[part].fill(0),
                        2 => {}
                        _ => bytes[part].fill(number),
                    }
                }
                Err(GuardError::Overlap { hit, .. }) => {
                    prop_assert_ne!(forbidden.intersection(hit.mask()), RegionMask::NONE);
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
            prop_assert!(storage.to_bytes()? == bytes, "{:?} changed something else", write);
        }
    }

    #[test]
    fn a_discard_that_would_hit_metadata_is_left_out(first in 0..8_u64, count in 1..5_u64) {
        let bits = ClusterBits::new(9).expect("within 9..=21");
        let storage = Arc::new(MemStorage::from_bytes(&[7; 12 * 512]));
        let file = ImageFile::new(
            Arc::<MemStorage>::clone(&storage), Geometry::new(bits, false), RegionMask::ALL,
        );
        file.regions().insert(Region::ActiveL2, HostCluster::new(5), 2);
        file.discard(HostRange { start: HostOffset::new(first * 512), len: count * 512 });
        let bytes = storage.to_bytes()?;
        let hits = first < 7 && first + count > 5;
        let gone = bytes.iter().filter(|&&b| b == 0).count() as u64;
        prop_assert_eq!(gone, if hits { 0 } else { count * 512 });
    }
}

/// Hazard H51: after one failed flush nothing is written and no flush succeeds, also when the
/// device works again.
#[test]
fn a_failed_barrier_closes_the_door_for_good() {
    let bits = ClusterBits::new(9).expect("within 9..=21");
    let storage = Arc::new(FaultStorage::new(MemStorage::from_bytes(&[1; 2048])));
    let file = ImageFile::new(
        Arc::<FaultStorage<MemStorage>>::clone(&storage),
        Geometry::new(bits, false),
        RegionMask::ALL,
    );
    file.write(Intent::Payload, HostOffset::new(0), &[2; 512]).expect("nothing fails yet");
    storage.arm(Fault {
        after: 0,
        kinds: vec![IoKind::Flush],
        error: FaultError::Eio,
        lasting: Lasting::Once,
        partial: Partial::Nothing,
    });
    assert!(matches!(file.barrier(), Err(GuardError::Barrier { .. })));
    storage.disarm();
    assert!(file.poisoned().is_some());
    assert!(file.has_unflushed(), "what was written is not durable");
    let range = HostRange { start: HostOffset::new(512), len: 512 };
    assert!(matches!(file.barrier(), Err(GuardError::Poisoned { .. })));
    assert!(matches!(file.clear(Intent::Payload, range), Err(GuardError::Poisoned { .. })));
    assert!(matches!(file.set_len(0), Err(GuardError::Poisoned { .. })));
    file.discard(range);
    let mut bytes = [0; 2048];
    file.read(HostOffset::new(0), &mut bytes).expect("reads go on");
    assert!(bytes[..512] == [2; 512] && bytes[512..] == [1; 1536]);
    assert_eq!(storage.len().expect("memory"), 2048);
}

/// Seen by the crash explorer with a fault in taking a snapshot: the header that named the snapshot
/// arrived, the one that took it back did not, and the counts that fell afterwards did.
#[test]
fn what_is_put_back_is_durable_before_anything_else() {
    let file = RecordingStorage::new(MemStorage::from_bytes(&[0; 4096])).expect("in memory");
    let storage = Arc::new(FaultStorage::new(file));
    let geometry = Geometry::new(ClusterBits::new(9).expect("512 bytes"), false);
    let on = Arc::clone(&storage);
    let door = ImageFile::new(on, geometry, RegionMask::CACHED);
    storage.arm(Fault {
        after: 0,
        kinds: vec![IoKind::Write],
        error: FaultError::Enospc,
        lasting: Lasting::Once,
        partial: Partial::Everything,
    });
    let intent = Intent::Metadata(Region::MainHeader);
    let replaced = door.replace(intent, HostOffset::new(24), &[1; 8], &[2; 8]);
    assert!(matches!(replaced, Err(GuardError::Write { .. })), "{replaced:?}");
    assert!(door.poisoned().is_none());
    let log = storage.inner().log();
    let [Entry::Write { data: new, .. }, Entry::Write { data: old, .. }, Entry::Flush] =
        log.entries()
    else {
        panic!("written, put back and made durable, not {log}");
    };
    assert_eq!((&new[..], &old[..]), (&[2; 8][..], &[1; 8][..]));
}
