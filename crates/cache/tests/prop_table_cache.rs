//! The table cache against two maps: what the file holds, and what the tables say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holstein_cache::{CacheFull, FetchStart, FetchTicket, Hold, Rung, TableCache, TableWrite};
use holstein_units::HostOffset;
use proptest::prelude::*;

/// Words of a table; two sectors, so that a change of one word leaves the other sector clean.
const WORDS: usize = 128;
const TABLE: u64 = WORDS as u64 * 8;
/// Tables that there are; more than fit in the smallest caches.
const TABLES: u64 = 24;

type Words = Vec<u64>;

#[derive(Clone, Debug)]
enum Op {
    /// Begin a fetch and keep the ticket.
    Begin(u64),
    /// Read the file for the oldest ticket and install it.
    Install,
    /// Begin and install at once.
    Fetch(u64),
    /// Give up the oldest fetch.
    GiveUp,
    /// The file gets a table of zeros, and the cache is told.
    InstallZeros(u64),
    /// The file gets these bytes, and the cache is told.
    InstallBytes(u64, u64),
    /// Store values, if the table can be held.
    Store(u64, usize, Vec<u64>),
    StoreWhole(u64, usize, Vec<u64>),
    Update(u64, usize, usize, u64),
    /// Keep a hold.
    Hold(u64),
    /// Store through the oldest hold kept.
    StoreHeld(usize, u64),
    /// Drop the oldest hold.
    Release,
    /// The cluster is no table any more; something else is written there.
    Retire(u64, u64),
    Note(u64, u8),
    /// What is not in use goes.
    Trim,
    Capture,
    /// The run is over: durable, or only the writes of the mask arrived.
    Settle(bool, u8),
}

fn any_op() -> impl Strategy<Value = Op> {
    let table = 1..=TABLES;
    let values = prop::collection::vec(any::<u64>(), 1..4);
    let word = 0..WORDS - 4;
    prop_oneof![
        3 => table.clone().prop_map(Op::Begin),
        4 => Just(Op::Install),
        6 => table.clone().prop_map(Op::Fetch),
        1 => Just(Op::GiveUp),
        1 => table.clone().prop_map(Op::InstallZeros),
        1 => (table.clone(), any::<u64>()).prop_map(|(t, v)| Op::InstallBytes(t, v)),
        8 => (table.clone(), word.clone(), values.clone()).prop_map(|(t, w, v)| Op::Store(t, w, v)),
        2 => (table.clone(), word.clone(), values).prop_map(|(t, w, v)| Op::StoreWhole(t, w, v)),
        3 => (table.clone(), word.clone(), 1..4_usize, any::<u64>())
            .prop_map(|(t, w, n, v)| Op::Update(t, w, n, v)),
        2 => table.clone().prop_map(Op::Hold),
        3 => (word, any::<u64>()).prop_map(|(w, v)| Op::StoreHeld(w, v)),
        2 => Just(Op::Release),
        2 => (table.clone(), any::<u64>()).prop_map(|(t, v)| Op::Retire(t, v)),
        1 => (table, any::<u8>()).prop_map(|(t, n)| Op::Note(t, n)),
        1 => Just(Op::Trim),
        3 => Just(Op::Capture),
        3 => (any::<bool>(), any::<u8>()).prop_map(|(d, m)| Op::Settle(d, m)),
    ]
}

fn at(table: u64) -> HostOffset {
    HostOffset::new(table * TABLE)
}

fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

struct World {
    cache: Arc<TableCache>,
    /// What the file holds.
    file: BTreeMap<u64, Words>,
    /// What the tables say: the file, with what was stored and not written yet.
    now: BTreeMap<u64, Words>,
    notes: BTreeMap<u64, u8>,
    /// Tables that memory alone has.
    dirty: BTreeSet<u64>,
    tickets: Vec<(u64, Words, FetchTicket)>,
    holds: Vec<(u64, bool, Hold)>,
    run: Option<Vec<TableWrite>>,
}

