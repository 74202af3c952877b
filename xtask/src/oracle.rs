//! The oracle: qemu-img and qemu-io of release 10 or newer, to compare with.
//!
//! The machine's own are taken when they are new enough. Otherwise 10.0.2 is fetched with apt from the
//! mirror that this machine's own apt sources name, with private apt state under `target/oracle`, and
//! unpacked there with every library it needs. The system is never touched; no root is needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::apt::find_program;
use crate::unpacked::{self, Source, Tool};
use crate::workspace::Workspace;

/// The oldest release that serves as oracle.
const OLDEST: u32 = 10;
const TOOLS: [Tool; 3] = [
    Tool { path: "usr/bin/qemu-img", data: &[] },
    Tool { path: "usr/bin/qemu-io", data: &[] },
    Tool { path: "usr/bin/qemu-nbd", data: &[] },
];

/// Where a release may be had.
pub(crate) const SOURCES: [Source; 2] = [
    Source { suite: "bookworm-backports", libraries: Some("bookworm") },
    Source { suite: "trixie", libraries: None },
];

/// The upstream versions that are wanted, before others.
const WANTED: [&str; 2] = ["10.0.2", "10.0"];

/// An oracle that is ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Oracle {
    pub(crate) img: PathBuf,
    pub(crate) io: PathBuf,
    pub(crate) version: String,
}

impl Oracle {
    /// Tells the programs that `command` starts where the oracle is.
    pub(crate) fn add_to(&self, command: &mut Command) {
        command.env("HOLSTEIN_QEMU_IMG", &self.img).env("HOLSTEIN_QEMU_IO", &self.io);
    }
}

/// `cargo xtask oracle`: prints where the oracle is, one `NAME=path` a line.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    ensure!(args.is_empty(), "oracle takes no arguments");
    match locate(workspace) {
        Ok(oracle) => {
            println!("HOLSTEIN_QEMU_IMG={}", oracle.img.display());
            println!("HOLSTEIN_QEMU_IO={}", oracle.io.display());
            println!("# version {}", oracle.version);
            Ok(true)
        }
        Err(reason) => {
            println!("{reason}");
            Ok(false)
        }
    }
}

/// Finds an oracle, fetching one where the machine has none that is new enough.
///
/// # Errors
/// A sentence for people: why there is none.
pub(crate) fn locate(workspace: &Workspace) -> Result<Oracle, String> {
    let found = of_machine();
    if let Some(oracle) = &found
        && major(&oracle.version).is_some_and(|major| major >= OLDEST)
    {
        return Ok(oracle.clone());
    }
    let here = match &found {
        Some(old) => format!("this machine has qemu-img {}", old.version),
        None => "this machine has no qemu-img and qemu-io".to_owned(),
    };
    fetched(&workspace.target.join("oracle"))
        .map_err(|error| format!("{here}, and fetching one failed: {error:#}"))
}

/// The tools that the machine has, of whatever version.
fn of_machine() -> Option<Oracle> {
    Oracle::probe(find_program("qemu-img")?, find_program("qemu-io")?)
}

impl Oracle {
    fn probe(img: PathBuf, io: PathBuf) -> Option<Oracle> {
        let version = version_of(&img)?;
        (version_of(&io)? == version).then_some(Oracle { img, io, version })
    }
}

/// The version that `program --version` prints, such as `10.0.2`.
fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    parse_version(&text).map(str::to_owned)
}

fn parse_version(text: &str) -> Option<&str> {
    let rest = text.lines().next()?.split_once(" version ")?.1;
    rest.split([' ', '(', '-', '+']).next().filter(|version| !version.is_empty())
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// The fetched oracle in `folder`, fetching it first where it is not there yet.
fn fetched(folder: &Path) -> Result<Oracle> {
    let ready = folder.join("ready");
    let probe = || Oracle::probe(ready.join("bin/qemu-img"), ready.join("bin/qemu-io"));
    if let Some(oracle) = probe() {
        return Ok(oracle);
    }
    unpacked::fetch(
        folder,
        &SOURCES,
        &TOOLS,
        &|apt| {
            let versions = apt.versions("qemu-utils")?;
            let version = choose_version(&versions).context("the suite has no qemu-utils 10")?;
            apt.unpack(&[format!("qemu-utils={version}")])
        },
        &|_| Ok(()),
    )?;
    probe().context("the fetched tools do not run")
}

/// The newest version with a wanted upstream version, else the newest that serves at all.
pub(crate) fn choose_version(versions: &[String]) -> Option<&str> {
    let newest = |fits: &dyn Fn(&str) -> bool| {
        versions.iter().find(|version| fits(upstream_of(version))).map(String::as_str)
    };
    WANTED
        .iter()
        .find_map(|wanted| newest(&|upstream| upstream.starts_with(wanted)))
        .or_else(|| newest(&|upstream| major(upstream).is_some_and(|major| major >= OLDEST)))
}

/// The upstream part of a package's version: what stands after the epoch.
fn upstream_of(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_distributions_are_read() {
        let text = "qemu-img version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright\n";
        assert_eq!(parse_version(text), Some("10.0.2"));
        assert_eq!(parse_version("qemu-io version 9.2.50-dirty\n"), Some("9.2.50"));
        assert_eq!(parse_version("bash: not found"), None);
        assert_eq!(major("10.0.2"), Some(10));
    }

    #[test]
    fn the_wanted_version_is_chosen_before_a_newer_one() {
        let versions = ["1:10.1.0+ds-5", "1:10.0.3+ds-1", "1:10.0.2+ds-2", "1:7.2+dfsg-7"];
        let mut versions = versions.map(str::to_owned).to_vec();
        assert_eq!(choose_version(&versions), Some("1:10.0.2+ds-2"));
        versions.remove(2);
        assert_eq!(choose_version(&versions), Some("1:10.0.3+ds-1"));
        versions.remove(1);
        assert_eq!(choose_version(&versions), Some("1:10.1.0+ds-5"));
        assert_eq!(choose_version(&versions[1..]), None);
    }
}
