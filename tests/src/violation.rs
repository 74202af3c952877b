//! A broken promise, and how to see it again.

use std::fmt;

/// A state in which a promise is broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The program, as the crash explorer takes it.
    pub program: String,
    /// The seed of the samples.
    pub seed: u64,
    /// The fault, if there was one.
    pub fault: Option<String>,
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
        let option = |name: &str, value: &Option<String>| {
            value.as_ref().map_or_else(String::new, |value| format!(" {name} {value}"))
        };
        let cuts = if self.fault.is_some() { " --cuts yes" } else { "" };
        format!(
            "cargo run --release -p holstein-tests --bin crash -- --program '{}' --seed {}{}{}{cuts}",
            self.program,
            self.seed,
            option("--plant", &self.planted),
            option("--fault", &self.fault),
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
