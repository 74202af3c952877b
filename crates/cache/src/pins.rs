//! Which requests still rely on an older state of the tables.
//!
//! A request publishes the number of the open run before it looks anything up and withdraws it when
//! its last I/O has ended. A cluster that was unlinked while run `t` was open is reused only when
//! every published number is above `t`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

use holstein_units::Epoch;

/// Slots that need no lock; more requests than this at once take the overflow map.
const SLOTS: usize = 128;

/// A slot on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot(AtomicU64);

/// The published numbers and the gate that closes admission.
#[derive(Debug)]
pub struct PinTable {
    open: AtomicU64,
    slots: Box<[Slot]>,
    overflow: Mutex<BTreeMap<u64, usize>>,
    /// Requests in the overflow map, so that nobody locks it when it is empty.
    overflowed: AtomicUsize,
    closed: AtomicBool,
    gate: Mutex<()>,
    moved: Condvar,
}

/// A published number; withdrawn on drop.
#[derive(Debug)]
#[must_use = "dropping the pin at once protects nothing"]
pub struct Pin<'a> {
    table: &'a PinTable,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Slot(usize),
    Overflow(u64),
}

thread_local! {
    static HOME: Cell<usize> = const { Cell::new(usize::MAX) };
}

static NEXT_HOME: AtomicUsize = AtomicUsize::new(0);

#[inline]
fn home() -> usize {
    HOME.with(|home| {
        if home.get() == usize::MAX {
            home.set(NEXT_HOME.fetch_add(1, Ordering::Relaxed) % SLOTS);
        }
        home.get()
    })
}

impl PinTable {
    /// No pins; run 1 is open.
    #[must_use]
    pub fn new() -> Self {
        Self {
            open: AtomicU64::new(1),
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            overflow: Mutex::new(BTreeMap::new()),
            overflowed: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            gate: Mutex::new(()),
            moved: Condvar::new(),
        }
    }

    /// The number of the open run.
    #[must_use]
    pub fn open_epoch(&self) -> Epoch {
        Epoch::new(self.open.load(Ordering::SeqCst))
    }

    /// Opens the next run and returns the one that was open.
    pub fn advance(&self) -> Epoch {
        Epoch::new(self.open.fetch_add(1, Ordering::SeqCst))
    }

    /// Publishes the open run's number; waits while admission is closed.
    #[inline]
    pub fn pin(&self) -> Pin<'_> {
        loop {
            let pin = self.publish();
            if !self.closed.load(Ordering::SeqCst) {
                return pin;
            }
            drop(pin);
            self.wait_for_admission();
        }
    }

    #[inline]
    fn publish(&self) -> Pin<'_> {
        let mut at = home();
        let mut now = self.open.load(Ordering::SeqCst);
        for _ in 0..SLOTS {
            if self.slots[at]
                .0
                .compare_exchange(0, now, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
            {
                // A run may have opened between the load and the store: publish the newer number,
                // so that this pin does not hold up what it never saw.
                loop {
                    let again = self.open.load(Ordering::SeqCst);
                    if again == now {
                        return Pin { table: self, place: Place::Slot(at) };
                    }
                    now = again;
                    self.slots[at].0.store(now, Ordering::SeqCst);
                }
            }
            at = (at + 1) % SLOTS;
        }
        self.publish_overflow()
    }

    #[cold]
    fn publish_overflow(&self) -> Pin<'_> {
        let mut overflow = self.lock_overflow();
        self.overflowed.fetch_add(1, Ordering::SeqCst);
        let now = self.open.load(Ordering::SeqCst);
        *overflow.entry(now).or_insert(0) += 1;
        Pin { table: self, place: Place::Overflow(now) }
    }

    fn lock_overflow(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.overflow.lock().expect("no holder of the overflow lock panics")
    }

    #[cold]
    fn wait_for_admission(&self) {
        let mut gate = self.gate.lock().expect("no holder of the gate panics");
        while self.closed.load(Ordering::SeqCst) {
            gate = self.moved.wait(gate).expect("no holder of the gate panics");
        }
    }

    /// The lowest published number, if any request is pinned.
    #[must_use]
    pub fn oldest(&self) -> Option<Epoch> {
        let slots = self.slots.iter().map(|s| s.0.load(Ordering::SeqCst)).filter(|&n| n != 0).min();
        let overflow = if self.overflowed.load(Ordering::SeqCst) == 0 {
            None
        } else {
            self.lock_overflow().keys().next().copied()
        };
        match (slots, overflow) {
            (Some(a), Some(b)) => Some(Epoch::new(a.min(b))),
            (a, b) => a.or(b).map(Epoch::new),
        }
    }

    /// Closes admission and waits until no request is pinned. Reopened by the guard's drop.
    ///
    /// The caller must hold no pin of its own: it would wait for itself.
    pub fn close_admission(&self) -> Quiet<'_> {
        let mut gate = self.gate.lock().expect("no holder of the gate panics");
        while self.closed.swap(true, Ordering::SeqCst) {
            gate = self.moved.wait(gate).expect("no holder of the gate panics");
        }
        drop(gate);
        let mut spins = 0_u32;
        while self.oldest().is_some() {
            spins += 1;
            if spins < 64 {
                std::thread::yield_now();
            } else {
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
        }
        Quiet { table: self }
    }
}

