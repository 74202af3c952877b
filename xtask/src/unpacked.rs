//! Debian packages that are fetched with private apt state and unpacked in a folder, with every library
//! that they need.
//!
//! The system is never touched; no root is needed. The unpacked programs run through the dynamic loader
//! that was unpacked with them, so that the age of this machine's C library does not matter.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt::find_program;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where packages may be had: their suite, and a suite with the libraries they were built for.
pub(crate) struct Source {
    pub(crate) suite: &'static str,
    pub(crate) libraries: Option<&'static str>,
}

/// A program of the unpacked packages.
pub(crate) struct Tool {
    /// Its path in them.
    pub(crate) path: &'static str,
    /// Folders in them that it is told of, each behind `-L`.
    pub(crate) data: &'static [&'static str],
}

/// Fetches what `choose` asks for into `folder`, from the first of the sources and of this machine's
/// mirrors that has it; afterwards `folder/ready` has the unpacked files, and a script in `bin` for
/// each tool. `finish` sees the files and the place where they will be.
///
/// # Errors
/// What each source lacked.
pub(crate) fn fetch(
    folder: &Path,
    sources: &[Source],
    tools: &[Tool],
    choose: &dyn Fn(&PrivateApt) -> Result<()>,
    finish: &dyn Fn(&Path) -> Result<()>,
) -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        ensure!(find_program(program).is_some(), "there is no {program} to fetch it with");
    }
    ensure!(Path::new(KEYRING).is_file(), "there is no keyring {KEYRING} to verify it with");
    let ready = folder.join("ready");
    let work = folder.join(format!("work-{}", std::process::id()));
    let mirrors = mirrors()?;
    let mut failures = Vec::new();
    for source in sources {
        for mirror in &mirrors {
            let fetched = PrivateApt::new(&work, source, mirror).and_then(|apt| {
                choose(&apt)?;
                let root = apt.root();
                write_wrappers(&root, &ready, tools)?;
                finish(&root)?;
                // One that is there is not whole, or it would not be fetched.
                let _ = fs::remove_dir_all(&ready);
                fs::rename(&root, &ready).context("put the files in place")
            });
            match fetched {
                Ok(()) => return fs::remove_dir_all(&work).context("remove the private apt state"),
                Err(error) => failures.push(format!("{}: {error:#}", source.suite)),
            }
        }
    }
    let _ = fs::remove_dir_all(&work);
    bail!("{}", failures.join("; "))
}

/// Apt with all its state in a folder.
pub(crate) struct PrivateApt {
    work: PathBuf,
    pub(crate) suite: &'static str,
}

impl PrivateApt {
    /// With the lists of `source` at `mirror`; what was in the folder is removed.
    fn new(work: &Path, source: &Source, mirror: &str) -> Result<Self> {
        let apt = Self { work: work.to_owned(), suite: source.suite };
        apt.clear()?;
        let list: String = source
            .libraries
            .iter()
            .chain([&source.suite])
            .map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
            .collect();
        fs::write(work.join("sources.list"), list).context("write the private apt sources")?;
        quiet(apt.command("apt-get").args(["-qq", "update"])).context("apt-get update")?;
        Ok(apt)
    }

    fn clear(&self) -> Result<()> {
        if self.work.exists() {
            fs::remove_dir_all(&self.work).context("clear the private apt state")?;
        }
        for folder in ["lists/partial", "cache/archives/partial", "state", "root"] {
            fs::create_dir_all(self.work.join(folder)).context("create the private apt state")?;
        }
        // No package is installed, as far as this apt knows: it then fetches every library.
        fs::write(self.work.join("status"), "").context("create the private apt state")
    }

    /// The folder with the unpacked files.
    fn root(&self) -> PathBuf {
        self.work.join("root")
    }

    /// The versions of a package that the suite has.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let known = quiet(self.command("apt-cache").args(["madison", package]))
            .context("apt-cache madison")?;
        Ok(listed_versions(&known, self.suite))
    }

    /// The first package that `package` depends on.
    pub(crate) fn first_need(&self, package: &str) -> Result<String> {
        let shown = quiet(self.command("apt-cache").args(["show", package]))
            .with_context(|| format!("apt-cache show {package}"))?;
        let need = shown.lines().find_map(|line| line.strip_prefix("Depends: "));
        let need = need.and_then(|need| need.split([' ', ',']).next());
        need.map(str::to_owned).with_context(|| format!("{package} depends on nothing"))
    }

    /// Fetches packages, each perhaps as `name=version`, and all they depend on, and unpacks them.
    pub(crate) fn unpack(&self, packages: &[String]) -> Result<()> {
        eprintln!("xtask: fetching {} from {}", packages.join(", "), self.suite);
        quiet(
            self.command("apt-get")
                .args(["-qq", "-y", "--no-install-recommends", "--download-only"])
                .args(["-t", self.suite, "install"])
                .args(packages),
        )
        .context("apt-get --download-only install")?;
        self.unpack_files(&self.work.join("cache/archives"))
    }

    /// Fetches one package without what it depends on, and unpacks it.
    pub(crate) fn unpack_alone(&self, package: &str) -> Result<()> {
        eprintln!("xtask: fetching {package} from {}", self.suite);
        let alone = self.work.join("alone");
        fs::create_dir_all(&alone).context("create a folder for a package")?;
        let mut command = self.command("apt-get");
        command.args(["-qq", "download", package]).current_dir(&alone);
        quiet(&mut command).context("apt-get download")?;
        self.unpack_files(&alone)
    }

    fn unpack_files(&self, folder: &Path) -> Result<()> {
        let mut unpacked = 0;
        for entry in fs::read_dir(folder).context("read the fetched packages")? {
            let path = entry.context("read the fetched packages")?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                quiet(Command::new("dpkg-deb").arg("-x").arg(&path).arg(self.root()))
                    .with_context(|| format!("unpack {}", path.display()))?;
                unpacked += 1;
            }
        }
        ensure!(unpacked > 0, "apt fetched nothing");
        Ok(())
    }

    /// `program` of apt, with all its state in the folder.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.work.join(name).display().to_string();
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

