//! Power cuts in a repair, and under lazy refcounts.

#![forbid(unsafe_code)]

use std::sync::Arc;

use holstein::check::{CheckOptions, RepairKind, RepairOptions, check, repair};
use holstein::format::{DecodePurpose, Header, IncompatibleFeatures};
use holstein::{CreateOptions, OpenOptions};
use holstein_guard::planted::{Bug, plant};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{RecordingStorage, SampleOptions, Tearing};
use holstein_units::HostOffset;

const CLUSTER: u64 = 512;
const SIZE: u64 = 192 * CLUSTER;
const COPIED: u64 = 1 << 63;

type Recorded = Arc<RecordingStorage<MemStorage>>;

/// A file that begins with these bytes and records what is done to it.
fn recorded(bytes: &[u8]) -> Recorded {
    Arc::new(RecordingStorage::new(MemStorage::from_bytes(bytes)).expect("memory"))
}

fn bytes_of(storage: &dyn Storage) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.len().expect("memory")).expect("small")];
    storage.read_at(HostOffset::new(0), &mut bytes).expect("memory");
    bytes
}

/// An image with data in three L2 tables.
fn image(refcount_bits: u32) -> Vec<u8> {
    let file = Arc::new(MemStorage::new());
    let options = CreateOptions::new(SIZE).cluster_size(CLUSTER).refcount_bits(refcount_bits);
    let image = options.create_on(Arc::<MemStorage>::clone(&file)).expect("created");
    for guest in [0_u64, 1, 2, 3, 64, 65, 130] {
        let byte = u8::try_from(guest + 1).expect("small");
        image.write_at(guest * CLUSTER, &[byte; 512]).expect("written");
    }
    image.close().expect("closed");
    bytes_of(&*file)
}

