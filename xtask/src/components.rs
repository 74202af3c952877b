//! Parts of the toolchain that a stage needs, such as rustfmt and clippy.

use std::process::{Command, Stdio};

/// Makes sure that `cargo <subcommand>` works, adding the toolchain component `component` where it does not.
///
/// # Errors
/// A sentence for people: what is missing and why it could not be had.
pub(crate) fn need(subcommand: &str, component: &str) -> Result<(), String> {
    if works(subcommand) {
        return Ok(());
    }
    let added =
        Command::new("rustup").args(["component", "add", component]).stdin(Stdio::null()).output();
    match added {
        Ok(output) if output.status.success() && works(subcommand) => Ok(()),
        Ok(_) => Err(format!("component {component} is missing and rustup could not add it")),
        Err(_) => Err(format!("component {component} is missing and there is no rustup to add it")),
    }
}

fn works(subcommand: &str) -> bool {
    Command::new("cargo")
        .args([subcommand, "--version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}
