//! The long crash exploration: all programs of 2, all of 3 on the smallest clusters, cuts after faults,
//! samples beyond; the same of 2 for each feature.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holstein_guard::planted::Bug;
use holstein_testkit::{Rng, SampleOptions, Tearing};

use crate::{Config, Depth, Explorer, FaultPlan, Program, Start, Tally, Violation};

/// What to explore.
#[derive(Clone, Debug)]
pub struct LongRun {
    /// When to give up.
    pub minutes: u64,
    /// The seed of all samples.
    pub seed: u64,
    /// Programs run at the same time.
    pub threads: u64,
    /// Only this one.
    pub program: Option<Program>,
    /// With this bug.
    pub bug: Option<Bug>,
    /// Faults instead of cuts.
    pub faults: bool,
    /// This fault alone, at this call.
    pub fault: Option<(FaultPlan, u64)>,
    /// Only programs of which `v3:512:16/filled all of 2` or the like contains this.
    pub only: Option<String>,
    /// Cuts too, where there is a fault.
    pub cuts: bool,
}

impl Default for LongRun {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        Self {
            minutes: 55,
            seed: 1,
            threads,
            program: None,
            bug: None,
            faults: false,
            fault: None,
            only: None,
            cuts: false,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The counts.
    pub tally: Tally,
    /// The first violations.
    pub violations: Vec<Violation>,
    /// Programs that there was no time for.
    pub unfinished: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally, unfinished, elapsed, .. } = self;
        write!(f, "crash: {tally}, {unfinished} programs not run, {:.1} s", elapsed.as_secs_f64())
    }
}

/// Programs on one start, for one thread.
struct Batch {
    name: &'static str,
    programs: Vec<Program>,
    depth: Depth,
    /// Each call of each program fails in turn, in one of the ways for each call.
    faults: bool,
}

/// Explores, and prints a line of progress every few seconds.
///
/// # Errors
/// If a start cannot be made.
pub fn run(run: &LongRun) -> Result<Outcome, String> {
    let began = Instant::now();
    let end = began + Duration::from_secs(run.minutes.saturating_mul(60));
    let batches = match &run.program {
        Some(program) => {
            let depth = Depth { reopen_every: 1, opinion_every: 256, ..depth(run.seed, 512) };
            vec![Batch {
                name: "one program",
                programs: vec![program.clone()],
                depth,
                faults: false,
            }]
        }
        None => batches(run.seed),
    };
    let wanted = |batch: &Batch| {
        let only = run.only.as_deref().unwrap_or("");
        batch.programs.first().is_some_and(|first| {
            format!("{}/{} {}", first.config, first.start, batch.name).contains(only)
        })
    };
    let batches: Vec<_> = batches.into_iter().filter(wanted).collect();
    let next = AtomicUsize::new(0);
    let outcome = Mutex::new(Outcome::default());
    let shown = Mutex::new(Instant::now());
    let work = || -> Result<(), String> {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut explorer = Explorer::new(batch.depth.clone()).with_bug(run.bug);
            let mut told = Tally::default();
            let mut shown_violations = 0;
            let mut left = batch.programs.len() as u64;
            for program in &batch.programs {
                if Instant::now() >= end {
                    break;
                }
                match (run.fault, batch.faults) {
                    (None, true) => explorer.explore_every_fault(program)?,
                    (fault, _) => explorer.explore_with_fault(program, fault)?,
                }
                left -= 1;
                for violation in &explorer.violations[shown_violations..] {
                    println!("{violation}");
                }
                shown_violations = explorer.violations.len();
                let mut shown = shown.lock().expect("no printer panics");
                if shown.elapsed() > Duration::from_secs(5) {
                    *shown = Instant::now();
                    let mut outcome = outcome.lock().expect("no counter panics");
                    tell(&mut outcome, &explorer, &mut told);
                    println!(
                        "{:6.0} s  {}: {} ({}/{})",
                        began.elapsed().as_secs_f64(),
                        batch.name,
                        outcome.tally,
                        program.config,
                        program.start
                    );
                }
            }
            let mut outcome = outcome.lock().expect("no counter panics");
            tell(&mut outcome, &explorer, &mut told);
            outcome.unfinished += left;
            outcome.violations.append(&mut explorer.violations);
        }
        Ok(())
    };
    on_threads(run.threads, work)?;
    let mut outcome = outcome.into_inner().expect("no counter panics");
    outcome.elapsed = began.elapsed();
    Ok(outcome)
}

