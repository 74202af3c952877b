//! Runs one command of a stage: output into a log file, a limit on its time.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// The log of one stage; commands of the stage append to it.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) ok: bool,
    /// Standard output and standard error of this command, in the order of writing.
    pub(crate) output: String,
    pub(crate) timed_out: bool,
}

impl Log {
    /// Starts an empty log at `path`.
    pub(crate) fn create(path: &Path) -> Result<Log> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("create folder {}", folder.display()))?;
        }
        File::create(path).with_context(|| format!("create log {}", path.display()))?;
        Ok(Log { path: path.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line of our own.
    pub(crate) fn note(&self, line: &str) -> Result<()> {
        use std::io::Write;
        let mut file = self.open()?;
        writeln!(file, "{line}").context("write log")
    }

    /// Runs `command` to its end, or ends it and all it started after `limit`.
    pub(crate) fn run(&self, command: &mut Command, limit: Duration) -> Result<Finished> {
        self.note(&format!("$ {}", shown(command)))?;
        let start = self.length()?;
        let file = self.open()?;
        let errors = file.try_clone().context("share the log")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", shown(command)))?;
        let began = Instant::now();
        let mut timed_out = false;
        let status = loop {
            if let Some(status) = child.try_wait().context("wait for a command")? {
                break status;
            }
            if !timed_out && began.elapsed() > limit {
                timed_out = true;
                if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    // An error here means that the group ended by itself meanwhile.
                    let _ = kill_process_group(group, Signal::KILL);
                }
            }
            thread::sleep(Duration::from_millis(20));
        };
        if timed_out {
            self.note(&format!("ended after its limit of {} s", limit.as_secs()))?;
        }
        let bytes = fs::read(&self.path).context("read log back")?;
        let output = String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned();
        Ok(Finished { ok: status.success() && !timed_out, output, timed_out })
    }

    fn open(&self) -> Result<File> {
        OpenOptions::new()
            .append(true)
            .open(&self.path)
            .with_context(|| format!("open log {}", self.path.display()))
    }

    fn length(&self) -> Result<usize> {
        let length = fs::metadata(&self.path).context("measure the log")?.len();
        usize::try_from(length).context("the log is too long")
    }
}

/// The command as a person would type it, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
        if !arg.is_empty() && arg.chars().all(plain) {
            words.push(arg.into_owned());
        } else {
            words.push(format!("'{}'", arg.replace('\'', r"'\''")));
        }
    }
    words.join(" ")
}

/// The last `lines` lines of `text`.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("holstein-xtask-{}-{name}.log", std::process::id()))
    }

    #[test]
    fn output_of_each_command_is_its_own_and_the_log_has_all() -> Result<()> {
        let path = scratch("two");
        let log = Log::create(&path)?;
        let limit = Duration::from_secs(20);
        let first = log.run(Command::new("sh").args(["-c", "echo one; echo two >&2"]), limit)?;
        let second = log.run(Command::new("sh").args(["-c", "echo three; exit 3"]), limit)?;
        assert!(first.ok && first.output == "one\ntwo\n", "{first:?}");
        assert!(!second.ok && second.output == "three\n", "{second:?}");
        let whole = fs::read_to_string(&path)?;
        assert!(whole.contains("$ sh -c 'echo three; exit 3'"), "{whole}");
        fs::remove_file(path)?;
        Ok(())
    }

    #[test]
    fn a_command_over_its_limit_is_ended_with_what_it_started() -> Result<()> {
        let path = scratch("limit");
        let log = Log::create(&path)?;
        let began = Instant::now();
        let done = log
            .run(Command::new("sh").args(["-c", "sleep 30 & wait"]), Duration::from_millis(200))?;
        assert!(done.timed_out && !done.ok);
        assert!(began.elapsed() < Duration::from_secs(10));
        fs::remove_file(path)?;
        Ok(())
    }

    #[test]
    fn tail_keeps_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }
}
