//! `test-all`: runs the stages in order, prints one line for each, then what was skipped and the sum.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::oracle::{self, Oracle};
use crate::stages::{self, Report, Stage};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// What every stage may need.
pub(crate) struct Bench<'a> {
    pub(crate) workspace: &'a Workspace,
    /// The tools to compare with, or why there are none.
    pub(crate) oracle: Result<Oracle, String>,
}

/// Runs all stages, or those chosen by `--only`; `false` when anything failed.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let Some(chosen) = choose(args)? else { return Ok(true) };
    let began = Instant::now();
    let oracle = oracle::locate(workspace);
    match &oracle {
        Ok(oracle) => println!("oracle: qemu-img {} at {}", oracle.version, oracle.img.display()),
        Err(reason) => println!("NO ORACLE: {reason}"),
    }
    let bench = Bench { workspace, oracle };
    let mut sum = Tally::default();
    let mut skips: Vec<String> = Vec::new();
    let mut failed: Vec<&str> = Vec::new();
    for stage in &chosen {
        announce(stage);
        let started = Instant::now();
        let report = (stage.run)(&bench, stage.name).unwrap_or_else(|error| Report {
            tally: Tally::FAILED,
            failure: Some(format!("xtask: {error:#}")),
            ..Report::default()
        });
        let seconds = started.elapsed().as_secs_f64();
        println!("{}", line(stage.name, &report, seconds));
        if let Some(failure) = &report.failure {
            println!("{}", indented(failure));
            failed.push(stage.name);
        }
        for note in &report.notes {
            println!("      {note}");
        }
        skips.extend(report.skips.iter().map(|skip| format!("{}: {skip}", stage.name)));
        sum += report.tally;
    }
    println!();
    for skip in &skips {
        println!("SKIPPED  {skip}");
    }
    if failed.is_empty() {
        println!(
            "all {} stages ended well in {:.0} s",
            chosen.len(),
            began.elapsed().as_secs_f64()
        );
    } else {
        println!(
            "{} of {} stages FAILED: {}; repeat one with `cargo xtask test-all --only STAGE`",
            failed.len(),
            chosen.len(),
            failed.join(", ")
        );
    }
    println!("{sum}");
    Ok(failed.is_empty() && sum.failed == 0)
}

/// The stages to run; `None` when only their list was asked for.
fn choose(args: &[String]) -> Result<Option<Vec<&'static Stage>>> {
    let mut names: Vec<&str> = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => {
                for stage in stages::ALL {
                    println!("{:<16} {}", stage.name, stage.about);
                }
                return Ok(None);
            }
            "--only" => names.extend(words.next().context("--only needs a stage")?.split(',')),
            other => match other.strip_prefix("--only=") {
                Some(list) => names.extend(list.split(',')),
                None => bail!("test-all knows no argument {other:?}"),
            },
        }
    }
    for name in &names {
        if !stages::ALL.iter().any(|stage| stage.name == *name) {
            bail!("no stage {name:?}; `cargo xtask test-all --list` lists them");
        }
    }
    let chosen = stages::ALL.iter();
    Ok(Some(chosen.filter(|stage| names.is_empty() || names.contains(&stage.name)).collect()))
}

/// Says on a terminal what is running; the stage's own line then takes the place.
fn announce(stage: &Stage) {
    if std::io::stdout().is_terminal() {
        print!("      {} ...\r", stage.name);
        // Only an ornament: a terminal that is gone must not fail the run.
        let _ = std::io::stdout().flush();
    }
}

fn line(name: &str, report: &Report, seconds: f64) -> String {
    let result = if report.failure.is_some() {
        "FAIL"
    } else if report.tally.passed == 0 && report.tally.skipped > 0 {
        "SKIP"
    } else {
        "ok"
    };
    format!("{result:<5} {name:<16} {:>32} {seconds:>8.1} s", report.tally.brief())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("      | {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_line_names_result_counts_and_time() {
        let mut report = Report { tally: Tally::PASSED, ..Report::default() };
        assert_eq!(
            line("crash", &report, 1.25),
            "ok    crash                                    1 passed      1.2 s"
        );
        report.tally = Tally::SKIPPED;
        assert!(line("fmt", &report, 0.0).starts_with("SKIP  fmt"));
        report.failure = Some("x".to_owned());
        assert!(line("fmt", &report, 0.0).starts_with("FAIL  fmt"));
    }

    #[test]
    fn an_unknown_stage_is_refused() {
        assert!(choose(&["--only".to_owned(), "nonsense".to_owned()]).is_err());
        let two = choose(&["--only=tidy,fmt".to_owned()]).expect("both exist");
        assert_eq!(two.map(|stages| stages.len()), Some(2));
    }
}
