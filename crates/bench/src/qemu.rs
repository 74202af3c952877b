//! The other side: qemu-img.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// What a run of `qemu-img bench` took, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BenchTime {
    /// From the first request to the last answer, as the program says (`Run completed in`). The
    /// flush at the end is not in it: the program makes it while it closes the image.
    pub(crate) run: f64,
    /// From the start of the process to its end.
    pub(crate) wall: f64,
}

/// The qemu-img that was found.
#[derive(Debug)]
pub(crate) struct Qemu {
    img: PathBuf,
    version: String,
}

impl Qemu {
    /// By the environment variable `HOLSTEIN_QEMU_IMG`, else on the path.
    ///
    /// # Errors
    /// Why there is none, as text.
    pub(crate) fn find() -> Result<Self, String> {
        let img = std::env::var_os("HOLSTEIN_QEMU_IMG")
            .map_or_else(|| PathBuf::from("qemu-img"), PathBuf::from);
        let output = Command::new(&img)
            .arg("--version")
            .output()
            .map_err(|error| format!("{}: {error}", img.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text
            .split_whitespace()
            .skip_while(|&word| word != "version")
            .nth(1)
            .ok_or_else(|| format!("{} does not say its version", img.display()))?
            .to_owned();
        Ok(Self { img, version })
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The program's path.
    pub(crate) fn program(&self) -> &Path {
        &self.img
    }

    /// The program for requests that came with it.
    pub(crate) fn io(&self) -> PathBuf {
        self.img.with_file_name("qemu-io")
    }

    /// The server that came with it.
    pub(crate) fn nbd(&self) -> PathBuf {
        self.img.with_file_name("qemu-nbd")
    }

    /// Creates a qcow2 image with these options, over a raw backing file if one is given.
    pub(crate) fn create(
        &self,
        path: &Path,
        size: u64,
        options: &str,
        backing: Option<&Path>,
    ) -> Result<()> {
        let size = size.to_string();
        let mut args: Vec<&OsStr> =
            ["create", "-q", "-f", "qcow2", "-o", options].map(OsStr::new).to_vec();
        if let Some(backing) = backing {
            args.extend([OsStr::new("-F"), "raw".as_ref(), "-b".as_ref(), backing.as_os_str()]);
        }
        args.extend([path.as_os_str(), size.as_ref()]);
        run(&self.img, args).map(drop)
    }

    /// `qemu-img check`; an error for anything but a clean image.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        let args = [OsStr::new("check"), "-q".as_ref(), "-f".as_ref(), "qcow2".as_ref()];
        run(&self.img, args.into_iter().chain([path.as_os_str()])).map(drop)
    }

    /// `qemu-img bench`: `count` requests of 4 KiB, one at a time, `step` bytes apart.
    pub(crate) fn bench(
        &self,
        path: &Path,
        write: bool,
        count: usize,
        step: u64,
    ) -> Result<BenchTime> {
        let (count, step) = (count.to_string(), step.to_string());
        let mut args: Vec<&OsStr> = ["bench", "-d", "1", "-s", "4096", "-f", "qcow2"]
            .iter()
            .chain(&["-t", "writeback"])
            .map(OsStr::new)
            .collect();
        args.extend([OsStr::new("-c"), count.as_ref(), "-S".as_ref(), step.as_ref()]);
        if write {
            args.push("-w".as_ref());
        }
        args.push(path.as_os_str());
        let start = Instant::now();
        let text = run(&self.img, args)?;
        let wall = start.elapsed().as_secs_f64();
        let run = parse(&text).with_context(|| format!("qemu-img bench said {text:?}"))?;
        Ok(BenchTime { run, wall })
    }

    /// What starting and ending the process costs beside the requests: the median over some runs
    /// with one read.
    pub(crate) fn start_up(&self, path: &Path) -> Result<f64> {
        let times: Result<Vec<f64>> = (0..9)
            .map(|_| self.bench(path, false, 1, 4096).map(|time| time.wall - time.run))
            .collect();
        Ok(crate::measure::Times::new(times?).median())
    }
}

/// Runs a program that must succeed; its output.
pub(crate) fn run<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} ended with {}: {}{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The seconds in `Run completed in 0.012 seconds.`
fn parse(text: &str) -> Option<f64> {
    let rest = text.split_once("Run completed in ")?.1;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_found_in_the_output() {
        let text = "Sending 8 read requests\nRun completed in 0.012 seconds.\n";
        assert_eq!(parse(text), Some(0.012));
        assert_eq!(parse("Sending 8 read requests\n"), None);
    }
}
