//! Many sequences, in every configuration in turn.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holstein_testkit::Oracle;

use super::templates::Templates;
use super::{Library, Pair, Row, Side, Step, Tools, TwinTally, print_steps, shrink, steps};

/// What to run.
#[derive(Clone, Debug)]
pub struct LongTwin {
    /// How many sequences.
    pub sequences: u64,
    /// When to give up.
    pub minutes: u64,
    /// The seed of the first sequence.
    pub seed: u64,
    /// Sequences run at the same time.
    pub threads: u64,
    /// Only these configurations.
    pub rows: Vec<Row>,
    /// Only these steps.
    pub steps: Option<Vec<Step>>,
    /// A folder with our program as `qemu-img` and `qemu-io`; every fourth sequence is driven
    /// through it instead of the library.
    pub program: Option<PathBuf>,
    /// All sequences are.
    pub only_program: bool,
    /// Failing sequences are made shorter, trying this often.
    pub tries: u32,
}

impl Default for LongTwin {
    fn default() -> Self {
        Self {
            sequences: 2000,
            minutes: 55,
            seed: 1,
            threads: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            rows: Row::all(),
            steps: None,
            program: None,
            only_program: false,
            tries: 400,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct TwinOutcome {
    /// The counts.
    pub tally: TwinTally,
    /// Configurations in which there was a sequence.
    pub rows: usize,
    /// Of the sequences, those driven through our program.
    pub by_program: u64,
    /// What failed, in full.
    pub failures: Vec<String>,
    /// Sequences that there was no time for.
    pub unfinished: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl fmt::Display for TwinOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TwinTally { sequences, requests, refused, alone, judged } = self.tally;
        write!(
            f,
            "twin: {sequences} sequences ({} through the program) in {} configurations, {requests} \
             requests, {refused} refused by both, {alone} made by ours alone, {judged} times judged, {} \
             failures, {} not run, {:.1} s",
            self.by_program,
            self.rows,
            self.failures.len(),
            self.unfinished,
            self.elapsed.as_secs_f64()
        )
    }
}

/// Runs them, and prints failures as they come, and a line of progress every few seconds.
pub fn run(oracle: &Oracle, long: &LongTwin) -> TwinOutcome {
    let began = Instant::now();
    let end = began + Duration::from_secs(long.minutes.saturating_mul(60));
    let count = if long.steps.is_some() { long.rows.len() as u64 } else { long.sequences };
    let next = AtomicU64::new(0);
    let outcome = Mutex::new(TwinOutcome::default());
    let shown = Mutex::new(Instant::now());
    let templates = <[Arc<Templates>; 2]>::default();
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            if Instant::now() >= end {
                outcome.lock().expect("no counter panics").unfinished += 1;
                continue;
            }
            let one = One::new(oracle, long, &templates, number);
            let result = one.run();
            let mut outcome = outcome.lock().expect("no counter panics");
            match result {
                Ok(tally) => {
                    outcome.tally.add(tally);
                    outcome.by_program += u64::from(one.program.is_some());
                }
                Err(failure) => {
                    println!("{failure}");
                    outcome.failures.push(failure);
                }
            }
            let mut shown = shown.lock().expect("no printer panics");
            if shown.elapsed() > Duration::from_secs(5) {
                *shown = Instant::now();
                println!(
                    "{:6.0} s  {} of {count} sequences, {} requests, {} failures ({})",
                    began.elapsed().as_secs_f64(),
                    outcome.tally.sequences,
                    outcome.tally.requests,
                    outcome.failures.len(),
                    one.row.name
                );
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..long.threads {
            scope.spawn(work);
        }
    });
    let mut outcome = outcome.into_inner().expect("no counter panics");
    outcome.rows = usize::try_from(count).map_or(long.rows.len(), |n| n.min(long.rows.len()));
    outcome.elapsed = began.elapsed();
    outcome
}

/// One sequence.
struct One<'a> {
    oracle: &'a Oracle,
    row: Row,
    steps: Vec<Step>,
    program: Option<&'a Path>,
    tries: u32,
    /// New images of theirs and of our program.
    templates: &'a [Arc<Templates>; 2],
}

impl<'a> One<'a> {
    fn new(
        oracle: &'a Oracle,
        long: &'a LongTwin,
        templates: &'a [Arc<Templates>; 2],
        number: u64,
    ) -> Self {
        let rows = long.rows.len() as u64;
        let row = long.rows[usize::try_from(number % rows).expect("an index")];
        let seed = long.seed.wrapping_mul(1_000_000) + number;
        let steps = long.steps.clone().unwrap_or_else(|| steps(row, seed));
        let through = long.only_program || (number / rows) % 4 == 3;
        let program = long.program.as_deref().filter(|_| through);
        Self { oracle, row, steps, program, tries: long.tries, templates }
    }

    fn run(&self) -> Result<TwinTally, String> {
        let failure = match self.attempt(&self.steps) {
            Ok(tally) => return Ok(tally),
            Err(failure) => failure,
        };
        let fewer =
            shrink(&self.steps, self.tries, &mut |steps: &[Step]| self.attempt(steps).is_err());
        let shorter = self.attempt(&fewer).err().unwrap_or_else(|| "nothing any more".to_owned());
        let program = if self.program.is_some() { " --through-program yes" } else { "" };
        Err(format!(
            "failure in {}: {failure}\n  of {} steps {} are left: {shorter}\n  again: cargo xtask twin \
             --config {}{program} --steps '{}'",
            self.row.name,
            self.steps.len(),
            fewer.len(),
            self.row.name,
            print_steps(&fewer)
        ))
    }

    fn attempt(&self, steps: &[Step]) -> Result<TwinTally, String> {
        let [of_theirs, of_ours] = self.templates;
        let mut theirs = Tools::reference(self.oracle, of_theirs);
        let mut ours: Box<dyn Side> = match self.program {
            Some(folder) => {
                let programs = (folder.join("qemu-img"), folder.join("qemu-io"));
                Box::new(Tools::new(&programs.0, &programs.1, of_ours))
            }
            None => Box::new(Library::default()),
        };
        Pair::new(self.oracle, self.row, &mut *ours, &mut theirs)?.run(steps)
    }
}
