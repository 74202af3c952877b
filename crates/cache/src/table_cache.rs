//! Tables by host offset.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use holstein_units::HostOffset;

use crate::slots::{NOMINAL_WAYS, Set, SetState};
use crate::{Rung, TableWrite};

/// The words of a table: entry `i` is the big-endian number at byte `8 * i`.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    words: &'a [AtomicU64],
    note: &'a AtomicU8,
}

impl Words<'_> {
    /// How many words the table has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Word `i`; 0 past the end.
    #[inline]
    #[must_use]
    pub fn get(&self, i: usize) -> u64 {
        self.words.get(i).map_or(0, |w| w.load(Ordering::Acquire))
    }

    /// How many words from word `from` on are 0, of at most `most`.
    ///
    /// Tables of sparse disks are mostly zeros, and one look at eight words is quicker than eight.
    #[must_use]
    pub fn zeros(&self, from: usize, most: usize) -> usize {
        let end = from.saturating_add(most).min(self.words.len());
        let words = self.words.get(from..end).unwrap_or(&[]);
        let is_zero = |word: &AtomicU64| word.load(Ordering::Acquire) == 0;
        let (groups, _) = words.as_chunks::<8>();
        let any =
            |group: &[AtomicU64; 8]| group.iter().fold(0, |all, w| all | w.load(Ordering::Acquire));
        let whole = groups.iter().take_while(|group| any(group) == 0).count() * 8;
        let rest = words.get(whole..).unwrap_or(&[]);
        whole + rest.iter().take_while(|word| is_zero(word)).count()
    }

    /// The byte that the owner keeps beside the table: 0 since it was installed.
    #[inline]
    #[must_use]
    pub fn note(&self) -> u8 {
        self.note.load(Ordering::Acquire)
    }
}

/// All slots of a set are dirty, held or being written: a run or a commit will free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every slot for the table at {at} is in use")]
pub struct CacheFull {
    /// The table that found no room.
    pub at: HostOffset,
}

/// A bounded number of tables of one size.
///
/// # Concurrency
/// [`TableCache::read`] takes no lock. Everything else locks one set, and briefly the list of dirty
/// tables.
///
/// # Invariants
/// * A table that is dirty, held or being written is never evicted.
/// * One fetch per table at a time; what it read is dropped if the table was installed or retired
///   meanwhile, so that an old copy never replaces a newer one.
#[derive(Debug)]
pub struct TableCache {
    words: usize,
    /// Binary logarithm of the largest power of two in the bytes of a table.
    bits: u32,
    /// What a word is more than the one before in tables that are asked for single words.
    stride: u64,
    ways: usize,
    sets: Box<[OnceLock<Box<Set>>]>,
    dirty: Mutex<BTreeSet<u64>>,
    fetching: Mutex<HashMap<u64, bool>>,
    fetched: Condvar,
}

/// The answer to a wish to fetch a table.
#[derive(Debug)]
pub enum FetchStart {
    /// Read the table and install it with this ticket.
    Mine(FetchTicket),
    /// It is in memory already.
    Present,
    /// Somebody else is at it; wait with [`TableCache::wait_for_fetch`].
    Busy,
}

/// The right to install one table; given back on drop.
#[derive(Debug)]
#[must_use = "dropping the ticket gives the fetch up"]
pub struct FetchTicket {
    cache: Arc<TableCache>,
    at: HostOffset,
}

/// A table that stays in memory and may be stored into; released on drop.
#[derive(Debug)]
#[must_use = "dropping the hold lets the table be evicted"]
pub struct Hold {
    cache: Arc<TableCache>,
    at: HostOffset,
    set: usize,
    way: usize,
}

impl TableCache {
    /// Room for `capacity` tables (at least 2) of `table_bytes`, a multiple of 8.
    #[must_use]
    pub fn new(table_bytes: u64, capacity: u64) -> Arc<Self> {
        Self::with_stride(table_bytes, capacity, 0)
    }

