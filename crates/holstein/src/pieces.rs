//! Work on many pieces of a disk at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::Error;

/// Bytes of a piece that is copied: what is read is still near the processor when it is written.
const NEAR: u64 = 256 << 10;
/// Bytes of the largest cluster.
const MAX_CLUSTER: u64 = 2 << 20;

/// The length of pieces between disks of these cluster sizes: whole clusters of both.
pub(crate) fn piece_len(clusters: [u64; 2]) -> u64 {
    clusters.into_iter().fold(NEAR, u64::max).min(MAX_CLUSTER)
}

/// Where the piece that begins at `at` ends, if borders are multiples of `piece`.
pub(crate) fn piece_end(at: u64, piece: u64, end: u64) -> u64 {
    (at / piece + 1).saturating_mul(piece).min(end)
}

/// As many workers as there are processors to keep busy, and never only one.
pub(crate) fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8)
}

/// Calls `work` for every piece that `next` hands out, on `workers` threads, of which the caller's is
/// one; each has a buffer of its own, which keeps its size from piece to piece. `progress` hears, on the
/// caller's thread, of the bytes that the calls say they did.
///
/// # Errors
/// The first error of either; pieces that were begun are finished, others are not begun.
pub(crate) fn for_each_piece<P: Send>(
    workers: usize,
    next: impl FnMut() -> Result<Option<P>, Error> + Send,
    work: impl Fn(P, &mut Vec<u8>) -> Result<u64, Error> + Sync,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let next = Mutex::new(next);
    let failure = Mutex::new(None);
    let stop = AtomicBool::new(false);
    // What was done and not yet told of: nobody is woken for a piece.
    let done = AtomicU64::new(0);
    let run = |told: &mut dyn FnMut()| {
        let mut buffer = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let piece = {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                (*next)()
            };
            let worked = match piece {
                Ok(None) => return,
                Ok(Some(piece)) => work(piece, &mut buffer),
                Err(error) => Err(error),
            };
            match worked {
                Ok(bytes) => {
                    done.fetch_add(bytes, Ordering::Relaxed);
                    told();
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|| run(&mut || {}));
        }
        run(&mut || progress(done.swap(0, Ordering::Relaxed)));
    });
    progress(done.swap(0, Ordering::Relaxed));
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Who may place what now: pieces end in their order, so that what they place lies in that order.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    next: Mutex<u64>,
    passed: Condvar,
}

impl Turns {
    /// Waits until all pieces before number `n` are over.
    pub(crate) fn wait(&self, n: u64) {
        drop(self.wait_for(n));
    }

    /// Piece `n` is over; waits for those before it.
    pub(crate) fn end(&self, n: u64) {
        *self.wait_for(n) = n + 1;
        self.passed.notify_all();
    }

    fn wait_for(&self, n: u64) -> MutexGuard<'_, u64> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        while *next < n {
            next = self.passed.wait(next).unwrap_or_else(PoisonError::into_inner);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[test]
    fn turns_come_in_order() {
        let turns = Turns::default();
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for n in (0..8).rev() {
                let (turns, done) = (&turns, &done);
                scope.spawn(move || {
                    turns.wait(n);
                    done.lock().expect("nobody panics").push(n);
                    turns.end(n);
                });
            }
        });
        assert_eq!(*done.lock().expect("nobody panics"), (0..8).collect::<Vec<u64>>());
    }

    #[test]
    fn every_piece_is_done_once_and_an_error_stops() {
        let mut left = 0..100u64;
        let mut sum = 0;
        for_each_piece(3, || Ok(left.next()), |n, _| Ok(n), &mut |n| sum += n)
            .expect("nothing fails");
        assert_eq!(sum, 4950);
        let mut left = 0..u64::MAX;
        let failed = for_each_piece(
            2,
            || Ok(left.next()),
            |n, _| match n {
                50 => Err(Cause::Invalid("fifty".to_owned()).into()),
                n => Ok(n),
            },
            &mut |_| {},
        );
        assert!(failed.is_err_and(|e| e.to_string() == "fifty"));
    }

    #[test]
    fn pieces_are_whole_clusters_of_both() {
        assert_eq!(piece_len([512, 65536]), 256 << 10);
        assert_eq!(piece_len([2 << 20, 512]), 2 << 20);
        assert_eq!(piece_end(10, 100, 1000), 100);
        assert_eq!(piece_end(100, 100, 150), 150);
    }
}
