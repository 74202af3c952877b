//! A broken promise, and how to see it again.

use std::fmt;

/// A state in which a promise is broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The program, as the crash explorer takes it.
    pub program: String,
    /// The seed of the samples.
    pub seed: u64,
    /// The bug that was planted.
    pub planted: Option<String>,
    /// Where the power was cut and what had arrived; empty if the program itself went wrong.
    pub state: String,
    /// Which promise, and how.
    pub what: String,
    /// What happened to the file.
    pub log: String,
}

impl Violation {
    /// The command that shows it again.
    #[must_use]
    pub fn command(&self) -> String {
        let planted =
            self.planted.as_ref().map_or_else(String::new, |bug| format!(" --plant {bug}"));
        let Self { program, seed, .. } = self;
        format!(
            "cargo run --release -p holstein-tests --bin crash -- --program '{program}' --seed {seed}{planted}"
        )
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "violation in {}", self.program)?;
        writeln!(f, "  {}", self.what)?;
        if !self.state.is_empty() {
            writeln!(f, "  {}", self.state)?;
        }
        writeln!(f, "  again: {}", self.command())?;
        for line in self.log.lines() {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}
