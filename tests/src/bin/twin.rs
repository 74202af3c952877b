//! Random sequences on twin images in their long form; see the options below.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use holstein_testkit::{Oracle, TempDir};
use holstein_tests::twin::{LongTwin, Row, parse_steps, run};
use holstein_tests::{each_option, number};

const USAGE: &str = "\
twin: the same random requests made of Holstein and of QEMU's programs, all compared

  --sequences N        how many (2000), in every configuration in turn
  --minutes N          give up what is not done after N minutes (55)
  --seed N             seed of the sequences (1)
  --threads N          sequences run at the same time (one for each processor)
  --config NAME        only this configuration
  --steps S            only these steps, as failures name them
  --program PATH       our program: every fourth sequence is driven through it
  --through-program yes  all are
  --shrink N           failing sequences are made shorter, trying N times (400)

Exit code 0: all done, no failure. 1: failures. 2: wrong use. 3: not all was done in time, or no oracle.
";

fn main() -> ExitCode {
    let mut long = LongTwin::default();
    let folder = match parse(std::env::args().skip(1), &mut long) {
        Ok(Some(folder)) => folder,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprint!("twin: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let oracle = match Oracle::find() {
        Ok(oracle) => oracle,
        Err(why) => {
            eprintln!("twin: {why}");
            return ExitCode::from(3);
        }
    };
    let outcome = run(&oracle, &long);
    drop(folder);
    println!("{outcome}");
    match (outcome.failures.len(), outcome.unfinished) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    }
}

/// Reads the options; the folder holds links to our program, if there are any, and goes when
/// dropped.
fn parse(
    args: impl Iterator<Item = String>,
    long: &mut LongTwin,
) -> Result<Option<Option<TempDir>>, String> {
    let mut folder = None;
    let whole = each_option(args, |name, value| {
        match name {
            "--sequences" => long.sequences = number(name, value)?,
            "--minutes" => long.minutes = number(name, value)?,
            "--seed" => long.seed = number(name, value)?,
            "--threads" => long.threads = number(name, value)?.clamp(1, 64),
            "--config" => long.rows = vec![Row::by_name(value)?],
            "--steps" => long.steps = Some(parse_steps(value)?),
            "--program" => folder = Some(links(value)?),
            "--through-program" => long.only_program = value == "yes",
            "--shrink" => {
                long.tries = u32::try_from(number(name, value)?).map_err(|e| e.to_string())?;
            }
            _ => return Err(format!("unknown option {name:?}")),
        }
        Ok(())
    })?;
    if !whole {
        return Ok(None);
    }
    long.program = folder.as_ref().map(|folder| folder.path().to_owned());
    if long.only_program && long.program.is_none() {
        return Err("--through-program needs --program".to_owned());
    }
    Ok(Some(folder))
}

/// A folder in which our program has the names of QEMU's.
fn links(program: &str) -> Result<TempDir, String> {
    let text = |e: std::io::Error| format!("{program}: {e}");
    let program = std::fs::canonicalize(program).map_err(text)?;
    let folder = TempDir::new("twin-program").map_err(text)?;
    for name in ["qemu-img", "qemu-io"] {
        std::os::unix::fs::symlink(&program, folder.file(name)).map_err(text)?;
    }
    Ok(folder)
}
