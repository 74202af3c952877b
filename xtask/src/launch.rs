//! Commands that only build a program of the workspace in release mode and run it.

use std::process::Command;

use anyhow::{Context, Result};

use crate::job::shown;
use crate::oracle;
use crate::workspace::Workspace;

/// Speed beside qemu-img and the bare file.
pub(crate) fn bench(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let mut command = workspace.cargo();
    command.args(["run", "--release", "-p", "holstein-bench", "--"]).args(args);
    with_oracle(workspace, &mut command);
    run(&mut command)
}

/// Crash exploration in its long form.
pub(crate) fn crash(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let mut command = workspace.cargo();
    command.args(["run", "--release", "-p", "holstein-tests", "--bin", "crash", "--"]).args(args);
    with_oracle(workspace, &mut command);
    run(&mut command)
}

/// Random sequences on twin images, driven through the library and through the program.
pub(crate) fn twin(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let mut build = workspace.cargo();
    build.args(["build", "--release", "-p", "holstein-cli", "--bin", "holstein"]);
    if !run(&mut build)? {
        return Ok(false);
    }
    let mut command = workspace.cargo();
    command.args(["run", "--release", "-p", "holstein-tests", "--bin", "twin", "--", "--program"]);
    command.arg(workspace.target.join("release/holstein")).args(args);
    with_oracle(workspace, &mut command);
    run(&mut command)
}

/// Schedule exploration in its long form.
pub(crate) fn sim(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let mut command = workspace.cargo();
    command.args(["run", "--release", "-p", "holstein-tests", "--bin", "sim", "--"]).args(args);
    run(&mut command)
}

/// Runs `command` with this program's own input and output.
pub(crate) fn run(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("start {}", shown(command)))?;
    Ok(status.success())
}

fn with_oracle(workspace: &Workspace, command: &mut Command) {
    match oracle::locate(workspace) {
        Ok(found) => found.add_to(command),
        Err(reason) => eprintln!("xtask: no oracle: {reason}"),
    }
}
