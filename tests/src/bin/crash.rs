//! The long crash exploration; see the options below.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use holstein_tests::long_faults;
use holstein_tests::long_run::{self, LongRun};
use holstein_tests::{each_option, number};

const USAGE: &str = "\
crash: explores what power cuts can leave of an image

  --minutes N    give up what is not done after N minutes (55)
  --seed N       seed of the samples (1)
  --only TEXT    only programs of which v3:512:16/filled all of 2, or the like, contains TEXT
  --threads N    programs run at the same time (one for each processor)
  --program P    only this program, as violations name it: v3:512:16/filled/w@0+512,f
  --plant BUG    with a planted bug, which must be found: FirstBarrierMissing and so on
  --fault F@N    with --program: call N of the program fails as F says, and no cuts
  --cuts yes     with --fault: and cuts
  --faults yes   no cuts: every call of every program of two fails in every way

Exit code 0: all done, no violation. 1: violations. 2: wrong use. 3: not all was done in time.
";

fn main() -> ExitCode {
    let run = match parse(std::env::args().skip(1)) {
        Ok(Some(run)) => run,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprint!("crash: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if run.faults || (run.fault.is_some() && !run.cuts) {
        return faults(&run);
    }
    match long_run::run(&run) {
        Ok(outcome) => {
            println!("{outcome}");
            match (outcome.tally.violations, outcome.unfinished) {
                (0, 0) => ExitCode::SUCCESS,
                (0, _) => ExitCode::from(3),
                _ => ExitCode::FAILURE,
            }
        }
        Err(why) => {
            eprintln!("crash: {why}");
            ExitCode::FAILURE
        }
    }
}

fn faults(run: &LongRun) -> ExitCode {
    match long_faults::run(run) {
        Ok(tally) => {
            for shown in &tally.shown {
                println!("{shown}");
            }
            println!("faults: {tally}, {} programs not run", tally.unfinished);
            match (tally.total(), tally.unfinished) {
                (0, 0) => ExitCode::SUCCESS,
                (0, _) => ExitCode::from(3),
                _ => ExitCode::FAILURE,
            }
        }
        Err(why) => {
            eprintln!("crash: {why}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: impl Iterator<Item = String>) -> Result<Option<LongRun>, String> {
    let mut run = LongRun::default();
    let whole = each_option(args, |name, value| {
        match name {
            "--minutes" => run.minutes = number(name, value)?,
            "--seed" => run.seed = number(name, value)?,
            "--threads" => run.threads = number(name, value)?.clamp(1, 64),
            "--program" => run.program = Some(value.parse()?),
            "--plant" => run.bug = Some(long_run::bug_by_name(value)?),
            "--fault" => {
                let (plan, call) = value.split_once('@').ok_or("--fault needs F@N")?;
                run.fault = Some((plan.parse()?, number(name, call)?));
            }
            "--only" => run.only = Some(value.to_owned()),
            "--cuts" => run.cuts = value == "yes",
            "--faults" => run.faults = value == "yes",
            _ => return Err(format!("unknown option {name:?}")),
        }
        Ok(())
    })?;
    Ok(whole.then_some(run))
}
