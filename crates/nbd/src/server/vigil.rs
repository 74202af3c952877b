//! Waiting for requests: awake for a moment, asleep after that.
//!
//! Where small requests come one after the other, putting a thread to sleep and waking it takes longer than
//! serving one. So a session whose requests follow its replies at once looks for the next one before it
//! sleeps. It stops doing so when it looked in vain, and needs more reason to begin again each time.

use std::io::{self, Read};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::socket::Socket;

/// How long is looked for what comes next, at most.
const LOOK: Duration = Duration::from_micros(100);
/// A wait that ends before this might have ended while looking: waking takes its part of it.
const SHORT: Duration = Duration::from_micros(200);
/// Short waits in a row that are reason enough to look again, at most.
const MAX_NEEDED: u32 = 256;

/// For sessions that look at this moment: no more than half of the processors may be kept busy by that. On a
/// machine of one the client could not go on meanwhile.
static LOOKING: LazyLock<Seats> = LazyLock::new(|| {
    Seats::new(std::thread::available_parallelism().map_or(0, |count| count.get() / 2))
});

/// A socket to read requests from.
pub(super) struct Vigil<'a> {
    socket: &'a Socket,
    habit: Habit,
    seats: &'a Seats,
}

impl<'a> Vigil<'a> {
    pub(super) fn new(socket: &'a Socket) -> Self {
        Self { socket, habit: Habit::default(), seats: &LOOKING }
    }

    /// Looks for bytes without sleeping; nothing if none came in time, or too many others look.
    fn look(&mut self, into: &mut [u8], begin: Instant) -> io::Result<Option<usize>> {
        let Some(_seat) = self.seats.take() else { return Ok(None) };
        loop {
            match self.socket.receive_now(into) {
                Ok(read) => {
                    self.habit.found();
                    return Ok(Some(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if begin.elapsed() >= LOOK {
                self.habit.missed();
                return Ok(None);
            }
            // Whoever has work for this processor goes first, perhaps the client.
            std::thread::yield_now();
        }
    }
}

impl Read for Vigil<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let begin = Instant::now();
        if self.habit.looks()
            && let Some(read) = self.look(into, begin)?
        {
            return Ok(read);
        }
        let read = (&mut &*self.socket).read(into)?;
        self.habit.slept(begin.elapsed());
        Ok(read)
    }
}

/// Whether looking pays, by what happened before.
#[derive(Debug)]
struct Habit {
    /// Short waits that came in a row.
    short: u32,
    /// Short waits that it takes.
    needed: u32,
}

impl Default for Habit {
    fn default() -> Self {
        Self { short: 0, needed: 4 }
    }
}

impl Habit {
    fn looks(&self) -> bool {
        self.short >= self.needed
    }

    fn found(&mut self) {
        self.needed = Self::default().needed;
    }

    fn missed(&mut self) {
        self.short = 0;
        self.needed = (2 * self.needed).min(MAX_NEEDED);
    }

    fn slept(&mut self, time: Duration) {
        self.short = if time < SHORT { self.short.saturating_add(1) } else { 0 };
    }
}

/// Places of which there are some.
#[derive(Debug)]
struct Seats {
    taken: AtomicUsize,
    most: usize,
}

impl Seats {
    fn new(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most }
    }

    fn take(&self) -> Option<Seat<'_>> {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(self);
        // Given back at once where there was none.
        (taken < self.most).then_some(seat)
    }
}

/// A place, until it is dropped.
struct Seat<'a>(&'a Seats);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn looking_takes_reason_and_more_of_it_after_each_time_in_vain() {
        let mut habit = Habit::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            let mut count = 0;
            while !habit.looks() {
                habit.slept(SHORT / 2);
                count += 1;
            }
            waits.push(count);
            habit.missed();
            habit.slept(SHORT * 2);
        }
        assert_eq!(waits, [4, 8, 16, 32, 64, 128, 256, 256, 256]);
        while !habit.looks() {
            habit.slept(SHORT / 2);
        }
        habit.found();
        assert!(habit.looks(), "what was found is reason to go on");
        habit.missed();
        assert_eq!(habit.needed, 8);
    }

    #[test]
    fn a_long_wait_is_no_reason() {
        let mut habit = Habit::default();
        for _ in 0..100 {
            habit.slept(SHORT / 2);
            habit.slept(SHORT / 2);
            habit.slept(SHORT);
            assert!(!habit.looks());
        }
    }

    #[test]
    fn seats_are_given_back() {
        let seats = Seats::new(1);
        let first = seats.take();
        assert!(first.is_some());
        assert!(seats.take().is_none());
        assert!(seats.take().is_none());
        drop(first);
        assert!(seats.take().is_some());
        assert!(Seats::new(0).take().is_none());
    }

    #[test]
    fn who_looks_in_vain_sleeps_and_who_has_no_seat_does_not_look() -> io::Result<()> {
        let (near, far) = UnixStream::pair()?;
        let socket = Socket::Unix(near);
        for (seats, needed) in [(1, 8), (0, 4)] {
            let seats = Seats::new(seats);
            let mut vigil = Vigil { seats: &seats, ..Vigil::new(&socket) };
            vigil.habit.short = MAX_NEEDED;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(20 * LOOK);
                    (&far).write_all(&[7])
                });
                vigil.read_exact(&mut [0])
            })?;
            assert_eq!((vigil.habit.short, vigil.habit.needed), (0, needed));
            assert_eq!(seats.taken.load(Ordering::Relaxed), 0);
        }
        Ok(())
    }

    #[test]
    fn bytes_and_the_end_come_awake_and_asleep() -> io::Result<()> {
        let (near, far) = UnixStream::pair()?;
        let socket = Socket::Unix(near);
        let seats = Seats::new(1);
        let mut vigil = Vigil { seats: &seats, ..Vigil::new(&socket) };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut byte = [0];
                for turn in 0..200_u8 {
                    if turn % 50 == 49 {
                        std::thread::sleep(SHORT * 2);
                    }
                    (&far).write_all(&[turn])?;
                    (&far).read_exact(&mut byte)?;
                }
                far.shutdown(std::net::Shutdown::Write)
            });
            for turn in 0..200_u8 {
                if turn % 2 == 0 {
                    // Whatever the machine is like, both ways are gone.
                    vigil.habit.short = MAX_NEEDED;
                }
                let mut byte = [0];
                vigil.read_exact(&mut byte)?;
                assert_eq!(byte, [turn]);
                (&socket).write_all(&byte)?;
            }
            assert_eq!(vigil.read(&mut [0])?, 0);
            vigil.habit.short = MAX_NEEDED;
            assert_eq!(vigil.read(&mut [0])?, 0);
            Ok(())
        })
    }
}
