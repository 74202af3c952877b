//! Requests of one kind, as many at a time as there are threads for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskError, Heard};

/// The most threads.
const MAX_AT_ONCE: u64 = 256;

/// When flushes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushes {
    /// Never.
    None,
    /// After so many requests; nothing else is under way meanwhile.
    Between(u64),
    /// After so many requests; others go on meanwhile.
    Beside(u64),
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Requests in all.
    pub(super) count: u64,
    /// Requests at a time.
    pub(super) depth: u64,
    /// Where the first begins.
    pub(super) start: u64,
    /// Bytes of each.
    pub(super) len: u64,
    /// From the start of one to that of the next.
    pub(super) step: u64,
    /// The byte that is written; without one they read.
    pub(super) write: Option<u8>,
    /// When flushes are made.
    pub(super) flushes: Flushes,
}

impl Plan {
    /// Where request `number` begins, the first of which has number 0. Only the first may lie behind the
    /// end, and fails.
    fn place(&self, number: u64, disk: u64) -> u64 {
        let at = u128::from(self.start) + u128::from(number) * u128::from(self.step);
        match u128::from(disk) {
            size if number > 0 && size > 0 => (at % size) as u64,
            _ => self.start,
        }
    }
}

/// How far it is.
struct State {
    /// The next request.
    next: u64,
    /// Requests that were begun and are not over.
    under_way: u64,
    /// Requests from this one on wait for the flush before it.
    barrier: u64,
}

/// What the threads share.
struct Shared<'a> {
    disk: &'a dyn Disk,
    plan: &'a Plan,
    state: Mutex<State>,
    moved: Condvar,
    stop: AtomicBool,
    failure: Mutex<Option<DiskError>>,
}

