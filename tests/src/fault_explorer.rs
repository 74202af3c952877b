//! Every call of a program fails in turn.

use std::collections::BTreeMap;
use std::fmt;

use crate::faulty_run::{Breach, Judged, count_calls, run_with_fault};
use crate::{Base, FaultPlan, Program, Start};

/// What an exploration of faults did.
#[derive(Clone, Debug, Default)]
pub struct FaultTally {
    /// Programs.
    pub programs: u64,
    /// Runs with a fault that came to pass.
    pub points: u64,
    /// Of these, runs in which no caller heard of it, where that is allowed.
    pub absorbed: u64,
    /// Promises broken, by kind.
    pub breaches: BTreeMap<Breach, u64>,
    /// The first of them, in full.
    pub shown: Vec<String>,
    /// Programs that there was no time for.
    pub unfinished: u64,
}

impl FaultTally {
    /// Adds what another exploration did.
    pub fn add(&mut self, other: Self) {
        self.programs += other.programs;
        self.points += other.points;
        self.absorbed += other.absorbed;
        self.unfinished += other.unfinished;
        for (breach, count) in other.breaches {
            *self.breaches.entry(breach).or_insert(0) += count;
        }
        let room = KEPT.saturating_sub(self.shown.len());
        self.shown.extend(other.shown.into_iter().take(room));
    }

    /// How often this promise was broken.
    #[must_use]
    pub fn count(&self, breach: Breach) -> u64 {
        self.breaches.get(&breach).copied().unwrap_or(0)
    }

    /// How often any was.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.breaches.values().sum()
    }
}

impl fmt::Display for FaultTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { programs, points, absorbed, .. } = self;
        write!(
            f,
            "{programs} programs, {points} fault points ({absorbed} absorbed), {} panics, \
             {} corrupt images, {} with lost sectors, {} unreported, {} writes or successes after \
             a failed flush, {} wrong while open",
            self.count(Breach::Panic),
            self.count(Breach::Corrupt),
            self.count(Breach::Lost),
            self.count(Breach::Unreported),
            self.count(Breach::AfterFailedFlush),
            self.count(Breach::WhileOpen),
        )
    }
}

/// How many breaches are kept in full.
const KEPT: usize = 20;

/// Lets each call of each program fail as each plan says. The programs have one start.
///
/// # Errors
/// If the start cannot be made, or a program fails without a fault.
pub fn explore_faults(
    programs: &[Program],
    plans: &[FaultPlan],
    tally: &mut FaultTally,
) -> Result<(), String> {
    let Some(first) = programs.first() else { return Ok(()) };
    let Some(base) = Base::new(first.config, first.start)? else { return Ok(()) };
    programs.iter().try_for_each(|program| every_fault(program, &base, plans, tally))
}

/// The same of one program, whose start was made.
pub(crate) fn every_fault(
    program: &Program,
    base: &Base,
    plans: &[FaultPlan],
    tally: &mut FaultTally,
) -> Result<(), String> {
    tally.programs += 1;
    let mut judged = Judged::default();
    for plan in plans {
        for after in 0..count_calls(program, base, &plan.at(0))? {
            one(program, base, *plan, after, &mut judged, tally);
        }
    }
    Ok(())
}

/// One call of one program fails.
///
/// # Errors
/// If the start cannot be made.
pub fn explore_one_fault(
    program: &Program,
    plan: FaultPlan,
    after: u64,
    tally: &mut FaultTally,
) -> Result<(), String> {
    tally.programs += 1;
    if let Some(base) = Base::new(program.config, program.start)? {
        one(program, &base, plan, after, &mut Judged::default(), tally);
    }
    Ok(())
}

fn one(
    program: &Program,
    base: &Base,
    plan: FaultPlan,
    after: u64,
    judged: &mut Judged,
    tally: &mut FaultTally,
) {
    // Where there is a snapshot, or tables grow, using it again tells most.
    let reopen = after.is_multiple_of(8) || program.start == Start::Snapshot;
    match run_with_fault(program, base, &plan.at(after), reopen, judged) {
        Ok(ran) => {
            tally.points += u64::from(ran.fired);
            tally.absorbed += u64::from(ran.absorbed);
        }
        Err((breach, what)) => {
            tally.points += 1;
            *tally.breaches.entry(breach).or_insert(0) += 1;
            if tally.shown.len() < KEPT {
                tally.shown.push(format!(
                    "{breach:?} in {program}, call {after}, {plan}\n  {what}\n  again: cargo run \
                     --release -p holstein-tests --bin crash -- --program '{program}' --fault \
                     {plan}@{after}"
                ));
            }
        }
    }
}
