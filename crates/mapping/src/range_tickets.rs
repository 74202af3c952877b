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
    held: Mutex<BTreeMap<u64, u64>>,
    given_back: Condvar,
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
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.held.lock().expect("no holder of the ticket lock panics")
    }

    /// Takes the clusters `first..end`.
    ///
    /// # Errors
    /// [`Busy`] if one of them is taken.
    pub fn take(self: &Arc<Self>, first: u64, end: u64) -> Result<Ticket, Busy> {
        let mut held = self.lock();
        if overlaps(&held, first, end) {
            return Err(Busy { tickets: Arc::clone(self), first, end });
        }
        held.insert(first, end);
        Ok(Ticket { tickets: Arc::clone(self), first })
    }
}

fn overlaps(held: &BTreeMap<u64, u64>, first: u64, end: u64) -> bool {
    held.range(..end).next_back().is_some_and(|(_, held_end)| *held_end > first)
}

impl Busy {
    /// Waits until none of the clusters is taken. Somebody else may take them before the caller
    /// asks again.
    pub fn wait(&self) {
        let mut held = self.tickets.lock();
        while overlaps(&held, self.first, self.end) {
            held = self.tickets.given_back.wait(held).expect("no holder of the ticket lock panics");
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tickets.lock().remove(&self.first);
        self.tickets.given_back.notify_all();
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
}
