//! The long crash exploration; see the options below.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use holstein_tests::long_run::{self, LongRun};

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
    match long_run::run_faults(run) {
        Ok(tally) => {
            for shown in &tally.shown {
                println!("{shown}");
            }
            println!("faults: {tally}");
            if tally.total() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("crash: {why}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<LongRun>, String> {
    let mut run = LongRun::default();
    while let Some(name) = args.next() {
        if name == "--help" || name == "-h" {
            return Ok(None);
        }
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|e| format!("{name} {value:?}: {e}"));
        match name.as_str() {
            "--minutes" => run.minutes = number()?,
            "--seed" => run.seed = number()?,
            "--threads" => run.threads = number()?.clamp(1, 64),
            "--program" => run.program = Some(value.parse()?),
            "--plant" => run.bug = Some(long_run::bug_by_name(&value)?),
            "--fault" => {
                let (plan, call) = value.split_once('@').ok_or("--fault needs F@N")?;
                let call = call.parse().map_err(|e| format!("{name} {value:?}: {e}"))?;
                run.fault = Some((plan.parse()?, call));
            }
            "--only" => run.only = Some(value),
            "--cuts" => run.cuts = value == "yes",
            "--faults" => run.faults = value == "yes",
            _ => return Err(format!("unknown option {name:?}")),
        }
    }
    Ok(Some(run))
}
