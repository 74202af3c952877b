//! The long exploration of faults: every call of all programs of two fails, in every way.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::fault_explorer::every_fault;
use crate::long_run::{LongRun, on_threads, starts};
use crate::{Base, Config, FaultPlan, FaultTally, Program, explore_faults, explore_one_fault};

/// Lets calls fail: one, or all of a program, or all of all programs of two; of these prints a line of
/// progress every few seconds.
///
/// # Errors
/// If a start cannot be made.
pub fn run(run: &LongRun) -> Result<FaultTally, String> {
    let mut tally = FaultTally::default();
    match (&run.program, run.fault) {
        (Some(program), Some((plan, call))) => {
            explore_one_fault(program, plan, call, &mut tally)?;
        }
        (Some(program), None) => {
            explore_faults(std::slice::from_ref(program), &FaultPlan::all(), &mut tally)?;
        }
        (None, _) => return all(run),
    }
    Ok(tally)
}

fn all(run: &LongRun) -> Result<FaultTally, String> {
    let began = Instant::now();
    let end = began + Duration::from_secs(run.minutes.saturating_mul(60));
    let batches = batches(run.only.as_deref().unwrap_or(""));
    let plans = FaultPlan::all();
    let next = AtomicUsize::new(0);
    let whole = Mutex::new((FaultTally::default(), began));
    let work = || -> Result<(), String> {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(first) = batch.first() else { continue };
            let Some(base) = Base::new(first.config, first.start)? else { continue };
            for program in batch {
                let mut tally = FaultTally::default();
                if Instant::now() < end {
                    every_fault(program, &base, &plans, &mut tally)?;
                } else {
                    tally.unfinished = 1;
                }
                let mut guard = whole.lock().expect("no counter panics");
                let (whole, shown) = &mut *guard;
                whole.add(tally);
                if shown.elapsed() > Duration::from_secs(5) {
                    *shown = Instant::now();
                    let seconds = began.elapsed().as_secs_f64();
                    println!("{seconds:6.0} s  {whole} ({}/{})", first.config, first.start);
                }
            }
        }
        Ok(())
    };
    on_threads(run.threads, work)?;
    Ok(whole.into_inner().expect("no counter panics").0)
}

/// Programs on one start, in pieces, so that threads share them.
fn batches(only: &str) -> Vec<Vec<Program>> {
    let mut all = Vec::new();
    for config in Config::all().into_iter().chain(Config::featured()) {
        for start in starts(config).filter(|start| format!("{config}/{start}").contains(only)) {
            // Large clusters say nothing else here, and cost much.
            let every = if config.cluster > 1 << 20 { 10 } else { 1 };
            let programs: Vec<_> =
                Program::all(config, start, 2).into_iter().step_by(every).collect();
            all.extend(programs.chunks(50 / every).map(<[Program]>::to_vec));
        }
    }
    all
}
