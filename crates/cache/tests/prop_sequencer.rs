//! Runs against the record of what reached the file: never a rung before those it relies on.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use holstein_cache::{Capture, RankedTables, Rung, Sequencer, TableWrite};
use holstein_guard::{GuardError, ImageFile, Intent, Region, RegionMask};
use holstein_storage::MemStorage;
use holstein_testkit::{
    Entry, Fault, FaultError, FaultStorage, IoKind, Lasting, Partial, RecordingStorage,
};
use holstein_units::{ClusterBits, Epoch, Geometry, HostOffset};
use proptest::prelude::*;

const RUNGS: [Rung; 4] = [Rung::Counts, Rung::Roots, Rung::Links, Rung::Header];
/// Tables are sectors; the rung and the owner can be told from the place.
const PER_OWNER: u64 = 64;

/// An owner with dirty sectors, each on a rung of its own.
#[derive(Debug)]
struct Owner {
    number: u64,
    dirty: Mutex<BTreeSet<(usize, u64)>>,
    released: Mutex<Vec<(Epoch, Option<Epoch>)>>,
    /// Whether the run that failed had begun with the links.
    attempted: AtomicBool,
}

fn place(owner: u64, rung: usize, slot: u64) -> HostOffset {
    HostOffset::new((owner * PER_OWNER + rung as u64 * 8 + slot) * 512)
}

impl RankedTables for Owner {
    fn region(&self) -> Region {
        Region::ALL[usize::try_from(self.number).expect("small")]
    }

    fn capture(&self, capture: &mut Capture) {
        for (rung, slot) in std::mem::take(&mut *self.dirty.lock().expect("no panic")) {
            let at = place(self.number, rung, slot);
            capture.writes.push(TableWrite {
                table: at,
                at,
                bytes: vec![1; 512],
                rung: RUNGS[rung],
            });
        }
    }

    fn settle(&self, writes: &[TableWrite], durable: bool, attempted: bool) {
        if !durable {
            self.attempted.store(attempted, Ordering::SeqCst);
            let mut dirty = self.dirty.lock().expect("no panic");
            for write in writes {
                let n = write.at.get() / 512 % PER_OWNER;
                dirty.insert((usize::try_from(n / 8).expect("small"), n % 8));
            }
        }
    }

    fn release(&self, run: Epoch, oldest: Option<Epoch>) {
        self.released.lock().expect("no panic").push((run, oldest));
    }
}

type Recorded = FaultStorage<RecordingStorage<MemStorage>>;

struct World {
    storage: Arc<Recorded>,
    sequencer: Arc<Sequencer>,
    owners: Vec<Arc<Owner>>,
}

impl World {
    fn new() -> Self {
        let recording = RecordingStorage::new(MemStorage::new()).expect("memory");
        let storage = Arc::new(FaultStorage::new(recording));
        let geometry = Geometry::new(ClusterBits::new(9).expect("within 9..=21"), false);
        let file = ImageFile::new(Arc::<Recorded>::clone(&storage), geometry, RegionMask::ALL);
        let sequencer = Arc::new(Sequencer::new(Arc::new(file)));
        let owners: Vec<Arc<Owner>> = (0..3)
            .map(|number| {
                Arc::new(Owner {
                    number,
                    dirty: Mutex::default(),
                    released: Mutex::default(),
                    attempted: AtomicBool::new(false),
                })
            })
            .collect();
        let ranked: Vec<Arc<dyn RankedTables>> =
            owners.iter().map(|o| Arc::<Owner>::clone(o) as Arc<dyn RankedTables>).collect();
        sequencer.register(&ranked);
        Self { storage, sequencer, owners }
    }

    fn payload(&self, slot: u64) -> Result<(), GuardError> {
        let at = HostOffset::new((10_000 + slot) * 512);
        self.sequencer.file().write(Intent::Payload, at, &[2; 512])
    }

    fn log(&self) -> Vec<Entry> {
        self.storage.inner().log().entries().to_vec()
    }

    fn is_dirty(&self) -> bool {
        self.owners.iter().any(|o| !o.dirty.lock().expect("no panic").is_empty())
    }
}

/// The rung of a recorded write; 0 for payload.
fn rung_of(entry: &Entry) -> Option<usize> {
    let Entry::Write { at, .. } = entry else { return None };
    let sector = at.get() / 512;
    Some(if sector >= 10_000 { 0 } else { usize::try_from(sector % PER_OWNER / 8).expect("small") })
}

/// Barriers of one run, and its rungs, in the order of the record.
fn judge_run(log: &[Entry]) -> Result<usize, TestCaseError> {
    let mut highest = 0;
    let mut barriers = 0;
    let mut since = false;
    for entry in log {
        match rung_of(entry) {
            Some(rung) => {
                prop_assert!(rung >= highest, "rung {} after rung {}", rung, highest);
                prop_assert!(
                    rung == highest || !since,
                    "rung {} while rung {} is not durable",
                    rung,
                    highest
                );
                highest = rung;
                since = true;
            }
            None => {
                prop_assert_eq!(entry, &Entry::Flush);
                barriers += 1;
                since = false;
            }
        }
    }
    Ok(barriers)
}

