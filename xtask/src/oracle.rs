//! The oracle: qemu-img and qemu-io of release 10 or newer, to compare with.
//!
//! The machine's own are taken when they are new enough. Otherwise 10.0.2 is fetched with apt from the
//! mirror that this machine's own apt sources name, with private apt state under `target/oracle`, and
//! unpacked there with every library it needs. The system is never touched; no root is needed.
//!
//! The unpacked programs run through the dynamic loader that was unpacked with them, so that the age of
//! this machine's C library does not matter.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt::find_program;
use crate::workspace::Workspace;

/// The oldest release that serves as oracle.
const OLDEST: u32 = 10;
const TOOLS: [&str; 2] = ["qemu-img", "qemu-io"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where a release may be had: the suite of qemu-utils, and a suite with the libraries it was built for.
struct Source {
    suite: &'static str,
    libraries: Option<&'static str>,
    /// Wanted upstream version; another one of the suite is taken when this one is gone.
    version: &'static str,
}

const SOURCES: [Source; 2] = [
    Source { suite: "bookworm-backports", libraries: Some("bookworm"), version: "10.0.2" },
    Source { suite: "trixie", libraries: None, version: "10.0" },
];

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
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        ensure!(find_program(program).is_some(), "there is no {program} to fetch it with");
    }
    ensure!(Path::new(KEYRING).is_file(), "there is no keyring {KEYRING} to verify it with");
    let mirrors = mirrors()?;
    let work = folder.join(format!("work-{}", std::process::id()));
    let mut failures = Vec::new();
    for source in &SOURCES {
        for mirror in &mirrors {
            fresh(&work)?;
            eprintln!("xtask: fetching qemu-utils from {}", source.suite);
            match fetch(source, mirror, &work) {
                Ok(()) => {
                    write_wrappers(&work.join("root"), &ready)?;
                    let _ = fs::remove_dir_all(&ready);
                    fs::rename(work.join("root"), &ready).context("put the oracle in place")?;
                    fs::remove_dir_all(&work).context("remove the private apt state")?;
                    return probe().context("the fetched tools do not run");
                }
                Err(error) => failures.push(format!("{}: {error:#}", source.suite)),
            }
        }
    }
    let _ = fs::remove_dir_all(&work);
    bail!("{}", failures.join("; "))
}

fn fresh(work: &Path) -> Result<()> {
    if work.exists() {
        fs::remove_dir_all(work).context("clear the private apt state")?;
    }
    for folder in ["lists/partial", "cache/archives/partial", "state", "root"] {
        fs::create_dir_all(work.join(folder)).context("create the private apt state")?;
    }
    // No package is installed, as far as this apt knows: it then fetches every library.
    fs::write(work.join("status"), "").context("create the private apt state")
}

/// The archives of packages that this machine's apt sources name, those of security updates left out.
fn mirrors() -> Result<Vec<String>> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
        .output()
        .context("run apt-get indextargets")?;
    let mut mirrors: Vec<String> = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(uri) = line.split_whitespace().next() else { continue };
        if !line.contains("security") && !mirrors.iter().any(|known| known == uri) {
            mirrors.push(uri.to_owned());
        }
    }
    ensure!(!mirrors.is_empty(), "this machine's apt sources name no mirror");
    Ok(mirrors)
}

/// Fetches qemu-utils and all it depends on into `work` and unpacks them under `work/root`.
fn fetch(source: &Source, mirror: &str, work: &Path) -> Result<()> {
    let list: String = source
        .libraries
        .iter()
        .chain([&source.suite])
        .map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
        .collect();
    fs::write(work.join("sources.list"), list).context("write the private apt sources")?;
    quiet(apt("apt-get", work).args(["-qq", "update"])).context("apt-get update")?;
    let known = quiet(apt("apt-cache", work).args(["madison", "qemu-utils"]))
        .context("apt-cache madison")?;
    let version = choose_version(&known, source).context("the suite has no qemu-utils 10")?;
    quiet(
        apt("apt-get", work)
            .args(["-qq", "-y", "--no-install-recommends", "--download-only"])
            .args(["-t", source.suite, "install"])
            .arg(format!("qemu-utils={version}")),
    )
    .context("apt-get --download-only install")?;
    let mut unpacked = 0;
    for entry in fs::read_dir(work.join("cache/archives")).context("read the fetched packages")? {
        let path = entry.context("read the fetched packages")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            quiet(Command::new("dpkg-deb").arg("-x").arg(&path).arg(work.join("root")))
                .with_context(|| format!("unpack {}", path.display()))?;
            unpacked += 1;
        }
    }
    ensure!(unpacked > 0, "apt fetched nothing");
    Ok(())
}