/// Does the same on so many threads, until all have done it.
///
/// # Errors
/// The first error of any thread.
pub(crate) fn on_threads(
    threads: u64,
    work: impl Fn() -> Result<(), String> + Copy + Send,
) -> Result<(), String> {
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter()
            .try_for_each(|one| one.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}

/// Adds to the whole what an explorer did since it was told last.
fn tell(outcome: &mut Outcome, explorer: &Explorer, told: &mut Tally) {
    outcome.tally.add(explorer.tally.since(*told));
    *told = explorer.tally;
}

/// The planted bug with this name.
///
/// # Errors
/// The names that there are.
pub fn bug_by_name(name: &str) -> Result<Bug, String> {
    Bug::ALL
        .into_iter()
        .find(|bug| format!("{bug:?}") == name)
        .ok_or_else(|| format!("no bug {name:?}: {:?}", Bug::ALL))
}

/// The depth for clusters of a size.
fn depth(seed: u64, cluster: u64) -> Depth {
    let states = SampleOptions { seed, ..SampleOptions::default() };
    if cluster <= 512 {
        return Depth { states, ..Depth::default() };
    }
    // Large clusters make large states: the same cuts, fewer samples beyond eight changes.
    let states = SampleOptions { samples: 4, tearing: Tearing::Last, ..states };
    if cluster > 1 << 20 {
        // A look at a disk whose tables have 2 MiB takes as long as a hundred looks at a small one.
        let states = SampleOptions { max_exhaustive: 3, samples: 2, ..states };
        return Depth { states, reopen_every: 64, opinion_every: 2048, ..Depth::default() };
    }
    Depth { states, reopen_every: 64, opinion_every: 2048, ..Depth::default() }
}

pub(crate) fn starts(config: Config) -> impl Iterator<Item = Start> {
    Start::OWN.into_iter().chain(Start::FOREIGN).filter(move |start| start.fits(config))
}

/// All the work; large clusters last, since they take most of the time.
fn batches(seed: u64) -> Vec<Batch> {
    let (large, small): (Vec<_>, Vec<_>) =
        Config::all().into_iter().partition(|config| config.cluster > 1 << 20);
    let mut all = Vec::new();
    all_of(2, &small, seed, &mut all);
    all_of(3, &[Config::SMALL], seed, &mut all);
    for start in starts(Config::SMALL) {
        let programs = Program::all(Config::SMALL, start, 2);
        add("cuts after faults", &programs, true, seed, &mut all);
    }
    samples(&small, seed, &mut all);
    let featured = Config::featured();
    all_of(2, &featured, seed, &mut all);
    samples(&featured, seed, &mut all);
    all_of(2, &large, seed, &mut all);
    samples(&large, seed, &mut all);
    all
}

fn all_of(len: u32, configs: &[Config], seed: u64, all: &mut Vec<Batch>) {
    for &config in configs {
        for start in starts(config) {
            let name = if len == 2 { "all of 2" } else { "all of 3" };
            add(name, &Program::all(config, start, len), false, seed, all);
        }
    }
}

fn samples(configs: &[Config], seed: u64, all: &mut Vec<Batch>) {
    let mut rng = Rng::new(seed);
    for &config in configs {
        for start in starts(config) {
            let count = match config.cluster {
                512 if Config::featured().contains(&config) => 120,
                512 => 400,
                4096..=65536 => 60,
                _ => 15,
            };
            let programs: Vec<_> =
                (0..count).map(|_| Program::random(config, start, &mut rng)).collect();
            add("samples", &programs, false, seed, all);
        }
    }
}

/// Adds programs on one start in pieces, so that threads share them.
fn add(name: &'static str, programs: &[Program], faults: bool, seed: u64, all: &mut Vec<Batch>) {
    let cluster = programs.first().map_or(0, |program| program.config.cluster);
    for part in programs.chunks(if faults || cluster > 1 << 20 { 25 } else { 100 }) {
        let depth = depth(seed, cluster);
        all.push(Batch { name, programs: part.to_vec(), depth, faults });
    }
}