#[derive(Clone, Debug)]
enum Op {
    Dirty(usize, usize, u64),
    Payload(u64),
    Flush,
    /// Flush while the n-th write fails.
    FailWrite(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..3_usize, 0..4_usize, 0..8_u64).prop_map(|(o, r, s)| Op::Dirty(o, r, s)),
        3 => (0..8_u64).prop_map(Op::Payload),
        3 => Just(Op::Flush),
        1 => (0..6_u64).prop_map(Op::FailWrite),
    ]
}

proptest! {
    #[test]
    fn rungs_are_written_in_order_with_barriers_between(
        ops in prop::collection::vec(any_op(), 1..60),
        pinned in any::<bool>(),
    ) {
        let world = World::new();
        // A pin that outlives all runs: what waits for it must hear of it each time.
        let pin = pinned.then(|| world.sequencer.pins().pin());
        let mut payload = false;
        let mut runs = 0;
        for op in ops {
            match op {
                Op::Dirty(owner, rung, slot) => {
                    world.owners[owner].dirty.lock().expect("no panic").insert((rung, slot));
                }
                Op::Payload(slot) => {
                    world.payload(slot).expect("nothing fails");
                    payload = true;
                }
                Op::Flush | Op::FailWrite(_) => {
                    let failing = matches!(op, Op::FailWrite(_));
                    if let Op::FailWrite(after) = op {
                        world.storage.arm(Fault {
                            after,
                            kinds: vec![IoKind::Write],
                            error: FaultError::Enospc,
                            lasting: Lasting::Once,
                            partial: Partial::Nothing,
                        });
                    }
                    let rungs: BTreeSet<usize> = world
                        .owners
                        .iter()
                        .flat_map(|o| o.dirty.lock().expect("no panic").clone())
                        .map(|(rung, _)| rung)
                        .collect();
                    let before = world.log().len();
                    let result = world.sequencer.flush();
                    let fired = failing && world.storage.fired() > 0;
                    world.storage.disarm();
                    let log = world.log();
                    let barriers = judge_run(&log[before..])?;
                    prop_assert_eq!(result.is_err(), fired);
                    if fired {
                        prop_assert!(world.is_dirty(), "what was not written is dirty again");
                        if log[before..].iter().any(|e| rung_of(e) == Some(2)) {
                            let told = |o: &Arc<Owner>| o.attempted.load(Ordering::SeqCst);
                            prop_assert!(world.owners.iter().all(told), "links were begun");
                        }
                        // Payload may have been made durable on the way.
                        payload = world.sequencer.file().has_unflushed();
                    } else {
                        runs += 1;
                        prop_assert!(!world.is_dirty());
                        let counts = usize::from(payload && !rungs.contains(&0));
                        prop_assert_eq!(barriers, rungs.len() + counts, "one barrier a rung");
                        payload = false;
                        for owner in &world.owners {
                            let released = owner.released.lock().expect("no panic");
                            prop_assert_eq!(released.len(), runs);
                            let (run, oldest) = *released.last().expect("one a run");
                            prop_assert!(run < world.sequencer.open_epoch());
                            prop_assert_eq!(oldest, pinned.then(|| Epoch::new(1)));
                        }
                    }
                }
            }
        }
        drop(pin);
    }
}

/// A barrier that fails leaves everything dirty, and no later flush succeeds.
#[test]
fn after_a_failed_barrier_no_flush_succeeds() {
    for failing in 0..4 {
        let world = World::new();
        for rung in 0..4 {
            world.owners[0].dirty.lock().expect("no panic").insert((rung, 0));
        }
        world.storage.arm(Fault {
            after: failing,
            kinds: vec![IoKind::Flush],
            error: FaultError::Eio,
            lasting: Lasting::Once,
            partial: Partial::Nothing,
        });
        assert!(matches!(world.sequencer.flush(), Err(GuardError::Barrier { .. })), "{failing}");
        world.storage.disarm();
        assert!(world.is_dirty());
        let written = world.log().len();
        for _ in 0..3 {
            assert!(matches!(world.sequencer.flush(), Err(GuardError::Poisoned { .. })));
        }
        assert!(world.payload(0).is_err());
        assert_eq!(world.log().len(), written, "nothing reached the file");
    }
}

/// A flush returns only after everything that was acknowledged before it is durable, whoever did
/// the work.
#[test]
fn concurrent_flushes_share_runs_and_lose_nothing() {
    let world = World::new();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let world = &world;
            scope.spawn(move || {
                for round in 0..200_u64 {
                    let slot = thread * 2 + round % 2;
                    world.payload(slot).expect("nothing fails");
                    let before = world.log().len();
                    world.owners[0].dirty.lock().expect("no panic").insert((2, slot));
                    world.sequencer.flush().expect("nothing fails");
                    let log = world.log();
                    // The link, and after it a barrier, came after it was made dirty.
                    let at = place(0, 2, slot);
                    let link = log[before..]
                        .iter()
                        .position(|e| matches!(e, Entry::Write { at: there, .. } if *there == at))
                        .expect("the link was written");
                    assert!(log[before + link..].contains(&Entry::Flush));
                }
            });
        }
    });
    let flushes = world.log().iter().filter(|e| **e == Entry::Flush).count();
    assert!(flushes <= 4 * 200 * 2, "{flushes} barriers for 800 flushes of two rungs");
}
