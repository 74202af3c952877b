//! The stages of test-all, in their order, and what each runs.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::job::{Log, tail};
use crate::tally::Tally;
use crate::targets::{self, Kind};
use crate::test_all::Bench;
use crate::{apt, components, fuzz, guest, libtest, tidy};

/// One stage.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Bench<'_>, &'static str) -> Result<Report>,
}

/// What a stage found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) tally: Tally,
    /// What was skipped and why; repeated at the end of test-all.
    pub(crate) skips: Vec<String>,
    /// Lines worth showing under the stage's line.
    pub(crate) notes: Vec<String>,
    /// Set when the stage failed: the end of its output and where the rest is.
    pub(crate) failure: Option<String>,
}

/// Every stage, in the order of running: the quick ones first.
pub(crate) const ALL: &[Stage] = &[
    Stage { name: "tidy", about: "house rules of the tree", run: run_tidy },
    Stage { name: "fmt", about: "cargo fmt --check", run: run_fmt },
    Stage { name: "clippy", about: "clippy on every target, warnings denied", run: run_clippy },
    Stage { name: "docs", about: "cargo doc, warnings denied", run: run_docs },
    Stage {
        name: "unit+property",
        about: "unit tests, and tests of crates that belong to no stage below",
        run: |bench, name| tests(bench, name, Kind::Plain),
    },
    Stage {
        name: "schedule",
        about: "requests in every order (sim_*, schedule_*)",
        run: |bench, name| tests(bench, name, Kind::Schedule),
    },
    Stage {
        name: "crash",
        about: "crash exploration, short form (crash_*)",
        run: |bench, name| tests(bench, name, Kind::Crash),
    },
    Stage {
        name: "fault",
        about: "the n-th I/O fails, for every n (fault_*)",
        run: |bench, name| tests(bench, name, Kind::Fault),
    },
    Stage {
        name: "fuzz-smoke",
        about: "corpora and artefacts replayed (fuzz_*), each fuzz target for seconds, a canary",
        run: run_fuzz,
    },
    Stage { name: "doctests", about: "examples in the docs", run: run_doctests },
    Stage {
        name: "differential",
        about: "the same work by Holstein and by qemu-img (interop_*, oracle_*, conformance_*)",
        run: run_differential,
    },
    Stage {
        name: "cli",
        about: "the program: texts, JSON, exit codes (cli_*, tests of holstein-cli)",
        run: |bench, name| tests(bench, name, Kind::Cli),
    },
];

/// The seed of property tests in a run of all tests.
const SEED: &str = "20260101";

/// The longest that one command of a stage may take: far above the usual, so that a hang is a failure.
const LIMIT: Duration = Duration::from_secs(20 * 60);
const TAIL_LINES: usize = 40;

impl Report {
    /// A stage that is one test.
    fn skipped(reason: String) -> Report {
        Report { tally: Tally::SKIPPED, skips: vec![reason], ..Report::default() }
    }
}

fn log(bench: &Bench<'_>, name: &str) -> Result<Log> {
    let file = format!("{}.log", name.replace('+', "-"));
    Log::create(&bench.workspace.target.join("xtask-logs").join(file))
}

/// The end of `output`, and where all of it is.
pub(crate) fn failure(output: &str, log: &Log) -> String {
    const PROGRESS: [&str; 6] =
        ["Compiling ", "Checking ", "Documenting ", "Downloaded ", "Fresh ", "Blocking "];
    let telling = output
        .lines()
        .filter(|line| !PROGRESS.iter().any(|progress| line.trim_start().starts_with(progress)));
    let telling = telling.collect::<Vec<_>>().join("\n");
    format!("{}\nwhole log: {}", tail(&telling, TAIL_LINES), log.path().display())
}

/// Runs one command that is one test.
fn single(bench: &Bench<'_>, name: &str, command: &mut Command) -> Result<Report> {
    let log = log(bench, name)?;
    let done = log.run(command, LIMIT)?;
    Ok(Report {
        tally: Tally::one(done.ok),
        failure: (!done.ok).then(|| failure(&done.output, &log)),
        ..Report::default()
    })
}

fn run_tidy(bench: &Bench<'_>, name: &'static str) -> Result<Report> {
    let log = log(bench, name)?;
    let verdict = tidy::inspect(bench.workspace)?;
    for line in verdict.lines() {
        log.note(&line)?;
    }
    // All of them: each is short, and says what to do.
    let failure = (verdict.tally().failed > 0).then(|| verdict.errors().join("\n"));
    Ok(Report { tally: verdict.tally(), notes: verdict.warnings(), failure, ..Report::default() })
}

fn run_fmt(bench: &Bench<'_>, name: &'static str) -> Result<Report> {
    if let Err(reason) = components::need("fmt", "rustfmt") {
        return Ok(Report::skipped(reason));
    }
    let log = log(bench, name)?;
    let mut report = Report::default();
    // The package of fuzz targets alone: `--all` would go through the crates it depends on again.
    for (manifest, choice) in
        [("Cargo.toml", "--all"), ("fuzz/Cargo.toml", "--package=holstein-fuzz")]
    {
        let mut command = bench.workspace.cargo();
        command.args(["fmt", "--check", choice, "--manifest-path", manifest]);
        command.args(["--", "--color", "never"]);
        let done = log.run(&mut command, LIMIT)?;
        report.tally += Tally::one(done.ok);
        if !done.ok {
            report.failure = Some(failure(&done.output, &log));
        }
    }
    Ok(report)
}

