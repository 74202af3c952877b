//! `completions`: scripts that complete command lines.

use super::{bash, fish, only_operand, pages, zsh};
use crate::out;
use crate::text::Parsed;

/// The shells that there are scripts for.
pub(super) const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

/// Prints the script of a shell.
pub(super) fn run(parsed: &Parsed) -> Result<(), String> {
    let pages = pages();
    out::text(&match only_operand(parsed)? {
        Some("bash") => bash::script(&pages),
        Some("fish") => fish::script(&pages),
        Some("zsh") => zsh::script(&pages),
        Some(other) => {
            return Err(format!("no completions for '{other}', only for bash, fish and zsh"));
        }
        None => return Err("Expecting the name of a shell: bash, fish or zsh".to_owned()),
    });
    Ok(())
}

/// Text as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
