//! Random reads of what is in the page cache, beside a loop of `pread`.
//!
//! A read takes about a microsecond, and the difference looked for is some percent of it. So a round
//! is short: most rounds then pass without an interruption, and the two sides of one see the same
//! machine. All threads begin each turn together.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use holstein::{OpenOptions, ReadOnlyImage};

use super::{Bench, CONTENT, Page, REQUEST};
use crate::measure::{Pair, Times, as_f64};
use crate::offsets;
use crate::raw_file;
use crate::table::{Line, Other, Unit};

pub(crate) const ONE: &str = "read-4k";
pub(crate) const TWO: &str = "read-4k-2t";

/// Reads of a thread in a turn.
const TURN: usize = 250;
/// Places of a thread.
const PLACES: usize = 400 * TURN;
/// Rounds that do not count.
const WARM_UP: usize = 100;

pub(super) fn row(bench: &Bench<'_>, name: &'static str, threads: usize) -> Result<Line> {
    let size = bench.disk_size();
    let raw = raw_file::filled(&bench.scratch.fresh("raw"), CONTENT, size)?;
    let path = bench.full_image("image", size)?;
    let image = OpenOptions::new().open_read_only(&path)?;
    let places: Vec<Vec<u64>> =
        (0..threads).map(|t| offsets::random(2 + t as u64, PLACES, REQUEST as u64, size)).collect();
    same_bytes(&image, &raw, &places[0])?;
    let rounds = bench.options.rounds(8001, 2001);
    let pair = race(rounds, &places, &|at, into| Ok(image.read_at(at, into)?), &|at, into| {
        Ok(raw.read_exact_at(into, at)?)
    })?;
    let note = format!(
        "{} MiB disk, all in the page cache; {threads} thread(s), {rounds} rounds of {TURN} reads each",
        size >> 20
    );
    let work = as_f64(TURN * threads);
    let other = Other::RawFile;
    Ok(Line::Compared { name, unit: Unit::Requests, work, other, pair, need: 0.95, note })
}

type Read<'a> = &'a (dyn Fn(u64, &mut [u8]) -> Result<()> + Sync);

/// Both sides in turn, by as many threads as there are lists of places.
fn race(rounds: usize, places: &[Vec<u64>], ours: Read<'_>, other: Read<'_>) -> Result<Pair> {
    let arrived = AtomicUsize::new(0);
    let count = places.len();
    let runners = std::thread::scope(|scope| {
        let runners: Vec<_> = places
            .iter()
            .map(|places| {
                let start = Start { arrived: &arrived, runners: count, turns: 0 };
                scope.spawn(move || run(rounds + WARM_UP, places, [ours, other], start))
            })
            .collect();
        runners
            .into_iter()
            .map(|runner| runner.join().ok().context("a reader panicked")?)
            .collect::<Result<Vec<_>>>()
    })?;
    // A turn has ended when the last thread has.
    let slowest = |round: usize, side: usize| {
        runners.iter().map(|times| times[round][side]).fold(0.0, f64::max)
    };
    let both: Vec<[f64; 2]> =
        (WARM_UP..WARM_UP + rounds).map(|n| [slowest(n, 0), slowest(n, 1)]).collect();
    Ok(Pair {
        ours: Times::new(both.iter().map(|[ours, _]| *ours).collect()),
        other: Times::new(both.iter().map(|[_, other]| *other).collect()),
        ratio: Times::new(both.iter().map(|[ours, other]| other / ours).collect()),
    })
}

/// Where threads wait for each other before a turn.
struct Start<'a> {
    arrived: &'a AtomicUsize,
    runners: usize,
    turns: usize,
}

impl Start<'_> {
    /// Waits for all, without sleeping: a thread that is woken begins late.
    fn wait(&mut self) {
        self.turns += 1;
        self.arrived.fetch_add(1, Ordering::AcqRel);
        while self.arrived.load(Ordering::Acquire) < self.turns * self.runners {
            std::thread::yield_now();
        }
    }
}

/// The seconds of each round of one thread, for both sides.
fn run(
    rounds: usize,
    places: &[u64],
    sides: [Read<'_>; 2],
    mut start: Start<'_>,
) -> Result<Vec<[f64; 2]>> {
    let mut page = Page::new();
    let mut times = vec![[0.0; 2]; rounds];
    let mut result = Ok(());
    for (round, times) in times.iter_mut().enumerate() {
        let window = window(round);
        for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            // After an error the thread comes to each start all the same: the others wait there.
            start.wait();
            if result.is_ok() {
                let begin = Instant::now();
                result =
                    places[window.clone()].iter().try_for_each(|&at| sides[side](at, &mut page.0));
                times[side] = begin.elapsed().as_secs_f64();
            }
        }
    }
    result.map(|()| times)
}

/// Which places a round reads: parts, one after the other, over and over.
fn window(round: usize) -> Range<usize> {
    let first = round * TURN % PLACES;
    first..first + TURN
}

/// Both sides hold the same: what is compared is the same work.
fn same_bytes(image: &ReadOnlyImage, raw: &File, places: &[u64]) -> Result<()> {
    let (mut a, mut b) = ([0; REQUEST], [0; REQUEST]);
    for &at in places.iter().take(1000) {
        image.read_at(at, &mut a)?;
        raw.read_exact_at(&mut b, at)?;
        ensure!(a == b, "the image and the file differ at {at}");
    }
    Ok(())
}