fn word(bytes: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).expect("small");
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn put(bytes: &mut [u8], at: u64, value: u64) {
    let at = usize::try_from(at).expect("small");
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// The whole disk; what cannot be read is empty.
fn disk(storage: Arc<dyn Storage>) -> Vec<Vec<u8>> {
    let image = OpenOptions::new().open_storage_read_only(storage).expect("it opens");
    (0..SIZE / CLUSTER)
        .map(|guest| {
            let mut bytes = vec![0; 512];
            let read = image.read_at(guest * CLUSTER, &mut bytes);
            read.map(|()| bytes).unwrap_or_default()
        })
        .collect()
}

fn states() -> SampleOptions {
    SampleOptions { samples: 16, tearing: Tearing::Last, ..SampleOptions::default() }
}

/// Where the tables of an image are.
struct Tables {
    l1: u64,
    l2: u64,
    table: u64,
    block: u64,
}

type Spoil = fn(&mut Vec<u8>, &Tables);

/// Defects that need every step that a repair has.
const DEFECTS: [(&str, Spoil); 8] = [
    ("leaks", |b, t| {
        let end = b.len() as u64;
        b.resize(b.len() + 1024, 0);
        let slot = t.block + end / CLUSTER * 2;
        let at = usize::try_from(slot).expect("small");
        b[at..at + 4].copy_from_slice(&[0, 1, 0, 2]);
    }),
    ("two owners of one cluster", |b, t| {
        let entry = word(b, t.l2);
        put(b, t.l2 + 8 * 10, entry);
    }),
    ("wrong flags", |b, t| {
        for at in [t.l1, t.l2, t.l2 + 8] {
            let entry = word(b, at);
            put(b, at, entry ^ COPIED);
        }
    }),
    ("bad entries", |b, t| {
        let entry = word(b, t.l2);
        put(b, t.l2, entry | 0x10 | 1 << 57);
        put(b, t.l2 + 8 * 7, 1 << 45 | COPIED);
        let table = word(b, t.l1 + 8);
        put(b, t.l1 + 8, table | 3);
        put(b, t.l1 + 16, 1 << 50);
    }),
    ("no counts", |b, t| {
        let at = usize::try_from(t.block).expect("small");
        b[at..at + 512].fill(0);
    }),
    ("no refcount table", |b, _| b[48..60].fill(0)),
    ("a table that names an L2 table", |b, t| put(b, t.table, t.l2)),
    ("marked, and stale", |b, t| {
        put(b, 72, 3);
        let at = usize::try_from(t.block).expect("small");
        b[at + 8..at + 40].fill(0);
        let entry = word(b, t.l2 + 8);
        put(b, t.l2 + 8, entry ^ COPIED);
    }),
];

/// C11: each state is repaired to a clean image, and nothing that was readable is lost.
#[test]
fn crash_in_a_repair_is_repaired_again() {
    let all = RepairOptions::new(RepairKind::All);
    let mut seen = 0;
    for (name, spoil) in DEFECTS {
        let mut bytes = image(16);
        let offset = 0x00ff_ffff_ffff_fe00;
        let l1 = word(&bytes, 40);
        let table = word(&bytes, 48);
        let l2 = word(&bytes, l1) & offset;
        let block = word(&bytes, table);
        spoil(&mut bytes, &Tables { l1, l2, table, block });
        let before = disk(Arc::new(MemStorage::from_bytes(&with_any_table(&bytes, table))));
        let storage = recorded(&bytes);
        let file: Arc<dyn Storage> = Arc::<RecordingStorage<MemStorage>>::clone(&storage);
        let outcome = repair(&file, &all, &mut |_| {}).expect(name);
        assert!(outcome.report().is_clean(), "{name}");
        storage
            .log()
            .for_each_state(&states(), &mut |state| {
                seen += 1;
                let file: Arc<dyn Storage> = Arc::new(state.storage());
                let outcome = repair(&file, &all, &mut |_| {}).expect(name);
                let report = outcome.report();
                assert!(report.is_clean(), "{name}, cut {}: {:?}", state.cut, report.findings);
                for (guest, (old, new)) in before.iter().zip(disk(file)).enumerate() {
                    assert!(old.is_empty() || *old == new, "{name}, cut {}: {guest}", state.cut);
                }
                Ok::<(), std::io::Error>(())
            })
            .expect("memory");
    }
    assert!(seen > 50, "{seen} states");
}

/// C3: until the counts are right the file says that they are not, in a repair as well.
fn judge_marks(bug: Option<Bug>) -> Result<u64, String> {
    let mut bytes = image(16);
    let (l1, table) = (word(&bytes, 40), word(&bytes, 48));
    let l2 = word(&bytes, l1) & 0x00ff_ffff_ffff_fe00;
    let block = word(&bytes, table);
    let (_, spoil) = DEFECTS.iter().find(|(name, _)| name.starts_with("marked")).expect("listed");
    spoil(&mut bytes, &Tables { l1, l2, table, block });
    let storage = recorded(&bytes);
    let file: Arc<dyn Storage> = Arc::<RecordingStorage<MemStorage>>::clone(&storage);
    plant(bug);
    let repaired = repair(&file, &RepairOptions::new(RepairKind::All), &mut |_| {});
    plant(None);
    repaired.map_err(|e| e.to_string())?;
    let counts = storage.log().for_each_state(&states(), &mut |state| {
        let report = check(&state.storage(), &CheckOptions::default(), &mut |_| {})
            .map_err(|e| e.to_string())?;
        let mut marks = [0; 8];
        state.image.read(72, &mut marks);
        if marks == [0; 8] && report.corruptions > 0 {
            return Err(format!("no mark at cut {}: {:?}", state.cut, report.findings));
        }
        Ok(())
    })?;
    Ok(counts.states)
}

#[test]
fn crash_in_a_repair_finds_the_marks_until_all_is_right() {
    let states = judge_marks(None).expect("the marks hold");
    assert!(states > 5, "{states} states");
    let found = judge_marks(Some(Bug::MarksClearedFirst));
    assert!(found.is_err(), "marks cleared first were not noticed");
}

/// The image with a refcount table to open it by, as reading does not look into it.
fn with_any_table(bytes: &[u8], table: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    put(&mut bytes, 48, table);
    bytes[56..60].copy_from_slice(&1_u32.to_be_bytes());
    bytes
}

/// C3: counts are behind only where the file says so, and what was flushed survives the repair.
#[test]
fn crash_under_lazy_refcounts_is_repaired_at_the_next_opening() {
    let storage = recorded(&image(16));
    let writes: Vec<(u64, u8)> = (0..14_u8).map(|n| (u64::from(n) * 29 % 192, 0xa0 + n)).collect();
    let image = OpenOptions::new()
        .lazy_refcounts(true)
        .open_storage(Arc::<RecordingStorage<MemStorage>>::clone(&storage))
        .expect("opened");
    for (number, (guest, byte)) in (1..).zip(&writes) {
        image.write_at(guest * CLUSTER, &[*byte; 512]).expect("written");
        if number % 5 == 0 {
            image.discard((guest - 1) * CLUSTER, 2 * CLUSTER).expect("discarded");
            image.write_at(guest * CLUSTER, &[*byte; 512]).expect("written");
        }
        image.flush().expect("flushed");
        storage.mark(number);
    }
    image.close().expect("closed");
    let (mut seen, mut behind) = (0, 0);
    storage
        .log()
        .for_each_state(&states(), &mut |state| {
            seen += 1;
            let file: Arc<dyn Storage> = Arc::new(state.storage());
            let report = check(&*file, &CheckOptions::default(), &mut |_| {}).expect("checked");
            let mut head = [0; 512];
            file.read_at(HostOffset::new(0), &mut head)?;
            let header = Header::decode(&head, file.len()?, DecodePurpose::Use).expect("whole");
            let dirty = header.incompatible.contains(IncompatibleFeatures::DIRTY);
            assert!(dirty || report.corruptions == 0, "cut {}: {:?}", state.cut, report.findings);
            behind += u64::from(report.corruptions > 0);
            let opened = OpenOptions::new().open_storage(Arc::clone(&file)).expect("repaired");
            let safe = state.flushed_mark.unwrap_or(0);
            for (number, (guest, byte)) in (1..).zip(&writes) {
                let rewritten = writes.iter().skip(number).any(|(g, _)| g.abs_diff(*guest) < 3);
                if number as u64 <= safe && !rewritten {
                    let mut bytes = [0; 512];
                    opened.read_at(guest * CLUSTER, &mut bytes).expect("read");
                    assert_eq!(bytes, [*byte; 512], "cut {}: write {number}", state.cut);
                }
            }
            opened.close().expect("closed");
            let report = check(&*file, &CheckOptions::default(), &mut |_| {}).expect("checked");
            assert!(report.is_clean(), "cut {}: {:?}", state.cut, report.findings);
            Ok::<(), std::io::Error>(())
        })
        .expect("memory");
    assert!(seen > 60 && behind > 10, "{seen} states, {behind} with counts behind");
    let whole = bytes_of(&*storage);
    assert_eq!(word(&whole, 72) & 1, 0, "clean after close");
}

#[test]
fn lazy_refcounts_are_refused_in_version_2() {
    let file = Arc::new(MemStorage::new());
    let options = CreateOptions::new(SIZE).version(holstein::format::Version::V2);
    options.create_on(Arc::<MemStorage>::clone(&file)).expect("created").close().expect("closed");
    let error = OpenOptions::new().lazy_refcounts(true).open_storage(file).expect_err("refused");
    assert_eq!(error.kind(), holstein::ErrorKind::InvalidInput);
}

#[test]
fn dirty_images_are_refused_where_a_repair_is_not_wanted() {
    let mut bytes = image(16);
    put(&mut bytes, 72, 1);
    let storage: Arc<dyn Storage> = Arc::new(MemStorage::from_bytes(&bytes));
    let options = OpenOptions::new().repair_dirty(false);
    let error = options.open_storage(Arc::clone(&storage)).expect_err("refused");
    assert_eq!(error.kind(), holstein::ErrorKind::ReadOnly);
    assert_eq!(bytes_of(&*storage), bytes);
    OpenOptions::new()
        .open_storage(Arc::clone(&storage))
        .expect("repaired")
        .close()
        .expect("closed");
    assert_eq!(word(&bytes_of(&*storage), 72), 0);
}
