//! Shows each command of the tour with what it printed and the time it took.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::size;
use crate::job::shown;

/// Commands run in one folder, with the program under its plain name.
pub(super) struct Show {
    folder: PathBuf,
    program: PathBuf,
}

impl Show {
    pub(super) fn new(folder: &Path, program: &Path) -> Show {
        Show { folder: folder.to_owned(), program: program.to_owned() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn heading(&self, text: &str) {
        println!("\n== {text}");
    }

    /// Runs holstein, and shows it.
    pub(super) fn holstein<S: AsRef<str>>(&self, args: &[S]) -> Result<String> {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        self.run(&mut self.program(&args))
    }

    /// A command that runs holstein.
    pub(super) fn program(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args);
        command
    }

    /// Runs `command`, shows it with its output and time, and returns what it printed.
    pub(super) fn run(&self, command: &mut Command) -> Result<String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let plain = program.rsplit('/').next().unwrap_or(&program);
        println!("$ {plain}{}", shown(command).trim_start_matches(&program));
        let began = Instant::now();
        let text = String::from_utf8_lossy(&self.output(command)?).into_owned();
        let seconds = began.elapsed().as_secs_f64();
        for line in text.lines() {
            println!("  {line}");
        }
        println!("  [{seconds:.2} s]");
        Ok(text)
    }

    /// Runs `command` without showing it.
    pub(super) fn hidden(&self, command: &mut Command) -> Result<Vec<u8>> {
        self.output(command)
    }

    /// Shows how large a file is and how much of it is allocated.
    pub(super) fn size(&self, name: &str) -> Result<()> {
        let meta = fs::metadata(self.path(name)).with_context(|| format!("measure {name}"))?;
        println!(
            "{name}: {} long, {} allocated",
            size::human(meta.len()),
            size::human(meta.blocks() * 512)
        );
        Ok(())
    }

    fn output(&self, command: &mut Command) -> Result<Vec<u8>> {
        let line = shown(command);
        let output = command
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("start {line}"))?;
        ensure!(
            output.status.success(),
            "{line} ended with {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output.stdout)
    }
}