/// The versions of a suite, in the order of `apt-cache madison`: the newest first.
fn listed_versions(madison: &str, suite: &str) -> Vec<String> {
    let archive = format!(" {suite}/");
    madison
        .lines()
        .filter(|line| line.contains(&archive))
        .filter_map(|line| line.split('|').nth(1))
        .map(|version| version.trim().to_owned())
        .collect()
}

/// How the unpacked programs are started: their loader, with the folders of the libraries.
pub(crate) struct Loader {
    path: PathBuf,
    libraries: Vec<PathBuf>,
}

impl Loader {
    /// That of the files under `root`.
    pub(crate) fn find(root: &Path) -> Result<Self> {
        let path = find_below(root, |name| name.starts_with("ld-linux") && name.contains(".so"))
            .context("the fetched C library has no loader")?;
        let folders = ["lib", "usr/lib"].iter();
        let libraries = folders.flat_map(|folder| folders_with_libraries(&root.join(folder)));
        Ok(Self { path, libraries: libraries.collect() })
    }

    /// The loader itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn library_path(&self) -> String {
        let folders = self.libraries.iter().map(|folder| folder.display().to_string());
        folders.collect::<Vec<_>>().join(":")
    }

    /// The libraries that an unpacked program is linked with.
    pub(crate) fn needs(&self, program: &Path) -> Result<Vec<PathBuf>> {
        let mut command = Command::new(&self.path);
        command.arg("--library-path").arg(self.library_path()).arg("--list").arg(program);
        let text = quiet(&mut command).with_context(|| format!("list {}", program.display()))?;
        let found = text.lines().filter_map(|line| {
            let path = line.split_once(" => ")?.1.split_whitespace().next()?;
            path.starts_with('/').then(|| PathBuf::from(path))
        });
        Ok(found.collect())
    }
}

/// Writes a script for each tool that runs it with the unpacked libraries, for the time when `root` has
/// become `ready`.
fn write_wrappers(root: &Path, ready: &Path, tools: &[Tool]) -> Result<()> {
    let at_last = |path: &Path| {
        let below = path.strip_prefix(root).context("the fetched files are elsewhere")?;
        Ok::<_, anyhow::Error>(ready.join(below))
    };
    let found = Loader::find(root)?;
    let libraries = found.libraries.iter().map(|folder| at_last(folder));
    let loader =
        Loader { path: at_last(&found.path)?, libraries: libraries.collect::<Result<_>>()? };
    let bin = root.join("bin");
    fs::create_dir_all(&bin).context("create the folder of wrappers")?;
    for tool in tools {
        ensure!(root.join(tool.path).is_file(), "the fetched packages have no {}", tool.path);
        let name = tool.path.rsplit('/').next().unwrap_or(tool.path);
        let data = tool.data.iter().map(|data| format!(" -L '{}'", ready.join(data).display()));
        let text = format!(
            "#!/bin/sh\nexec '{}' --argv0 {name} --library-path '{}' '{}'{} \"$@\"\n",
            loader.path.display(),
            loader.library_path(),
            ready.join(tool.path).display(),
            data.collect::<String>()
        );
        let path = bin.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {} a program", path.display()))?;
    }
    Ok(())
}

/// A regular file under `root` whose name `wanted` accepts.
pub(crate) fn find_below(root: &Path, wanted: fn(&str) -> bool) -> Option<PathBuf> {
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
pub(crate) fn quiet(command: &mut Command) -> Result<String> {
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
    fn versions_of_other_suites_are_left_out() {
        let madison = "\
e2fsprogs | 1.47.2-3~bpo12+1 | http://mirror/debian bookworm-backports/main amd64 Packages
e2fsprogs | 1.47.0-2+b2 | http://mirror/debian bookworm/main amd64 Packages
";
        assert_eq!(listed_versions(madison, "bookworm"), ["1.47.0-2+b2"]);
        assert_eq!(listed_versions(madison, "bookworm-backports"), ["1.47.2-3~bpo12+1"]);
        assert!(listed_versions(madison, "trixie").is_empty());
    }
}