impl World {
    fn new(capacity: u64) -> Self {
        let file: BTreeMap<u64, Words> =
            (1..=TABLES).map(|t| (t, (0..WORDS as u64).map(|w| t << 32 | w).collect())).collect();
        Self {
            // The tables of the file are runs, until something is stored in them.
            cache: TableCache::with_stride(TABLE, capacity, 1),
            now: file.clone(),
            file,
            notes: BTreeMap::new(),
            dirty: BTreeSet::new(),
            tickets: Vec::new(),
            holds: Vec::new(),
            run: None,
        }
    }

    fn in_memory(&self, table: u64) -> bool {
        self.cache.read(at(table), |_| ()).is_some()
    }

    /// Whether the cache could be full for a table: all room is taken by tables that must stay.
    fn may_be_full(&self) -> bool {
        let mut stay = self.dirty.clone();
        stay.extend(self.holds.iter().map(|(t, _, _)| *t));
        stay.extend(self.run.iter().flatten().map(|w| w.table.get() / TABLE));
        !stay.is_empty()
    }

    fn accept(&self, result: Result<(), CacheFull>) -> Result<bool, TestCaseError> {
        if result.is_err() {
            prop_assert!(self.may_be_full(), "full without a table that must stay");
        }
        Ok(result.is_ok())
    }

    fn change(&mut self, table: u64, word: usize, values: &[u64]) {
        let words = self.now.get_mut(&table).expect("all tables are there");
        words[word..word + values.len()].copy_from_slice(values);
        self.dirty.insert(table);
    }

    fn replace(&mut self, table: u64, words: Words) {
        self.file.insert(table, words.clone());
        self.now.insert(table, words);
        self.dirty.remove(&table);
    }

    /// Whether the table may be made anew: nobody holds it and no run is writing it.
    fn at_rest(&self, table: u64) -> bool {
        !self.dirty.contains(&table)
            && self.holds.iter().all(|(t, _, _)| *t != table)
            && self.run.iter().flatten().all(|w| w.table != at(table))
    }

    fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Begin(t) => match self.cache.begin_fetch(at(t)) {
                FetchStart::Mine(ticket) => {
                    prop_assert!(!self.in_memory(t));
                    prop_assert_eq!(ticket.at(), at(t));
                    prop_assert!(self.tickets.iter().all(|(other, ..)| *other != t), "one fetch");
                    // Read early: what changes until it is installed must void it.
                    self.tickets.push((t, self.file[&t].clone(), ticket));
                }
                FetchStart::Present => prop_assert!(self.in_memory(t)),
                FetchStart::Busy => {
                    prop_assert!(self.tickets.iter().any(|(other, ..)| *other == t));
                }
            },
            Op::Install => {
                if !self.tickets.is_empty() {
                    let (_, words, ticket) = self.tickets.remove(0);
                    let result = ticket.install(&bytes_of(&words));
                    self.accept(result)?;
                }
            }
            Op::Fetch(t) => {
                if let FetchStart::Mine(ticket) = self.cache.begin_fetch(at(t)) {
                    let result = ticket.install(&bytes_of(&self.file[&t]));
                    if self.accept(result)? {
                        prop_assert!(self.in_memory(t));
                    }
                }
            }
            Op::GiveUp => {
                if !self.tickets.is_empty() {
                    drop(self.tickets.remove(0));
                }
            }
            Op::InstallZeros(t) => {
                if self.at_rest(t) {
                    self.cache.retire(at(t));
                    self.replace(t, vec![0; WORDS]);
                    self.notes.remove(&t);
                    let result = self.cache.install_zeros(at(t));
                    self.accept(result)?;
                }
            }
            Op::InstallBytes(t, v) => {
                if self.at_rest(t) {
                    self.cache.retire(at(t));
                    self.replace(t, vec![v; WORDS]);
                    self.notes.remove(&t);
                    let result = self.cache.install_bytes(at(t), &bytes_of(&self.file[&t]));
                    self.accept(result)?;
                }
            }
            Op::Store(t, word, values) => {
                if let Some(hold) = self.cache.hold(at(t)) {
                    hold.store(word, &values);
                    self.change(t, word, &values);
                }
            }
            Op::StoreWhole(t, word, values) => {
                if let Some(hold) = self.cache.hold(at(t)) {
                    hold.store_whole(word, &values);
                    self.change(t, word, &values);
                }
            }
            Op::Update(t, word, n, v) => {
                if let Some(hold) = self.cache.hold(at(t)) {
                    let old = self.now[&t][word..word + n].to_vec();
                    hold.update(word, n, |i, was| {
                        assert_eq!(was, old[i - word]);
                        was ^ v
                    });
                    let new: Words = old.iter().map(|w| w ^ v).collect();
                    self.change(t, word, &new);
                }
            }
            Op::Hold(t) => {
                if self.holds.len() < 3
                    && let Some(hold) = self.cache.hold(at(t))
                {
                    prop_assert_eq!(hold.at(), at(t));
                    self.holds.push((t, true, hold));
                }
            }
            Op::StoreHeld(word, v) => {
                if let Some((t, valid, hold)) = self.holds.first() {
                    hold.store(word, &[v]);
                    if *valid {
                        let t = *t;
                        self.change(t, word, &[v]);
                    }
                }
            }
            Op::Release => {
                if !self.holds.is_empty() {
                    drop(self.holds.remove(0));
                }
            }
            Op::Retire(t, v) => {
                // A run under way may still write its old copies: the owner keeps the cluster from
                // reuse until then, and so does this test.
                if self.run.iter().flatten().any(|w| w.table == at(t)) {
                    return Ok(());
                }
                self.cache.retire(at(t));
                prop_assert!(!self.in_memory(t));
                self.replace(t, vec![v; WORDS]);
                self.notes.remove(&t);
                for (held, valid, _) in &mut self.holds {
                    *valid &= *held != t;
                }
            }
            Op::Note(t, n) => {
                self.cache.set_note(at(t), n);
                if self.in_memory(t) {
                    self.notes.insert(t, n);
                }
            }
            Op::Trim => {
                // What was used goes the second time.
                self.cache.trim();
                self.cache.trim();
                let must = self.must_stay();
                for t in 1..=TABLES {
                    prop_assert_eq!(self.in_memory(t), must.contains(&t), "table {}", t);
                }
                self.notes.retain(|t, _| must.contains(t));
            }
            Op::Capture => {
                if self.run.is_none() {
                    let mut writes = Vec::new();
                    self.cache.capture(&mut writes, |_| Rung::Counts);
                    let captured: BTreeSet<u64> =
                        writes.iter().map(|w| w.table.get() / TABLE).collect();
                    prop_assert_eq!(&captured, &self.dirty, "what is dirty is captured");
                    prop_assert!(!self.cache.is_dirty());
                    for write in &writes {
                        let t = write.table.get() / TABLE;
                        prop_assert_eq!(write.at.get() % 512, 0, "whole sectors");
                        prop_assert_eq!(write.bytes.len() % 512, 0, "whole sectors");
                        let from = (write.at - write.table) as usize;
                        let now = bytes_of(&self.now[&t]);
                        prop_assert_eq!(&write.bytes, &now[from..from + write.bytes.len()]);
                    }
                    self.dirty.clear();
                    self.run = Some(writes);
                }
            }
            Op::Settle(durable, mask) => {
                if let Some(writes) = self.run.take() {
                    for (n, write) in writes.iter().enumerate() {
                        if durable || mask & (1 << (n % 8)) != 0 {
                            self.arrive(write);
                        }
                        if !durable {
                            self.dirty.insert(write.table.get() / TABLE);
                        }
                    }
                    self.cache.settle(&writes, durable);
                }
            }
        }
        self.judge()
    }

    fn arrive(&mut self, write: &TableWrite) {
        let words = self.file.get_mut(&(write.table.get() / TABLE)).expect("all tables are there");
        let from = ((write.at - write.table) / 8) as usize;
        for (word, bytes) in words[from..].iter_mut().zip(write.bytes.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
    }

    /// Tables that are dirty, held or being written.
    fn must_stay(&self) -> BTreeSet<u64> {
        let mut must: BTreeSet<u64> = self.dirty.clone();
        must.extend(self.holds.iter().filter(|(_, valid, _)| *valid).map(|(t, _, _)| *t));
        must.extend(self.run.iter().flatten().map(|w| w.table.get() / TABLE));
        must
    }

    /// What is in memory is right, and what must be there is.
    fn judge(&mut self) -> Result<(), TestCaseError> {
        let must = self.must_stay();
        for (t, words) in &self.now {
            let found = self.cache.read(at(*t), |w| {
                let all: Words = (0..w.len()).map(|i| w.get(i)).collect();
                let zeros = (0..=w.len() + 1).flat_map(|from| {
                    [0, 1, 8, w.len(), usize::MAX].map(|most| (from, most, w.zeros(from, most)))
                });
                (all, w.note(), zeros.collect::<Vec<_>>())
            });
            match found {
                Some((found, note, zeros)) => {
                    prop_assert_eq!(&found, words, "table {}", t);
                    for (from, most, zeros) in zeros {
                        let rest = words.iter().skip(from).take(most);
                        let right = rest.take_while(|word| **word == 0).count();
                        prop_assert_eq!(zeros, right, "zeros of table {} from {}", t, from);
                    }
                    let single: Option<Words> =
                        (0..words.len()).map(|i| self.cache.word(at(*t), i)).collect();
                    prop_assert_eq!(single.as_ref(), Some(words), "words of table {}", t);
                    // A note is lost with the table, and never another table's.
                    let noted = self.notes.get(t).copied().unwrap_or(0);
                    prop_assert!(note == noted || note == 0, "table {} has note {}", t, note);
                }
                None => {
                    prop_assert!(!must.contains(t), "table {} was evicted", t);
                    prop_assert_eq!(&self.file[t], words);
                    self.notes.remove(t);
                }
            }
        }
        prop_assert_eq!(self.cache.is_dirty(), !self.dirty.is_empty());
        prop_assert_eq!(self.cache.dirty_tables(), self.dirty.len());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_is_two_maps(
        capacity in prop_oneof![Just(2_u64), Just(5), Just(16), Just(40)],
        ops in prop::collection::vec(any_op(), 1..120),
    ) {
        let mut world = World::new(capacity);
        for op in ops {
            world.step(op)?;
        }
        // A last run brings the file up to date with memory.
        world.step(Op::Settle(true, 0))?;
        world.step(Op::Capture)?;
        world.step(Op::Settle(true, 0))?;
        prop_assert_eq!(&world.file, &world.now);
        // With nothing dirty, held or being written there is room for any table.
        world.holds.clear();
        world.tickets.clear();
        for t in 1..=TABLES {
            world.step(Op::Fetch(t))?;
            prop_assert!(world.in_memory(t), "no room for table {}", t);
        }
        // Spare slots count towards no limit, but there are few of them.
        prop_assert!(world.cache.memory() <= (capacity.max(2) + 64) * TABLE);
    }
}

/// A reader sees one table or none while slots change hands, never a mixture of two.
#[test]
fn readers_never_see_two_tables_at_once() {
    let cache = TableCache::new(TABLE, 2);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3_u64)
            .map(|seed| {
                let (cache, stop) = (&cache, &stop);
                scope.spawn(move || {
                    let mut seen = 0_u64;
                    let mut t = seed;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        t = t % 6 + 1;
                        let words = cache
                            .read(at(t), |w| (0..w.len()).map(|i| w.get(i)).collect::<Vec<_>>());
                        if let Some(words) = words {
                            assert!(words.iter().all(|w| w >> 32 == t), "table {t}: {words:?}");
                            seen += 1;
                        }
                    }
                    seen
                })
            })
            .collect();
        for round in 0..30_000_u64 {
            if round % 7 == 0 {
                cache.trim();
                cache.trim();
            }
            let t = round % 6 + 1;
            let words = vec![t << 32 | round; WORDS];
            if let FetchStart::Mine(ticket) = cache.begin_fetch(at(t)) {
                ticket.install(&bytes_of(&words)).expect("nothing is dirty");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let seen: u64 = readers.into_iter().map(|r| r.join().expect("no reader panics")).sum();
        assert!(seen > 0, "the readers saw tables");
    });
}