fn run_clippy(bench: &Bench<'_>, name: &'static str) -> Result<Report> {
    if let Err(reason) = components::need("clippy", "clippy") {
        return Ok(Report::skipped(reason));
    }
    let mut command = bench.workspace.cargo();
    command.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    single(bench, name, &mut command)
}

fn run_docs(bench: &Bench<'_>, name: &'static str) -> Result<Report> {
    let mut command = bench.workspace.cargo();
    // Libraries only: the program and the facade are both called holstein, and would share a page.
    command.args(["doc", "--workspace", "--no-deps", "--lib"]).env("RUSTDOCFLAGS", "-D warnings");
    single(bench, name, &mut command)
}

fn run_doctests(bench: &Bench<'_>, name: &'static str) -> Result<Report> {
    let mut command = bench.workspace.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--doc"]);
    let log = log(bench, name)?;
    cargo_test(&mut command, &log)
}

fn run_differential(bench: &Bench<'_>, name: &'static str) -> Result<Report> {
    if let Err(reason) = &bench.oracle {
        let mut report = Report::default();
        for (package, test) in targets::of_kind(bench.workspace, Kind::Differential) {
            report.tally += Tally::SKIPPED;
            report.skips.push(format!("{package} {test}: {reason}"));
        }
        return Ok(report);
    }
    let peers = [
        ("cryptsetup", "cryptsetup-bin"),
        ("nbdinfo", "libnbd-bin"),
        ("nbdkit", "nbdkit"),
        ("fio", "fio"),
    ];
    let mut missing: Vec<String> = peers
        .iter()
        .filter_map(|(program, package)| {
            let reason = apt::need(program, package).err()?;
            Some(format!("{program}: {reason}"))
        })
        .collect();
    if let Err(reason) = guest::locate(bench.workspace) {
        missing.push(format!("a guest: {reason}"));
    }
    let mut report = tests(bench, name, Kind::Differential)?;
    report.skips.extend(missing);
    Ok(report)
}

fn run_fuzz(bench: &Bench<'_>, name: &'static str) -> Result<Report> {
    let log = log(bench, name)?;
    let mut report = integration_tests(bench, &log, Kind::Fuzz)?;
    let smoke = fuzz::smoke(bench.workspace, &log)?;
    report.tally += smoke.tally;
    report.skips.extend(smoke.skips);
    report.notes.extend(smoke.notes);
    report.failure = report.failure.or(smoke.failure);
    Ok(report)
}

fn tests(bench: &Bench<'_>, name: &str, kind: Kind) -> Result<Report> {
    integration_tests(bench, &log(bench, name)?, kind)
}

/// Runs every integration test of `kind`, and the unit tests when `kind` is [`Kind::Plain`].
fn integration_tests(bench: &Bench<'_>, log: &Log, kind: Kind) -> Result<Report> {
    let wanted = targets::of_kind(bench.workspace, kind);
    if wanted.is_empty() && kind != Kind::Plain {
        let prefixes = targets::prefixes(kind).join("* or ");
        return Ok(Report {
            tally: Tally::FAILED,
            failure: Some(format!("no integration test is named {prefixes}*")),
            ..Report::default()
        });
    }
    // The whole workspace each time: a choice of packages would choose other features, and build all again.
    let mut command = bench.workspace.cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if kind == Kind::Plain {
        command.args(["--lib", "--bins"]);
    }
    for (_, test) in &wanted {
        command.args(["--test", test]);
    }
    command.args(["--", "--show-output"]);
    if let Ok(oracle) = &bench.oracle {
        oracle.add_to(&mut command);
    }
    if kind == Kind::Differential {
        guest::add_to(bench.workspace, &mut command);
    }
    if needs_program(kind) {
        match build_program(bench, log)? {
            Ok(program) => command.env("HOLSTEIN_BIN", program),
            Err(report) => return Ok(report),
        };
    }
    cargo_test(&mut command, log)
}

/// Whether tests of this kind, outside the package of the program too, run the program.
fn needs_program(kind: Kind) -> bool {
    matches!(kind, Kind::Differential | Kind::Cli)
}

fn build_program(bench: &Bench<'_>, log: &Log) -> Result<Result<std::path::PathBuf, Report>> {
    let mut command = bench.workspace.cargo();
    command.args(["build", "--workspace", "--bin", "holstein"]);
    let done = log.run(&mut command, LIMIT)?;
    if done.ok {
        return Ok(Ok(bench.workspace.target.join("debug/holstein")));
    }
    Ok(Err(Report {
        tally: Tally::FAILED,
        failure: Some(failure(&done.output, log)),
        ..Report::default()
    }))
}

/// Runs a `cargo test` command and counts what its test programs say.
fn cargo_test(command: &mut Command, log: &Log) -> Result<Report> {
    // The same cases on every machine; long explorations choose their own seeds.
    command.env("PROPTEST_RNG_SEED", SEED);
    let done = log.run(command, LIMIT)?;
    let summary = libtest::read(&done.output);
    let skips = summary.skips.into_iter().collect();
    let mut report = Report { tally: summary.tally, skips, ..Report::default() };
    if done.ok && report.tally == Tally::default() {
        report.tally = Tally::FAILED;
        report.failure = Some(format!("no test was run; whole log: {}", log.path().display()));
    } else if !done.ok {
        // A program that did not build, or died, has no result line of its own.
        report.tally.failed = report.tally.failed.max(1);
        let mut text = failure(&done.output, log);
        if done.timed_out {
            text = format!("did not end within {} s\n{text}", LIMIT.as_secs());
        }
        if !summary.failures.is_empty() {
            text = format!("failed: {}\n{text}", summary.failures.join(", "));
        }
        report.failure = Some(text);
    }
    Ok(report)
}
