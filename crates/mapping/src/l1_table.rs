//! The active L1 table: all of it in memory, as atomics that never move.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use holstein_cache::{Capture, Rung, TableWrite};
use holstein_format::L1Entry;
use holstein_format::limits::MAX_L1_BYTES;
use holstein_guard::planted::{Bug, is_planted};
use holstein_units::{HostOffset, SECTOR};

/// Entries in a chunk.
const CHUNK: u64 = 4096;
/// Entries in a sector of the file.
const PER_SECTOR: u64 = SECTOR / 8;

/// Where the L1 table is, as the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L1Layout {
    /// Its host offset.
    pub at: HostOffset,
    /// How many entries.
    pub entries: u64,
}

/// The entries and which of them the file does not have yet.
#[derive(Debug)]
pub(crate) struct L1Table {
    chunks: Box<[OnceLock<Box<[AtomicU64]>>]>,
    entries: AtomicU64,
    state: Mutex<L1State>,
}

#[derive(Debug)]
struct L1State {
    at: HostOffset,
    dirty: BTreeSet<u64>,
    /// Tables that entries in the run under way name for the first time.
    naming: HashSet<HostOffset>,
    /// Tables that a run that failed may have named in the file.
    maybe_named: HashSet<HostOffset>,
    /// Entries in the run under way.
    captured: Vec<u64>,
}

fn small(n: u64) -> usize {
    usize::try_from(n).expect("an L1 table has at most 2^22 entries")
}

impl L1Table {
    /// A table with the raw entries of the file.
    pub(crate) fn new(layout: L1Layout, entries: impl Iterator<Item = u64>) -> Self {
        let max_chunks = MAX_L1_BYTES / 8 / CHUNK;
        let table = Self {
            chunks: (0..max_chunks).map(|_| OnceLock::new()).collect(),
            entries: AtomicU64::new(layout.entries),
            state: Mutex::new(L1State {
                at: layout.at,
                dirty: BTreeSet::new(),
                naming: HashSet::new(),
                maybe_named: HashSet::new(),
                captured: Vec::new(),
            }),
        };
        for (index, raw) in (0_u64..).zip(entries) {
            if raw != 0 {
                table.cell(index).store(raw, Ordering::Relaxed);
            }
        }
        table
    }

    fn lock(&self) -> MutexGuard<'_, L1State> {
        self.state.lock().expect("no holder of the L1 lock panics")
    }

    fn cell(&self, index: u64) -> &AtomicU64 {
        let chunk = self.chunks[small(index / CHUNK)]
            .get_or_init(|| (0..CHUNK).map(|_| AtomicU64::new(0)).collect());
        &chunk[small(index % CHUNK)]
    }

    /// How many entries the table has.
    #[inline]
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Acquire)
    }

    pub(crate) fn layout(&self) -> L1Layout {
        L1Layout { at: self.lock().at, entries: self.entries() }
    }

    /// The raw entry; 0 past the end.
    #[inline]
    pub(crate) fn get(&self, index: u64) -> u64 {
        if index >= self.entries() {
            return 0;
        }
        match self.chunks.get(small(index / CHUNK)).and_then(OnceLock::get) {
            Some(chunk) => chunk[small(index % CHUNK)].load(Ordering::Acquire),
            None => 0,
        }
    }

    /// The first entry at or past `index` that is not 0, or the end of the table.
    pub(crate) fn next_used(&self, index: u64) -> u64 {
        (index..self.entries()).find(|&i| self.get(i) != 0).unwrap_or(self.entries().max(index))
    }

    /// Stores an entry and marks it dirty.
    pub(crate) fn set(&self, index: u64, raw: u64) {
        let mut state = self.lock();
        self.cell(index).store(raw, Ordering::Release);
        state.dirty.insert(index);
    }

    /// The table is now at `layout`, where the file has all of it.
    pub(crate) fn moved(&self, layout: L1Layout) {
        let mut state = self.lock();
        state.at = layout.at;
        state.dirty.clear();
        self.entries.store(layout.entries, Ordering::Release);
    }

    /// Changes all entries by `f`, where no entry is dirty, and returns the part of the file that is
    /// to be written: bytes from the start of the table, in whole sectors. `None` if nothing changed.
    pub(crate) fn change(&self, f: impl Fn(u64, u64) -> u64) -> Option<(u64, Vec<u8>)> {
        let state = self.lock();
        let mut changed: Option<(u64, u64)> = None;
        for index in 0..self.entries() {
            let raw = self.get(index);
            let new = f(index, raw);
            if new != raw {
                self.cell(index).store(new, Ordering::Release);
                changed = Some(changed.map_or((index, index), |(first, _)| (first, index)));
            }
        }
        drop(state);
        let (first, last) = changed?;
        let first = first / PER_SECTOR * PER_SECTOR;
        let end = (last / PER_SECTOR + 1) * PER_SECTOR;
        let bytes = (first..end).flat_map(|index| self.get(index).to_be_bytes()).collect();
        Some((first * 8, bytes))
    }

    /// The table is now at `layout`, where the file has all of it, with these entries.
    pub(crate) fn replace(&self, layout: L1Layout, entries: impl Iterator<Item = u64>) {
        let old = self.entries();
        self.moved(layout);
        let entries = entries.chain(std::iter::repeat(0));
        for (index, raw) in (0..old.max(layout.entries)).zip(entries) {
            let raw = if index < layout.entries { raw } else { 0 };
            if raw != 0 || self.get(index) != 0 || index >= layout.entries {
                self.cell(index).store(raw, Ordering::Release);
            }
        }
    }

    /// The raw entries, big-endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        (0..self.entries()).flat_map(|index| self.get(index).to_be_bytes()).collect()
    }

    pub(crate) fn capture(&self, capture: &mut Capture) {
        let mut state = self.lock();
        let dirty = std::mem::take(&mut state.dirty);
        state.naming.clear();
        for index in &dirty {
            let at = HostOffset::new(self.get(*index) & L1Entry::OFFSET_MASK);
            if at.get() != 0 && !state.maybe_named.contains(&at) {
                state.naming.insert(at);
            }
        }
        let sectors: BTreeSet<u64> = dirty.iter().map(|index| index / PER_SECTOR).collect();
        for sector in sectors {
            let first = sector * PER_SECTOR;
            let bytes =
                (first..first + PER_SECTOR).flat_map(|i| self.get(i).to_be_bytes()).collect();
            let rung = if is_planted(Bug::L1BeforeL2) { Rung::Counts } else { Rung::Links };
            let table = state.at;
            capture.writes.push(TableWrite { table, at: table + sector * SECTOR, bytes, rung });
        }
        state.captured = dirty.into_iter().collect();
    }

    /// When a part of the L2 table at `at` is to be written in the run whose capture is being made.
    pub(crate) fn rung_of(&self, at: HostOffset) -> Rung {
        if self.lock().naming.contains(&at) { Rung::Counts } else { Rung::Links }
    }

    pub(crate) fn settle(&self, durable: bool, attempted: bool) {
        let mut state = self.lock();
        let captured = std::mem::take(&mut state.captured);
        let naming = std::mem::take(&mut state.naming);
        if durable {
            state.maybe_named.clear();
        } else {
            state.dirty.extend(captured);
            if attempted {
                state.maybe_named.extend(naming);
            }
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.lock().dirty.is_empty()
    }
}
