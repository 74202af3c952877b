//! A set of slots that readers look through without a lock.
//!
//! Each slot is guarded by a version number: odd while the slot changes hands. A reader notes the
//! version, reads, and believes what it read only if the version is still the same. All shared
//! words are atomics, so a reader that lost the race has read stale numbers and nothing worse.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, OnceLock};

use holstein_storage::{first_page, give_back, zeroed_words};

use crate::runs::{Known, Runs};

/// Slots of a set; a table can be in any slot of its set.
pub(crate) const WAYS: usize = 16;

/// Slots of a set that count towards the cache's size. The others are taken only while all of these
/// are dirty, held or being written, so that a change that is under way always finds room.
pub(crate) const NOMINAL_WAYS: usize = 12;

/// Memory for the tables of a set, one after the other; pages are taken when they are first used.
#[derive(Debug)]
struct Memory {
    words: Box<[AtomicU64]>,
    /// The first word of the first table, where a page begins.
    first: usize,
    /// Words of a table.
    count: usize,
}

/// Words of a page, of which one is spared for the alignment.
const PAGE_WORDS: usize = 512;

impl Memory {
    fn new(count: usize) -> Self {
        let words = zeroed_words(WAYS * count + PAGE_WORDS);
        let first = first_page(&words).min(PAGE_WORDS);
        Self { words, first, count }
    }

    #[inline]
    fn table(&self, way: usize) -> &[AtomicU64] {
        let from = self.first + way * self.count;
        &self.words[from..from + self.count]
    }
}

/// What the owner of the set's lock knows of a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlotState {
    /// Words `dirty.0..dirty.1` differ from the file; empty if the first is not below the second.
    pub(crate) dirty: (u32, u32),
    /// A run is writing a copy of it.
    pub(crate) writing: bool,
    /// Plans that will store into it.
    pub(crate) holds: u32,
    /// Memory was taken for it.
    pub(crate) filled: bool,
}

impl SlotState {
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.0 < self.dirty.1
    }

    fn is_free(&self) -> bool {
        !self.is_dirty() && !self.writing && self.holds == 0
    }
}

/// One set.
#[derive(Debug)]
pub(crate) struct Set {
    tags: [AtomicU64; WAYS],
    versions: [AtomicU64; WAYS],
    touched: [AtomicBool; WAYS],
    notes: [AtomicU8; WAYS],
    memory: OnceLock<Memory>,
    runs: [Runs; WAYS],
    state: Mutex<SetState>,
}

/// The locked part of a set.
#[derive(Debug, Default)]
pub(crate) struct SetState {
    pub(crate) slots: [SlotState; WAYS],
    hand: usize,
}

