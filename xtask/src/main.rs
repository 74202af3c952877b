//! Project tasks: `cargo xtask <command>`.
//!
//! One program, written in Rust, so that the same commands run on a developer's machine and on the build
//! machine. Each module is one command or one thing that commands share; [`USAGE`] lists the commands.

mod apt;
mod components;
mod conformance;
mod fuzz;
mod guest;
mod job;
mod launch;
mod libtest;
mod oracle;
mod package;
mod stages;
mod tally;
mod targets;
mod test_all;
mod tidy;
mod tour;
mod unpacked;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test-all [--only STAGE[,STAGE]] [--list]
                      every test of the project, one line a stage
  tidy                house rules: headers, crate graph, file lengths, words, changelog
  tour [--size SIZE] [--data SIZE] [--keep]
                      a real disk to qcow2 and back, with a picture of the map
  bench [ARGS]        speed beside qemu-img and the bare file
  crash [ARGS]        long crash exploration
  twin [ARGS]         random sequences beside QEMU's programs, on twin images
  sim [ARGS]          long schedule exploration
  fuzz TARGET [--seconds N] [--keep]
                      one fuzz target; --keep adds what it learnt to its corpus
  fuzz smoke          every fuzz target for some seconds, and a canary that must fail
  conformance PATH [ARGS]
                      QEMU's own tests in PATH against the release build
  package [--install-cargo-deb]
                      manual pages, completions and links, and a Debian package where cargo-deb is
  oracle              find or fetch the qemu-img to compare with, print its folder
  guest               fetch a virtual machine and a kernel to try disks with, print their folder
";

fn main() -> ExitCode {
    match dispatch() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command named on the command line; `false` is a command that ran and found something wrong.
fn dispatch() -> Result<bool> {
    let mut args = std::env::args().skip(1);
    let Some(command) = args.next() else {
        print!("{USAGE}");
        return Ok(false);
    };
    let rest: Vec<String> = args.collect();
    if matches!(command.as_str(), "help" | "--help" | "-h") {
        print!("{USAGE}");
        return Ok(true);
    }
    let workspace = Workspace::load()?;
    match command.as_str() {
        "test-all" => test_all::run(&workspace, &rest),
        "tidy" => tidy::run(&workspace, &rest),
        "tour" => tour::run(&workspace, &rest),
        "bench" => launch::bench(&workspace, &rest),
        "crash" => launch::crash(&workspace, &rest),
        "twin" => launch::twin(&workspace, &rest),
        "sim" => launch::sim(&workspace, &rest),
        "fuzz" => fuzz::run(&workspace, &rest),
        "conformance" => conformance::run(&workspace, &rest),
        "package" => package::run(&workspace, &rest),
        "oracle" => oracle::run(&workspace, &rest),
        "guest" => guest::run(&workspace, &rest),
        other => bail!("no command {other:?}; `cargo xtask help` lists them"),
    }
}
