//! The reference programs.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A version of the reference programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Changes once a year.
    pub major: u32,
    /// Changes with each release.
    pub minor: u32,
    /// Changes with each repair.
    pub patch: u32,
}

impl Version {
    /// The version in the first line that `--version` prints; `None` if there is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.lines().next()?.split_whitespace();
        words.by_ref().find(|&word| word == "version")?;
        let mut numbers = words.next()?.split('.').map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        let (major, minor) = (next()?, next()?);
        Some(Self { major, minor, patch: next().unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What `qemu-img check` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Clean,
    /// Leaked clusters, and nothing else.
    Leaks,
    /// Errors.
    Corrupt,
}

/// `qemu-img` and `qemu-io`, found by the environment variables `HOLSTEIN_QEMU_IMG` and
/// `HOLSTEIN_QEMU_IO`, else on the path.
#[derive(Clone, Debug)]
pub struct Oracle {
    img: PathBuf,
    io: PathBuf,
    version: Version,
}

impl Oracle {
    /// Finds both programs and asks for their version.
    ///
    /// # Errors
    /// Why there is no oracle, as text for [`skipped`].
    pub fn find() -> Result<Self, String> {
        let (img, version) = locate("qemu-img", "HOLSTEIN_QEMU_IMG")?;
        let (io, other) = locate("qemu-io", "HOLSTEIN_QEMU_IO")?;
        if version != other {
            return Err(format!("qemu-img is of version {version}, qemu-io of {other}"));
        }
        Ok(Self { img, io, version })
    }

    /// As [`Oracle::find`]; says so loudly where there is none, or none from `oldest` on.
    #[must_use]
    pub fn find_or_skip(test: &str, oldest: Version) -> Option<Self> {
        let reason = match Self::find() {
            Ok(oracle) if oracle.version >= oldest => return Some(oracle),
            Ok(oracle) => format!("qemu-img is {}, the test needs {oldest}", oracle.version),
            Err(reason) => reason,
        };
        skipped(&format!("{test}: {reason}"));
        None
    }

    /// The version of both programs.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The path of `qemu-img`.
    #[must_use]
    pub fn qemu_img(&self) -> &Path {
        &self.img
    }

    /// The path of `qemu-io`.
    #[must_use]
    pub fn qemu_io(&self) -> &Path {
        &self.io
    }

    /// Runs `qemu-img` and returns what it said, whatever its exit code.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn img<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> io::Result<Output> {
        Command::new(&self.img).args(args).stdin(Stdio::null()).output()
    }

    /// Runs `qemu-img`, which must succeed, and returns its standard output.
    ///
    /// # Errors
    /// If it cannot be started or fails; the error has the command and what it said.
    pub fn img_ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> io::Result<String> {
        run_ok(&self.img, args)
    }

    /// Makes a qcow2 image of `size` bytes; `options` is a list for `-o`, empty for none.
    ///
    /// # Errors
    /// As for [`Oracle::img_ok`].
    pub fn create(&self, image: &Path, options: &str, size: u64) -> io::Result<()> {
        let mut args = words(&["create", "-q", "-f", "qcow2"]);
        if !options.is_empty() {
            args.extend(words(&["-o", options]));
        }
        args.push(image.into());
        args.push(size.to_string().into());
        self.img_ok(args).map(drop)
    }

    /// Checks a qcow2 image without repair; the text is what was printed.
    ///
    /// # Errors
    /// If the check itself cannot be done.
    pub fn check(&self, image: &Path) -> io::Result<(Verdict, String)> {
        let mut args = words(&["-f", "qcow2"]);
        args.push(image.into());
        self.check_by(&args)
    }

    /// The same of an image that is named by the words behind `check`.
    ///
    /// # Errors
    /// As for [`Oracle::check`].
    pub fn check_by(&self, image: &[OsString]) -> io::Result<(Verdict, String)> {
        let output = self.img([OsString::from("check")].iter().chain(image))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        match output.status.code() {
            Some(0) => Ok((Verdict::Clean, text)),
            Some(2) => Ok((Verdict::Corrupt, text)),
            Some(3) => Ok((Verdict::Leaks, text)),
            _ => Err(io::Error::other(format!("check {image:?}: {text}"))),
        }
    }

    /// Copies an image into another format.
    ///
    /// # Errors
    /// As for [`Oracle::img_ok`].
    pub fn convert(&self, from: (&Path, &str), to: (&Path, &str)) -> io::Result<()> {
        let mut args = words(&["convert", "-f", from.1, "-O", to.1]);
        args.push(from.0.into());
        args.push(to.0.into());
        self.img_ok(args).map(drop)
    }

    /// Whether two images, each with its format, have equal content.
    ///
    /// # Errors
    /// If they cannot be compared.
    pub fn same(&self, a: (&Path, &str), b: (&Path, &str)) -> io::Result<bool> {
        let mut args = words(&["-f", a.1, "-F", b.1]);
        args.push(a.0.into());
        args.push(b.0.into());
        self.same_by(&args)
    }

    /// The same of images that are named by the words behind `compare`.
    ///
    /// # Errors
    /// As for [`Oracle::same`].
    pub fn same_by(&self, images: &[OsString]) -> io::Result<bool> {
        let output = self.img([OsString::from("compare")].iter().chain(images))?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }

    /// Runs `qemu-io` commands on an image of a format; all must succeed. Returns what was printed.
    ///
    /// # Errors
    /// If it cannot be started, a command fails, or a pattern is not found.
    pub fn io(&self, image: (&Path, &str), commands: &[String]) -> io::Result<String> {
        let mut args = words(&["-f", image.1]);
        for command in commands {
            args.extend(words(&["-c", command]));
        }
        args.push(image.0.into());
        let text = run_ok(&self.io, args)?;
        if text.contains("Pattern verification failed") || text.contains(" failed: ") {
            return Err(io::Error::other(text));
        }
        Ok(text)
    }
}

/// Says that a test was skipped, past the capture of the test runner.
pub fn skipped(reason: &str) {
    // That nobody listens is no reason to fail.
    drop(writeln!(io::stderr().lock(), "skipped: {reason}"));
}

fn words(list: &[&str]) -> Vec<OsString> {
    list.iter().map(OsString::from).collect()
}

fn run_ok<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
) -> io::Result<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}: {text}{said}", output.status)))
}

fn locate(name: &str, variable: &str) -> Result<(PathBuf, Version), String> {
    let path = std::env::var_os(variable).map_or_else(|| PathBuf::from(name), PathBuf::from);
    let output = Command::new(&path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} not found: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = Version::parse(&text)
        .ok_or_else(|| format!("{} does not say its version: {text:?}", path.display()))?;
    Ok((path, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_first_line() {
        let text = "qemu-img version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright (c) 2003-2025";
        let v = Version { major: 10, minor: 0, patch: 2 };
        assert_eq!(Version::parse(text), Some(v));
        assert_eq!(
            Version::parse("qemu-io version 9.2"),
            Some(Version { major: 9, minor: 2, patch: 0 })
        );
        assert!(v > Version { major: 9, minor: 99, patch: 9 });
        assert_eq!(Version::parse("version x.y"), None);
        assert_eq!(Version::parse(""), None);
    }
}
