//! Which guest clusters are being changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Exclusive rights to runs of guest clusters.
///
/// # Concurrency
/// A ticket is taken only if it overlaps none; nobody waits while holding one, so there is no
/// deadlock.
#[derive(Debug, Default)]
pub struct RangeTickets {
    held: Mutex<Held>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    /// First cluster to the one past the last.
    runs: BTreeMap<u64, u64>,
    /// Threads in [`Busy::wait`]: waking nobody would be a system call for each write.
    waiting: usize,
}

/// The exclusive right to change the mapping of a run of guest clusters; given back on drop.
#[derive(Debug)]
#[must_use = "dropping the ticket lets others in"]
pub struct Ticket {
    tickets: Arc<RangeTickets>,
    first: u64,
}

/// Somebody else is changing one of the clusters.
#[derive(Debug, Clone)]
pub struct Busy {
    tickets: Arc<RangeTickets>,
    first: u64,
    end: u64,
}

impl RangeTickets {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no holder of the ticket lock panics")
    }

    /// Takes the clusters `first..end`.
    ///
    /// # Errors
    /// [`Busy`] if one of them is taken.
    pub fn take(self: &Arc<Self>, first: u64, end: u64) -> Result<Ticket, Busy> {
        let mut held = self.lock();
        if held.overlaps(first, end) {
            return Err(Busy { tickets: Arc::clone(self), first, end });
        }
        held.runs.insert(first, end);
        Ok(Ticket { tickets: Arc::clone(self), first })
    }
}

impl Held {
    fn overlaps(&self, first: u64, end: u64) -> bool {
        self.runs.range(..end).next_back().is_some_and(|(_, held_end)| *held_end > first)
    }
}

impl Busy {
    /// Waits until none of the clusters is taken. Somebody else may take them before the caller
    /// asks again.
    pub fn wait(&self) {
        let mut held = self.tickets.lock();
        held.waiting += 1;
        while held.overlaps(self.first, self.end) {
            held = self.tickets.given_back.wait(held).expect("no holder of the ticket lock panics");
        }
        held.waiting -= 1;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut held = self.tickets.lock();
        held.runs.remove(&self.first);
        if held.waiting > 0 {
            drop(held);
            self.tickets.given_back.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_runs_exclude_each_other_and_neighbours_do_not() {
        let tickets = Arc::new(RangeTickets::default());
        let middle = tickets.take(10, 20).expect("nobody holds anything");
        let before = tickets.take(5, 10).expect("a neighbour");
        let after = tickets.take(20, 21).expect("a neighbour");
        for (first, end) in [(9, 11), (19, 20), (0, 100), (12, 13)] {
            assert!(tickets.take(first, end).is_err(), "{first}..{end}");
        }
        drop(middle);
        assert!(tickets.take(9, 11).is_err());
        drop(before);
        drop(tickets.take(6, 20).expect("given back"));
        drop(after);
    }

    #[test]
    fn a_waiter_goes_on_when_the_run_is_given_back() {
        let tickets = Arc::new(RangeTickets::default());
        let held = tickets.take(10, 20).expect("nobody holds anything");
        let busy = tickets.take(15, 16).expect_err("it is taken");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                busy.wait();
                tickets.take(15, 16).map(drop)
            });
            while tickets.lock().waiting == 0 {
                std::thread::yield_now();
            }
            drop(held);
            assert!(waiter.join().expect("the waiter does not panic").is_ok());
        });
        assert_eq!(tickets.lock().waiting, 0);
    }
}