    /// As [`Self::new`], for tables in whose runs each word is the one before plus `stride`:
    /// [`Self::word`] is then quick for words in such runs.
    #[must_use]
    pub fn with_stride(table_bytes: u64, capacity: u64, stride: u64) -> Arc<Self> {
        let words = usize::try_from(table_bytes / 8).expect("a table is at most a cluster");
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX).max(2);
        let ways = capacity.min(NOMINAL_WAYS);
        let sets = (capacity / ways).max(1);
        Arc::new(Self {
            words,
            bits: table_bytes.trailing_zeros(),
            stride,
            ways,
            sets: (0..sets).map(|_| OnceLock::new()).collect(),
            dirty: Mutex::default(),
            fetching: Mutex::default(),
            fetched: Condvar::new(),
        })
    }

    /// Bytes of a table.
    #[must_use]
    pub fn table_bytes(&self) -> u64 {
        self.words as u64 * 8
    }

    #[inline]
    fn set_index(&self, at: HostOffset) -> usize {
        // A shift and at most one division: this is on the way of every read.
        let number = at.get() >> self.bits;
        match self.sets.len() {
            1 => 0,
            // The remainder is below the number of sets, which is a usize.
            sets => usize::try_from(number % sets as u64).unwrap_or(0),
        }
    }

    fn set(&self, at: HostOffset) -> &Set {
        self.sets[self.set_index(at)].get_or_init(|| Box::new(Set::new()))
    }

    fn dirty_list(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.dirty.lock().expect("no holder of the dirty list panics")
    }

    fn fetches(&self) -> MutexGuard<'_, HashMap<u64, bool>> {
        self.fetching.lock().expect("no holder of the fetch list panics")
    }

    /// Runs `f` on the table at `at`; `None` if it is not in memory.
    ///
    /// `f` may run more than once and see a table that is just being replaced; only what it
    /// returned last counts. Takes no lock.
    #[inline]
    pub fn read<R>(&self, at: HostOffset, f: impl Fn(Words<'_>) -> R) -> Option<R> {
        let set = self.sets[self.set_index(at)].get()?;
        set.read(at.get(), |words, note| f(Words { words, note }))
    }

    /// Word `i` of the table at `at`, 0 past its end; `None` if the table is not in memory. Takes no
    /// lock, but for the first reads of a stretch of words after it changed.
    #[inline]
    pub fn word(&self, at: HostOffset, i: usize) -> Option<u64> {
        let set = self.sets[self.set_index(at)].get()?;
        let (word, learn) = set.read_word(at.get(), i, self.stride)?;
        if learn && self.stride != 0 {
            set.learn(at.get(), i, self.stride);
        }
        Some(word)
    }

    /// Sets the byte beside the table, if the table is in memory.
    pub fn set_note(&self, at: HostOffset, note: u8) {
        let set = self.set(at);
        let _state = set.lock();
        if let Some(way) = set.find(at.get()) {
            set.note(way).store(note, Ordering::Release);
        }
    }

    /// Asks for the right to fetch the table at `at`.
    pub fn begin_fetch(self: &Arc<Self>, at: HostOffset) -> FetchStart {
        let mut fetching = self.fetches();
        if self.set(at).find(at.get()).is_some() {
            return FetchStart::Present;
        }
        if fetching.contains_key(&at.get()) {
            return FetchStart::Busy;
        }
        fetching.insert(at.get(), true);
        FetchStart::Mine(FetchTicket { cache: Arc::clone(self), at })
    }

    /// Waits until nobody is fetching the table at `at`.
    pub fn wait_for_fetch(&self, at: HostOffset) {
        let mut fetching = self.fetches();
        while fetching.contains_key(&at.get()) {
            fetching = self.fetched.wait(fetching).expect("no holder of the fetch list panics");
        }
    }

    /// Makes a table of zeros that the file holds already, without reading it.
    ///
    /// # Errors
    /// [`CacheFull`].
    pub fn install_zeros(&self, at: HostOffset) -> Result<(), CacheFull> {
        if let Some(valid) = self.fetches().get_mut(&at.get()) {
            *valid = false;
        }
        self.place(at, |_| 0)
    }

    /// Installs a table whose bytes the file holds already, without reading it.
    ///
    /// # Errors
    /// [`CacheFull`].
    pub fn install_bytes(&self, at: HostOffset, bytes: &[u8]) -> Result<(), CacheFull> {
        if let Some(valid) = self.fetches().get_mut(&at.get()) {
            *valid = false;
        }
        self.place(at, word_of(bytes))
    }

    fn place(&self, at: HostOffset, word: impl Fn(usize) -> u64) -> Result<(), CacheFull> {
        assert_ne!(at.get(), 0, "offset 0 is the header and never a table");
        let set = self.set(at);
        let mut state = set.lock();
        let way = match set.find(at.get()) {
            Some(way) => way,
            None => set.victim(&mut state, self.ways).ok_or(CacheFull { at })?,
        };
        set.fill(way, at.get(), self.words, word);
        state.slots[way].filled = true;
        Ok(())
    }

    /// Keeps the table at `at` in memory for stores to come; `None` if it is not there.
    pub fn hold(self: &Arc<Self>, at: HostOffset) -> Option<Hold> {
        let set = self.set(at);
        let mut state = set.lock();
        let way = set.find(at.get())?;
        state.slots[way].holds += 1;
        Some(Hold { cache: Arc::clone(self), at, set: self.set_index(at), way })
    }

    /// Drops the table at `at` and voids a fetch of it: its cluster is no table any more.
    pub fn retire(&self, at: HostOffset) {
        if let Some(valid) = self.fetches().get_mut(&at.get()) {
            *valid = false;
        }
        let set = self.set(at);
        let mut state = set.lock();
        if let Some(way) = set.find(at.get()) {
            state.slots[way].dirty = (0, 0);
            state.slots[way].writing = false;
            self.dirty_list().remove(&at.get());
            set.empty(way);
        }
    }

    /// Whether a table is dirty.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.dirty_list().is_empty()
    }

    /// How many tables there is room for beside the dirty ones.
    #[must_use]
    pub fn clean_slots(&self) -> u64 {
        ((self.sets.len() * self.ways) as u64).saturating_sub(self.dirty_list().len() as u64)
    }

    /// How many tables are dirty.
    #[must_use]
    pub fn dirty_tables(&self) -> usize {
        self.dirty_list().len()
    }

    /// Copies every dirty table into `writes` on the rung that `rung` gives it, and counts the
    /// copies as the file's content from now on.
    pub fn capture(&self, writes: &mut Vec<TableWrite>, rung: impl Fn(HostOffset) -> Rung) {
        let tags: Vec<u64> = std::mem::take(&mut *self.dirty_list()).into_iter().collect();
        for tag in tags {
            let at = HostOffset::new(tag);
            let set = self.set(at);
            let mut state = set.lock();
            let Some(way) = set.find(tag) else { continue };
            let (from, to) = state.slots[way].dirty;
            if from >= to {
                continue;
            }
            state.slots[way].dirty = (0, 0);
            state.slots[way].writing = true;
            let (from, to) = (from as usize, to as usize);
            let mut bytes = Vec::with_capacity((to - from) * 8);
            for word in &set.words(way)[from..to] {
                bytes.extend_from_slice(&word.load(Ordering::Acquire).to_be_bytes());
            }
            writes.push(TableWrite { table: at, at: at + from as u64 * 8, bytes, rung: rung(at) });
        }
    }

    /// The copies of a run are on the disk (`durable`), or must be written again.
    pub fn settle(&self, writes: &[TableWrite], durable: bool) {
        for write in writes {
            let set = self.set(write.table);
            let mut state = set.lock();
            let Some(way) = set.find(write.table.get()) else { continue };
            state.slots[way].writing = false;
            if !durable {
                let from = (write.at - write.table) / 8;
                let to = from + write.bytes.len() as u64 / 8;
                self.mark(&mut state.slots[way].dirty, write.table, from, to);
            }
        }
    }

    fn mark(&self, dirty: &mut (u32, u32), at: HostOffset, from: u64, to: u64) {
        // Whole sectors, so that a torn write never needs what was beside it.
        let per_sector = holstein_units::SECTOR / 8;
        let from = from / per_sector * per_sector;
        let to = (to.div_ceil(per_sector) * per_sector).min(self.words as u64);
        let narrow = |n: u64| u32::try_from(n).expect("a table has at most 2^18 words");
        *dirty = if dirty.0 < dirty.1 {
            (dirty.0.min(narrow(from)), dirty.1.max(narrow(to)))
        } else {
            self.dirty_list().insert(at.get());
            (narrow(from), narrow(to))
        };
    }

    /// Drops the tables that nobody has used since the last call, and gives their memory back to the
    /// system. Dirty tables stay, and so do those that are held or being written.
    pub fn trim(&self) {
        for set in self.sets.iter().filter_map(OnceLock::get) {
            set.trim(&mut set.lock());
        }
    }

    /// How many tables are in memory.
    #[must_use]
    pub fn tables(&self) -> u64 {
        self.sets.iter().filter_map(OnceLock::get).map(|set| set.tables()).sum()
    }

    /// Bytes of memory that tables take now.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let filled = self
            .sets
            .iter()
            .filter_map(OnceLock::get)
            .map(|set| set.lock().slots.iter().filter(|slot| slot.filled).count() as u64)
            .sum::<u64>();
        filled * self.table_bytes()
    }
}

