//! `conformance PATH`: QEMU's own tests, by the runner in PATH, against the release build.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::launch;
use crate::workspace::Workspace;

/// Names under which the program stands in for QEMU's.
const NAMES: [&str; 3] = ["qemu-img", "qemu-io", "qemu-nbd"];

/// Builds the program, links it under QEMU's names and hands over to the runner.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let (path, rest) = args.split_first().context("conformance needs the folder of the tests")?;
    let folder = Path::new(path);
    let runner = folder.join("run");
    ensure!(runner.is_file(), "{} has no program `run`", folder.display());
    let built = build(workspace)?;
    let tools = link(workspace, &built)?;
    let mut command = Command::new(runner.canonicalize().context("resolve the runner's path")?);
    command.arg("--bin").arg(&tools).args(rest);
    if !chooses_tests(rest) && folder.join("open.txt").is_file() {
        command.args(["--list", "open"]);
    }
    launch::run(&mut command)
}

/// Builds `holstein` in release mode and returns its path.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = workspace.cargo();
    command.args(["build", "--release", "-p", "holstein-cli", "--bin", "holstein"]);
    ensure!(launch::run(&mut command)?, "the release build failed");
    Ok(workspace.target.join("release/holstein"))
}

fn link(workspace: &Workspace, program: &Path) -> Result<PathBuf> {
    let folder = workspace.target.join("conformance/bin");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("clear the folder of links")?;
    }
    fs::create_dir_all(&folder).context("create the folder of links")?;
    for name in NAMES {
        symlink(program, folder.join(name)).with_context(|| format!("link {name}"))?;
    }
    Ok(folder)
}

/// Whether the arguments for the runner already say which tests to run.
fn chooses_tests(args: &[String]) -> bool {
    const WITH_VALUE: [&str; 14] = [
        "-j",
        "--jobs",
        "--timeout",
        "-o",
        "--config",
        "--format",
        "--proto",
        "--cache",
        "--aio",
        "--source",
        "--source-version",
        "--diff-lines",
        "--logdir",
        "--json",
    ];
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word.starts_with("--list") || word.starts_with("--class") || !word.starts_with('-') {
            return true;
        }
        if WITH_VALUE.contains(&word.as_str()) {
            words.next();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_alone_choose_no_tests() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(!chooses_tests(&words("--strict -j 2 --logdir x")));
        assert!(chooses_tests(&words("--strict -j 2 001")));
        assert!(chooses_tests(&words("--list=open")));
        assert!(chooses_tests(&words("--class img,io")));
    }
}
