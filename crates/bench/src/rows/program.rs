//! The two programs of rows that compare whole processes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Bench, NO_QEMU};
use crate::qemu::Qemu;

impl<'a> Bench<'a> {
    /// QEMU's program and ours, or why one of them is not there.
    pub(super) fn programs(&self) -> Result<(&'a Qemu, PathBuf), String> {
        let qemu = self.qemu.ok_or(NO_QEMU)?;
        let ours = program().map_err(|error| format!("no program holstein: {error:#}"))?;
        Ok((qemu, ours))
    }
}

/// The program of this build: built now where cargo started us, else taken from beside us.
fn program() -> Result<PathBuf> {
    let this = std::env::current_exe().context("find this program")?;
    let program = this.with_file_name("holstein");
    if let Some(cargo) = std::env::var_os("CARGO") {
        let target = this.parent().and_then(Path::parent).context("find the target folder")?;
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--release", "-p", "holstein-cli", "--target-dir"])
            .arg(target)
            .status()
            .context("start cargo")?;
        ensure!(status.success(), "building it failed");
    }
    ensure!(program.is_file(), "{} is missing", program.display());
    Ok(program)
}