impl Set {
    pub(crate) fn new() -> Self {
        Self {
            tags: Default::default(),
            versions: Default::default(),
            touched: Default::default(),
            notes: Default::default(),
            memory: OnceLock::new(),
            runs: Default::default(),
            state: Mutex::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SetState> {
        self.state.lock().expect("no holder of a set's lock panics")
    }

    /// The slot that holds `tag`, if one does. Exact under the lock, a hint without it.
    pub(crate) fn find(&self, tag: u64) -> Option<usize> {
        self.tags.iter().position(|t| t.load(Ordering::Acquire) == tag)
    }

    pub(crate) fn tag(&self, way: usize) -> u64 {
        self.tags[way].load(Ordering::Acquire)
    }

    /// The words of a slot that was filled before.
    #[inline]
    pub(crate) fn words(&self, way: usize) -> &[AtomicU64] {
        self.memory.get().map_or(&[], |memory| memory.table(way))
    }

    /// A byte that the owner of the tables keeps beside the table; 0 when it is installed.
    pub(crate) fn note(&self, way: usize) -> &AtomicU8 {
        &self.notes[way]
    }

    /// Runs `f` on the words of `tag`; `None` if the table is not here. `f` may run more than once
    /// and must not act on what it read before this returns.
    #[inline]
    pub(crate) fn read<R>(&self, tag: u64, f: impl Fn(&[AtomicU64], &AtomicU8) -> R) -> Option<R> {
        self.read_way(tag, |way| f(self.words(way), &self.notes[way]))
    }

    /// As [`Self::read`], for what is known of word `i`.
    ///
    /// The answer is the word and whether [`Self::learn`] may help the next reader.
    #[inline]
    pub(crate) fn read_word(&self, tag: u64, i: usize, stride: u64) -> Option<(u64, bool)> {
        self.read_way(tag, |way| {
            let load = || self.words(way).get(i).map_or(0, |word| word.load(Ordering::Acquire));
            match self.runs[way].word(i, stride) {
                Known::Word(word) => (word, false),
                Known::No => (load(), false),
                Known::NotYet => (load(), true),
            }
        })
    }

    #[inline]
    fn read_way<R>(&self, tag: u64, f: impl Fn(usize) -> R) -> Option<R> {
        loop {
            let way = self.find(tag)?;
            let before = self.versions[way].load(Ordering::Acquire);
            if before.is_multiple_of(2) && self.tags[way].load(Ordering::Acquire) == tag {
                let result = f(way);
                fence(Ordering::Acquire);
                if self.versions[way].load(Ordering::Relaxed) == before {
                    if !self.touched[way].load(Ordering::Relaxed) {
                        self.touched[way].store(true, Ordering::Relaxed);
                    }
                    return Some(result);
                }
            }
            std::hint::spin_loop();
        }
    }

    /// Notes a read of word `i`, which was in no known run, unless the lock or the table is taken.
    #[cold]
    pub(crate) fn learn(&self, tag: u64, i: usize, stride: u64) {
        let Ok(state) = self.state.try_lock() else { return };
        if let Some(way) = self.find(tag)
            && state.slots[way].holds == 0
        {
            self.runs[way].learn(self.words(way), i, stride);
        }
    }

    /// Stores `value(0)`, `value(1)` and so on from word `i` of a held slot on.
    pub(crate) fn store(&self, way: usize, i: usize, n: usize, value: impl Fn(usize) -> u64) {
        // First, so that who sees a new word does not see a run that says otherwise.
        self.runs[way].forget(i, n);
        for (k, word) in self.words(way)[i..i + n].iter().enumerate() {
            word.store(value(k), Ordering::Release);
        }
    }

    /// A slot that can be given away, among the first `ways` if possible; `None` if all are in use.
    ///
    /// A slot whose table was retired while held stays in use until the hold is gone: what is stored
    /// through it must not land in another table.
    pub(crate) fn victim(&self, state: &mut SetState, ways: usize) -> Option<usize> {
        let empty = |way: &usize| self.tag(*way) == 0 && state.slots[*way].is_free();
        if let Some(way) = (0..ways).find(empty) {
            return Some(way);
        }
        for _ in 0..2 * ways {
            let way = state.hand;
            state.hand = (state.hand + 1) % ways;
            if state.slots[way].is_free() && !self.touched[way].swap(false, Ordering::Relaxed) {
                return Some(way);
            }
        }
        (0..WAYS).find(|&way| state.slots[way].is_free())
    }

    /// Replaces the content of a slot. The caller holds the lock.
    pub(crate) fn fill(&self, way: usize, tag: u64, count: usize, word: impl Fn(usize) -> u64) {
        let words = self.memory.get_or_init(|| Memory::new(count)).table(way);
        self.change(way, || {
            self.tags[way].store(tag, Ordering::Release);
            self.notes[way].store(0, Ordering::Release);
            self.runs[way].reset();
            for (i, w) in words.iter().enumerate() {
                w.store(word(i), Ordering::Relaxed);
            }
        });
        self.touched[way].store(true, Ordering::Relaxed);
    }

    /// Forgets the content of a slot. The caller holds the lock.
    pub(crate) fn empty(&self, way: usize) {
        self.change(way, || self.tags[way].store(0, Ordering::Release));
    }

    /// Drops each table that nobody has read or filled since the last time, unless it is in use, and
    /// gives the memory of empty slots back. The caller holds the lock.
    pub(crate) fn trim(&self, state: &mut SetState) {
        for (way, slot) in state.slots.iter_mut().enumerate() {
            if !slot.is_free() || self.touched[way].swap(false, Ordering::Relaxed) {
                continue;
            }
            if self.tag(way) != 0 {
                self.empty(way);
            }
            if slot.filled {
                // Who reads it still is told by the version to try again.
                self.change(way, || give_back(self.words(way)));
                slot.filled = false;
            }
        }
    }

    /// How many tables are here.
    pub(crate) fn tables(&self) -> u64 {
        self.tags.iter().filter(|tag| tag.load(Ordering::Relaxed) != 0).count() as u64
    }

    /// Makes readers of the slot try again if they were there while `f` ran. The caller holds the
    /// lock.
    pub(crate) fn change(&self, way: usize, f: impl FnOnce()) {
        let version = self.versions[way].load(Ordering::Relaxed);
        self.versions[way].store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        f();
        self.versions[way].store(version + 2, Ordering::Release);
    }
}