/// What is not used goes, with its memory; what was used since the last time, or is dirty, stays.
#[test]
fn unused_tables_are_given_back() {
    const PAGE: u64 = 4096;
    let cache = TableCache::new(PAGE, 12);
    let at = |t: u64| HostOffset::new(t * PAGE);
    for t in 1..=10 {
        cache.install_bytes(at(t), &[0xee; 4096]).expect("there is room");
    }
    let hold = cache.hold(at(3)).expect("it is there");
    hold.store(0, &[1]);
    drop(hold);
    assert_eq!((cache.tables(), cache.memory()), (10, 10 * PAGE));
    cache.trim();
    assert_eq!(cache.tables(), 10, "all were used just now");
    let word = |t: u64| cache.read(at(t), |words| words.get(7));
    assert_eq!(word(5), Some(0xeeee_eeee_eeee_eeee));
    cache.trim();
    assert_eq!((cache.tables(), cache.memory()), (2, 2 * PAGE));
    assert_eq!((word(3), word(4)), (Some(0xeeee_eeee_eeee_eeee), None));
    cache.install_zeros(at(6)).expect("there is room");
    assert_eq!(word(6), Some(0));
}

/// Pairs stored as a whole are seen as a whole.
#[test]
fn pairs_are_seen_old_or_new() {
    let cache = TableCache::new(TABLE, 2);
    cache.install_zeros(at(1)).expect("an empty cache");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let pair = cache.read(at(1), |w| (w.get(6), w.get(7))).expect("it is held");
                assert_eq!(pair.0, pair.1);
            }
        });
        let hold = cache.hold(at(1)).expect("it was installed");
        for n in 0..100_000 {
            hold.store_whole(6, &[n, n]);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().expect("every pair was whole");
    });
}