impl Default for PinTable {
    fn default() -> Self {
        Self::new()
    }
}

/// Proof that no request is in flight; admission reopens when it is dropped.
#[derive(Debug)]
#[must_use = "admission reopens when this is dropped"]
pub struct Quiet<'a> {
    table: &'a PinTable,
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _gate = self.table.gate.lock().expect("no holder of the gate panics");
        self.table.closed.store(false, Ordering::SeqCst);
        self.table.moved.notify_all();
    }
}

impl Drop for Pin<'_> {
    #[inline]
    fn drop(&mut self) {
        match self.place {
            Place::Slot(at) => self.table.slots[at].0.store(0, Ordering::Release),
            Place::Overflow(number) => {
                let mut overflow = self.table.lock_overflow();
                if let Some(count) = overflow.get_mut(&number) {
                    *count -= 1;
                    if *count == 0 {
                        overflow.remove(&number);
                    }
                }
                self.table.overflowed.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_pin_counts() {
        let pins = PinTable::new();
        assert_eq!(pins.oldest(), None);
        let first = pins.pin();
        assert_eq!(pins.advance(), Epoch::new(1));
        let second = pins.pin();
        assert_eq!(pins.oldest(), Some(Epoch::new(1)));
        drop(first);
        assert_eq!(pins.oldest(), Some(Epoch::new(2)));
        drop(second);
        assert_eq!(pins.oldest(), None);
    }

    #[test]
    fn more_pins_than_slots_are_all_seen() {
        let pins = PinTable::new();
        let mut held: Vec<_> = (0..SLOTS * 2).map(|_| pins.pin()).collect();
        pins.advance();
        let late = pins.pin();
        assert_eq!(pins.oldest(), Some(Epoch::new(1)));
        held.clear();
        assert_eq!(pins.oldest(), Some(Epoch::new(2)));
        drop(late);
        assert_eq!(pins.oldest(), None);
    }

    #[test]
    fn closing_waits_for_pins_and_holds_back_new_ones() {
        let pins = PinTable::new();
        let entered = AtomicBool::new(false);
        let pin = pins.pin();
        std::thread::scope(|scope| {
            let closer = scope.spawn(|| {
                let quiet = pins.close_admission();
                assert!(pins.oldest().is_none());
                assert!(!entered.load(Ordering::SeqCst));
                drop(quiet);
            });
            while !pins.closed.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            scope.spawn(|| {
                let _pin = pins.pin();
                entered.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(std::time::Duration::from_millis(5));
            drop(pin);
            closer.join().expect("the closer does not panic");
        });
        assert!(entered.load(Ordering::SeqCst));
    }
}