fn word_of(bytes: &[u8]) -> impl Fn(usize) -> u64 + '_ {
    move |i| match bytes.get(i * 8..i * 8 + 8) {
        Some(b) => u64::from_be_bytes(b.try_into().expect("the slice has 8 bytes")),
        None => 0,
    }
}

impl FetchTicket {
    /// The table to read.
    #[must_use]
    pub fn at(&self) -> HostOffset {
        self.at
    }

    /// Installs what was read, unless the table was installed or retired meanwhile.
    ///
    /// # Errors
    /// [`CacheFull`]; the fetch is given up.
    pub fn install(self, bytes: &[u8]) -> Result<(), CacheFull> {
        let fetching = self.cache.fetches();
        if fetching.get(&self.at.get()) != Some(&true) {
            return Ok(());
        }
        let result = self.cache.place(self.at, word_of(bytes));
        drop(fetching);
        result
    }
}

impl Drop for FetchTicket {
    fn drop(&mut self) {
        self.cache.fetches().remove(&self.at.get());
        self.cache.fetched.notify_all();
    }
}

impl Hold {
    /// The table.
    #[must_use]
    pub fn at(&self) -> HostOffset {
        self.at
    }

    fn set(&self) -> &Set {
        self.cache.sets[self.set].get().expect("a held table is in a set that exists")
    }

