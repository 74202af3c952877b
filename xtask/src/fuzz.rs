//! Fuzz targets, built with coverage and the address sanitizer on the stable toolchain.
//!
//! `fuzz/` is a workspace of its own in cargo-fuzz's layout. Seeds are in `fuzz/corpus/<target>`; what a
//! run learns goes to a scratch corpus under `target/`, and into the seeds only when asked. What a run finds
//! goes to `fuzz/artifacts/<target>`; once mended it is moved to `fuzz/artifacts_kept/<target>`, which an
//! ordinary test replays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::apt;
use crate::job::Log;
use crate::launch;
use crate::stages::{self, Report};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The target with a planted bug: a fuzzer that does not find it is blind.
const CANARY: &str = "canary";
const SMOKE_SECONDS: u64 = 5;
/// The longest that the canary may live.
const CANARY_SECONDS: u64 = 60;
const BUILD_LIMIT: Duration = Duration::from_secs(15 * 60);

/// What makes the stable compiler instrument the code, as cargo-fuzz has the nightly one do.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Ccodegen-units=1 \
    -Cdebug-assertions=on -Coverflow-checks=on --cfg fuzzing";

/// `cargo xtask fuzz`.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let (target, rest) = args.split_first().context("fuzz needs a target, or `smoke`")?;
    let mut seconds = 60;
    let mut keep = false;
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let text = words.next().context("--seconds needs a number")?;
                seconds = text.parse().with_context(|| format!("{text:?} is no number"))?;
            }
            "--keep" => keep = true,
            other => bail!("fuzz knows no argument {other:?}"),
        }
    }
    if target == "smoke" {
        ensure!(rest.is_empty(), "fuzz smoke takes no arguments");
        let log = Log::create(&workspace.target.join("xtask-logs/fuzz.log"))?;
        let report = smoke(workspace, &log)?;
        for line in report.notes.iter().chain(&report.skips).chain(&report.failure) {
            println!("{line}");
        }
        println!("{}", report.tally);
        return Ok(report.tally.failed == 0);
    }
    let targets = targets(workspace)?;
    ensure!(targets.contains(target), "no target {target:?}; there are {}", targets.join(", "));
    compiler().map_err(anyhow::Error::msg)?;
    ensure!(launch::run(&mut build(workspace)?)?, "the fuzz targets do not build");
    let fuzzer = Fuzzer::new(workspace, target)?;
    let clean = launch::run(&mut fuzzer.explore(seconds))?;
    if keep && clean {
        launch::run(&mut fuzzer.merge())?;
        println!("seeds of {target} are now {}", count(&fuzzer.seeds));
    }
    Ok(clean)
}

/// Runs every target for some seconds, and the canary until it fails.
pub(crate) fn smoke(workspace: &Workspace, log: &Log) -> Result<Report> {
    let targets = targets(workspace)?;
    let mut report = Report::default();
    if let Err(reason) = compiler() {
        for target in &targets {
            report.tally += Tally::SKIPPED;
            report.skips.push(format!("fuzz target {target}: {reason}"));
        }
        return Ok(report);
    }
    let built = log.run(&mut build(workspace)?, BUILD_LIMIT)?;
    if !built.ok {
        report.tally += Tally::FAILED;
        report.failure = Some(stages::failure(&built.output, log));
        return Ok(report);
    }
    ensure!(targets.iter().any(|target| target == CANARY), "there is no fuzz target {CANARY}");
    let mut runs = Vec::new();
    for target in &targets {
        let fuzzer = Fuzzer::new(workspace, target)?;
        let (seconds, should_pass) =
            if target == CANARY { (CANARY_SECONDS, false) } else { (SMOKE_SECONDS, true) };
        if !should_pass {
            // Each run must find the bug anew.
            let _ = fs::remove_dir_all(&fuzzer.learnt);
            fs::create_dir_all(&fuzzer.learnt).context("create the canary's corpus")?;
        }
        let limit = Duration::from_secs(seconds + 60);
        let done = log.run(&mut fuzzer.explore(seconds), limit)?;
        let found = done.output.contains("SUMMARY: ") && !done.timed_out;
        let good = if should_pass { done.ok } else { !done.ok && found };
        report.tally += Tally::one(good);
        if let Some(number) = executions(&done.output) {
            runs.push(format!("{target} {number}"));
        }
        if !good {
            let text = stages::failure(&done.output, log);
            let why = if should_pass { "failed" } else { "lived: the fuzzer is blind" };
            report.failure = Some(format!("fuzz target {target} {why}\n{text}"));
        }
    }
    report.notes.push(format!("fuzz executions: {}", runs.join(", ")));
    Ok(report)
}

/// Names of the targets: one file each.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.context("read the fuzz targets")?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "there are no fuzz targets");
    Ok(names)
}

/// The fuzzing library is C++.
fn compiler() -> Result<PathBuf, String> {
    apt::need("c++", "g++")
}

/// The triple that rustc builds for by itself.
fn triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("run rustc")?;
    let text = String::from_utf8(output.stdout).context("rustc's version is no text")?;
    let triple = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(triple.context("rustc does not say what it builds for")?.to_owned())
}

fn folder_of_builds(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fuzz")
}

/// The command that builds every target. The flags need `--target`, or build scripts would get them too.
fn build(workspace: &Workspace) -> Result<Command> {
    let mut command = workspace.cargo();
    command
        .args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target"])
        .arg(triple()?)
        .arg("--target-dir")
        .arg(folder_of_builds(workspace))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", RUSTFLAGS);
    Ok(command)
}

/// One target, built, and its folders.
struct Fuzzer {
    program: PathBuf,
    /// Kept inputs, in the repository.
    seeds: PathBuf,
    /// Inputs that runs on this machine found worth keeping.
    learnt: PathBuf,
    findings: PathBuf,
}

impl Fuzzer {
    fn new(workspace: &Workspace, target: &str) -> Result<Fuzzer> {
        let builds = folder_of_builds(workspace);
        let fuzzer = Fuzzer {
            program: builds.join(triple()?).join("release").join(target),
            seeds: workspace.root.join("fuzz/corpus").join(target),
            learnt: builds.join("corpus").join(target),
            findings: match target {
                CANARY => builds.join("canary-findings"),
                _ => workspace.root.join("fuzz/artifacts").join(target),
            },
        };
        for folder in [&fuzzer.seeds, &fuzzer.learnt, &fuzzer.findings] {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        Ok(fuzzer)
    }

    fn explore(&self, seconds: u64) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", self.findings.display()))
            // The largest table that the format allows has 32 MiB; more at once was a size taken on trust.
            .args(["-malloc_limit_mb=128", "-rss_limit_mb=2048", "-timeout=25"])
            .args(["-print_final_stats=1", "-verbosity=0"])
            // Counts how close a comparison came: headers are found in seconds rather than a minute.
            .arg("-use_value_profile=1")
            .args([&self.learnt, &self.seeds]);
        command
    }

    /// Adds to the seeds what of the learnt inputs reaches more.
    fn merge(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-merge=1").args([&self.seeds, &self.learnt]);
        command
    }
}

/// How many inputs a run tried, from libFuzzer's final statistics.
fn executions(output: &str) -> Option<u64> {
    output
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .and_then(|number| number.trim().parse().ok())
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map(Iterator::count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_from_the_statistics() {
        let output = "Done 7 runs\nstat::number_of_executed_units: 1234\nstat::peak_rss_mb: 33\n";
        assert_eq!(executions(output), Some(1234));
        assert_eq!(executions("ERROR: libFuzzer"), None);
    }
}