/// Makes all requests; returns when they are over. `progress` hears how many were begun, and how many there
/// are.
///
/// # Errors
/// The first that fails; those under way are finished, others are not begun.
pub(super) fn run_requests(
    disk: &dyn Disk,
    plan: &Plan,
    progress: Heard<'_>,
) -> Result<(), DiskError> {
    let barrier = match plan.flushes {
        Flushes::Between(every) => every,
        _ => u64::MAX,
    };
    let shared = Shared {
        disk,
        plan,
        state: Mutex::new(State { next: 0, under_way: 0, barrier }),
        moved: Condvar::new(),
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    let threads = plan.depth.min(plan.count).min(MAX_AT_ONCE);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Fewer than asked for do the work as well.
            if std::thread::Builder::new().spawn_scoped(scope, || shared.work(&mut |_| {})).is_err()
            {
                break;
            }
        }
        shared.work(&mut |begun| progress(begun, plan.count));
    });
    if let Some(failure) = shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failure);
    }
    progress(plan.count, plan.count);
    Ok(())
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes requests until there are no more; `begun` hears how many all threads have begun.
    fn work(&self, begun: &mut dyn FnMut(u64)) {
        let mut buffer = Vec::new();
        let done = self.buffer(&mut buffer).and_then(|()| {
            while let Some(number) = self.begin()? {
                let made = self.request(number, &mut buffer);
                self.end();
                made?;
                begun(number + 1);
            }
            Ok(())
        });
        if let Err(error) = done {
            self.stop.store(true, Ordering::Relaxed);
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
            drop(failure);
            // Those that wait look at `stop` under the lock.
            drop(self.lock());
            self.moved.notify_all();
        }
    }

    fn buffer(&self, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
        let no_room = || DiskError::from_errno(libc::ENOMEM);
        let len = usize::try_from(self.plan.len).map_err(|_| no_room())?;
        buffer.try_reserve_exact(len).map_err(|_| no_room())?;
        buffer.resize(len, self.plan.write.unwrap_or(0));
        Ok(())
    }

    /// The number of a request that may be made now; makes the flush that is due before it.
    fn begin(&self) -> Result<Option<u64>, DiskError> {
        let mut state = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) || state.next == self.plan.count {
                return Ok(None);
            }
            if state.next < state.barrier {
                let number = state.next;
                state.next += 1;
                state.under_way += 1;
                return Ok(Some(number));
            }
            if state.under_way == 0 {
                // The flush is made under the lock: nothing may begin before it is over.
                self.disk.flush()?;
                if let Flushes::Between(every) = self.plan.flushes {
                    state.barrier += every;
                }
                self.moved.notify_all();
                continue;
            }
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn request(&self, number: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let (plan, size) = (self.plan, self.disk.len());
        let at = plan.place(number, size);
        if at.checked_add(plan.len).is_none_or(|end| end > size) {
            return Err(DiskError::from_errno(libc::EIO));
        }
        match plan.write {
            Some(_) => self.disk.write_at(at, buffer, false)?,
            None => self.disk.read_at(at, buffer)?,
        }
        match plan.flushes {
            Flushes::Beside(every) if (number + 1).is_multiple_of(every) => self.disk.flush(),
            _ => Ok(()),
        }
    }

    /// A request is over.
    fn end(&self) {
        let mut state = self.lock();
        state.under_way -= 1;
        if state.under_way == 0 && state.next >= state.barrier {
            self.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskInfo, Preallocation, Status};

    /// A disk that notes what it is asked for.
    #[derive(Default)]
    struct Noted {
        size: u64,
        /// `None` is a flush.
        calls: Mutex<Vec<Option<(u64, usize)>>>,
        under_way: Mutex<(usize, usize)>,
    }

    impl Noted {
        fn note(&self, call: Option<(u64, usize)>) {
            {
                let mut under_way = self.under_way.lock().expect("nobody panics");
                under_way.0 += 1;
                under_way.1 = under_way.1.max(under_way.0);
                if call.is_none() {
                    assert_eq!(under_way.0, 1, "a request is under way");
                }
            }
            std::thread::sleep(std::time::Duration::from_micros(200));
            self.calls.lock().expect("nobody panics").push(call);
            self.under_way.lock().expect("nobody panics").0 -= 1;
        }
    }

    impl Disk for Noted {
        fn len(&self) -> u64 {
            self.size
        }
        fn read_at(&self, at: u64, into: &mut [u8]) -> crate::disk::Result<()> {
            self.note(Some((at, into.len())));
            Ok(())
        }
        fn write_at(&self, at: u64, from: &[u8], _: bool) -> crate::disk::Result<()> {
            assert!(from.iter().all(|&byte| byte == 7));
            self.note(Some((at, from.len())));
            Ok(())
        }
        fn write_zeroes(&self, _: u64, _: u64, _: bool, _: bool) -> crate::disk::Result<()> {
            Ok(())
        }
        fn discard(&self, _: u64, _: u64) -> crate::disk::Result<()> {
            Ok(())
        }
        fn flush(&self) -> crate::disk::Result<()> {
            self.note(None);
            Ok(())
        }
        fn truncate(&self, _: u64, _: Preallocation, _: Heard<'_>) -> crate::disk::Result<()> {
            Ok(())
        }
        fn status(&self, _: u64, _: u64) -> crate::disk::Result<Status> {
            Err(DiskError::from_errno(libc::EIO))
        }
        fn info(&self) -> crate::disk::Result<DiskInfo> {
            Err(DiskError::from_errno(libc::EIO))
        }
        fn read_only(&self) -> bool {
            false
        }
        fn close(self: Box<Self>) -> crate::disk::Result<()> {
            Ok(())
        }
    }

    const PLAN: Plan = Plan {
        count: 10,
        depth: 4,
        start: 0,
        len: 100,
        step: 300,
        write: Some(7),
        flushes: Flushes::None,
    };

    fn run(plan: &Plan) -> Vec<Option<(u64, usize)>> {
        let disk = Noted { size: 1000, ..Noted::default() };
        run_requests(&disk, plan, &mut |_, _| {}).expect("nothing fails");
        let most = disk.under_way.lock().expect("nobody panics").1;
        assert!(most as u64 <= plan.depth, "{most} at once");
        disk.calls.into_inner().expect("nobody panics")
    }

    #[test]
    fn requests_go_round_the_disk() {
        let mut calls = run(&PLAN);
        calls.sort_unstable();
        let places: Vec<u64> = calls.iter().flatten().map(|call| call.0).collect();
        assert_eq!(places, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        let one = run(&Plan { depth: 1, write: None, ..PLAN });
        let places: Vec<u64> = one.iter().flatten().map(|call| call.0).collect();
        assert_eq!(places, [0, 300, 600, 900, 200, 500, 800, 100, 400, 700]);
    }

    #[test]
    fn flushes_come_between_groups_with_nothing_under_way() {
        let calls = run(&Plan { flushes: Flushes::Between(4), ..PLAN });
        let flushes: Vec<usize> = (0..calls.len()).filter(|&n| calls[n].is_none()).collect();
        assert_eq!(flushes, [4, 9]);
        let calls = run(&Plan { flushes: Flushes::Beside(5), depth: 1, ..PLAN });
        let flushes: Vec<usize> = (0..calls.len()).filter(|&n| calls[n].is_none()).collect();
        assert_eq!(flushes, [5, 11]);
    }

    #[test]
    fn a_request_past_the_end_stops_the_run() {
        let disk = Noted { size: 1000, ..Noted::default() };
        let failed = run_requests(&disk, &Plan { len: 400, ..PLAN }, &mut |_, _| {});
        assert_eq!(failed.map_err(|error| error.errno()), Err(libc::EIO));
        let failed = run_requests(&disk, &Plan { start: 1000, ..PLAN }, &mut |_, _| {});
        assert!(failed.is_err());
        let empty = Noted::default();
        assert!(run_requests(&empty, &PLAN, &mut |_, _| {}).is_err());
    }
}