/// `program` of apt, with all its state under `work`.
fn apt(program: &str, work: &Path) -> Command {
    let mut command = Command::new(program);
    let at = |name: &str| work.join(name).display().to_string();
    for option in [
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        "Dir::Etc::sourceparts=-".to_owned(),
        "Dir::Etc::preferences=-".to_owned(),
        "Dir::Etc::preferencesparts=-".to_owned(),
        format!("Dir::State={}", at("state")),
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::State::status={}", at("status")),
        format!("Dir::Cache={}", at("cache")),
        "Debug::NoLocking=1".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ] {
        command.arg("-o").arg(option);
    }
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The newest listed version with the wanted upstream version, else the newest that serves at all.
fn choose_version(madison: &str, source: &Source) -> Option<String> {
    let versions: Vec<&str> = madison
        .lines()
        .filter(|line| line.contains(source.suite))
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .collect();
    let newest = |fits: &dyn Fn(&str) -> bool| {
        versions.iter().find(|version| fits(upstream_of(version))).copied()
    };
    newest(&|upstream| upstream.starts_with(source.version))
        .or_else(|| newest(&|upstream| major(upstream).is_some_and(|major| major >= OLDEST)))
        .map(str::to_owned)
}

/// The upstream part of a package's version: what stands after the epoch.
fn upstream_of(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}

/// Writes `root/bin/<tool>`, each a script that runs the unpacked tool with the unpacked libraries, for
/// the time when `root` has become `ready`.
fn write_wrappers(root: &Path, ready: &Path) -> Result<()> {
    let at_last = |path: &Path| {
        let below = path.strip_prefix(root).context("the fetched files are elsewhere")?;
        Ok::<_, anyhow::Error>(ready.join(below).display().to_string())
    };
    let loader = find_below(root, |name| name.starts_with("ld-linux") && name.contains(".so"))
        .context("the fetched C library has no loader")?;
    let libraries = ["lib", "usr/lib"]
        .iter()
        .flat_map(|folder| folders_with_libraries(&root.join(folder)))
        .map(|folder| at_last(&folder))
        .collect::<Result<Vec<_>>>()?;
    let bin = root.join("bin");
    fs::create_dir_all(&bin).context("create the folder of wrappers")?;
    for tool in TOOLS {
        let program = root.join("usr/bin").join(tool);
        ensure!(program.is_file(), "the fetched package has no {tool}");
        let text = format!(
            "#!/bin/sh\nexec '{}' --argv0 {tool} --library-path '{}' '{}' \"$@\"\n",
            at_last(&loader)?,
            libraries.join(":"),
            at_last(&program)?
        );
        let path = bin.join(tool);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {} a program", path.display()))?;
    }
    Ok(())
}

/// A regular file under `root` whose name `wanted` accepts.
fn find_below(root: &Path, wanted: fn(&str) -> bool) -> Option<PathBuf> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).ok()?.flatten() {
            let kind = entry.file_type().ok()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_str().is_some_and(wanted) {
                return Some(entry.path());
            }
        }
    }
    None
}

/// `folder` and the folders directly in it that hold shared libraries.
fn folders_with_libraries(folder: &Path) -> Vec<PathBuf> {
    let mut candidates = vec![folder.to_owned()];
    if let Ok(entries) = fs::read_dir(folder) {
        candidates.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    candidates.retain(|candidate| {
        fs::read_dir(candidate).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains(".so"))
            })
        })
    });
    candidates
}

/// Runs `command` and returns its standard output; its last message is the error.
fn quiet(command: &mut Command) -> Result<String> {
    let output = command.output().context("start it")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{}", errors.lines().last().unwrap_or("it failed without a message"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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
        let madison = "\
qemu-utils | 1:10.1.0+ds-5~bpo12+1 | http://mirror/debian bookworm-backports/main amd64 Packages
qemu-utils | 1:10.0.2+ds-2+deb13u1~bpo12+1 | http://mirror/debian bookworm-backports/main amd64 Packages
qemu-utils | 1:7.2+dfsg-7 | http://mirror/debian bookworm/main amd64 Packages
";
        let [backports, _] = &SOURCES;
        let chosen = choose_version(madison, backports);
        assert_eq!(chosen.as_deref(), Some("1:10.0.2+ds-2+deb13u1~bpo12+1"));
        let old =
            "qemu-utils | 1:7.2+dfsg-7 | http://mirror bookworm-backports/main amd64 Packages";
        assert_eq!(choose_version(old, backports), None);
    }
}