    /// Word `i`.
    #[must_use]
    pub fn get(&self, i: usize) -> u64 {
        self.set().words(self.way)[i].load(Ordering::Acquire)
    }

    /// Stores `values` from word `i` on and marks them dirty; readers see each word old or new.
    pub fn store(&self, i: usize, values: &[u64]) {
        self.store_with(i, values.len(), |k| values[k]);
    }

    /// Stores `value(0)`, `value(1)` and so on into `n` words from word `i` on and marks them dirty;
    /// readers see each word old or new.
    pub fn store_with(&self, i: usize, n: usize, value: impl Fn(usize) -> u64) {
        self.set().store(self.way, i, n, value);
        self.mark(i, n);
    }

    /// Stores pairs of words; readers see each table as it was before or after all of them.
    pub fn store_whole(&self, i: usize, values: &[u64]) {
        let set = self.set();
        let state = set.lock();
        set.change(self.way, || set.store(self.way, i, values.len(), |k| values[k]));
        drop(state);
        self.mark(i, values.len());
    }

    /// Changes `n` words from word `i` on by `f`, under the set's lock, and marks them dirty.
    pub fn update(&self, i: usize, n: usize, mut f: impl FnMut(usize, u64) -> u64) {
        let set = self.set();
        let mut state = set.lock();
        for k in i..i + n {
            let new = f(k, self.get(k));
            set.store(self.way, k, 1, |_| new);
        }
        self.mark_locked(&mut state, i, n);
    }

    fn mark(&self, i: usize, n: usize) {
        let set = self.set();
        self.mark_locked(&mut set.lock(), i, n);
    }

    fn mark_locked(&self, state: &mut SetState, i: usize, n: usize) {
        // A table that was retired while held takes no more stores to the file.
        if self.set().tag(self.way) == self.at.get() {
            let (from, to) = (i as u64, (i + n) as u64);
            self.cache.mark(&mut state.slots[self.way].dirty, self.at, from, to);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.set().lock();
        state.slots[self.way].holds -= 1;
    }
}
