//! Debian packages that a stage needs: installed when this may be done, else the reason why not.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// The path of the program `name`, by `PATH` and the folders that `PATH` of a plain user may lack.
pub(crate) fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(std::path::PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Finds `program`, installing the Debian package `package` for it where that is needed and allowed.
///
/// # Errors
/// A sentence for people: what is missing and why it could not be had.
pub(crate) fn need(program: &str, package: &str) -> Result<std::path::PathBuf, String> {
    if let Some(path) = find_program(program) {
        return Ok(path);
    }
    install(package)?;
    find_program(program)
        .ok_or_else(|| format!("{program} is missing although package {package} was installed"))
}

fn install(package: &str) -> Result<(), String> {
    let missing = |why: &str| format!("package {package} is not installed, and {why}");
    if !rustix::process::geteuid().is_root() {
        return Err(missing("only root may install it"));
    }
    if find_program("apt-get").is_none() {
        return Err(missing("there is no apt-get to install it with"));
    }
    if !lists_updated() {
        return Err(missing("apt-get update failed"));
    }
    eprintln!("xtask: installing package {package}");
    let output = Command::new("apt-get")
        .args(["-qq", "-y", "--no-install-recommends", "install", package])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            let last = errors.lines().last().unwrap_or("no message").to_owned();
            Err(missing(&format!("apt-get install failed: {last}")))
        }
        Err(error) => Err(missing(&format!("apt-get did not start: {error}"))),
    }
}

/// Refreshes apt's lists once a run.
fn lists_updated() -> bool {
    static DONE: OnceLock<bool> = OnceLock::new();
    *DONE.get_or_init(|| {
        Command::new("apt-get")
            .args(["-qq", "update"])
            .output()
            .is_ok_and(|output| output.status.success())
    })
}