/// Single words come from the runs that are known of a table; a run that is replaced while it is
/// learnt must not be remembered.
#[test]
fn a_word_is_never_older_than_what_was_acknowledged() {
    use std::sync::atomic::{AtomicU64, Ordering};

    const ROUNDS: u64 = 4000;
    let cache = TableCache::with_stride(TABLE, 2, 1);
    cache.install_zeros(at(1)).expect("there is room");
    // Round n makes the table one run from (n + 1) * 1024 on.
    let round_of = |word: u64, i: usize| (word - i as u64) / 1024 - 1;
    let store = |n: u64| {
        let hold = cache.hold(at(1)).expect("it was installed");
        hold.store_with(0, WORDS, |k| (n + 1) * 1024 + k as u64);
    };
    store(0);
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for first in 0..2 {
            let (cache, acknowledged) = (&cache, &acknowledged);
            scope.spawn(move || {
                let mut i = first;
                loop {
                    let before = acknowledged.load(Ordering::Acquire);
                    let word = cache.word(at(1), i).expect("it stays in memory");
                    assert!(round_of(word, i) >= before, "word {i} is of an older round");
                    if before == ROUNDS {
                        break;
                    }
                    i = (i + 37) % WORDS;
                }
            });
        }
        for n in 1..=ROUNDS {
            store(n);
            acknowledged.store(n, Ordering::Release);
            if n % 4 == 0 {
                // Time for the readers to learn.
                std::thread::yield_now();
            }
        }
    });
}

/// A table that is held stays, and can go when the last hold is dropped.
#[test]
fn a_held_table_stays_until_it_is_let_go() {
    let cache = TableCache::new(512, 4);
    let zeros = |n: u64| cache.install_zeros(HostOffset::new(n * 512));
    let mut holds = Vec::new();
    let full = (1..1000_u64).find(|n| {
        let result = zeros(*n);
        holds.extend(cache.hold(HostOffset::new(n * 512)));
        result.is_err()
    });
    let full = full.expect("a small cache is full some day");
    for hold in &holds {
        assert!(cache.read(hold.at(), |_| ()).is_some(), "held tables stay");
    }
    // New tables are dirty until a run has written them.
    let mut writes = Vec::new();
    cache.capture(&mut writes, |_| Rung::Links);
    cache.settle(&writes, true);
    assert!(zeros(full).is_err(), "clean ones stay as well while they are held");
    holds.clear();
    zeros(full).expect("there is room again");
}
