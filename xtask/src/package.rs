//! `cargo xtask package`: what is installed beside the program, and a Debian package of it all.
//!
//! Manual pages, completions and links go to `target/package`, where the manifest of the program names
//! them for `cargo deb`. They are made by the program itself, so that they are those of its options.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::job::shown;
use crate::launch::run as run_command;
use crate::workspace::Workspace;

/// Completions: the shell, and the file that it wants.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "holstein.bash"), ("fish", "holstein.fish"), ("zsh", "_holstein")];
/// Classic names under which the program can be started, from a directory of their own: so nothing
/// is in the way of the package that has these programs.
const CLASSIC: [&str; 3] = ["qemu-img", "qemu-io", "qemu-nbd"];
/// From that directory, `/usr/lib/holstein/bin`, to the program.
const PROGRAM: &str = "../../../bin/holstein";

/// Makes everything, and the package where there is `cargo deb`.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let install = match args {
        [] => false,
        [only] if only == "--install-cargo-deb" => true,
        [other, ..] => bail!("package has no option {other:?}, only --install-cargo-deb"),
    };
    let mut build = workspace.cargo();
    build.args(["build", "--release", "-p", "holstein-cli", "--bin", "holstein"]);
    if !run_command(&mut build)? {
        return Ok(false);
    }
    let folder = workspace.root.join("target/package");
    make(&workspace.target.join("release/holstein"), &folder)?;
    println!("manual pages, completions and links are in {}", folder.display());
    if install && !has_cargo_deb(workspace) {
        let mut install = workspace.cargo();
        if !run_command(install.args(["install", "--locked", "cargo-deb"]))? {
            return Ok(false);
        }
    }
    if !has_cargo_deb(workspace) {
        println!("SKIPPED the Debian package: there is no cargo-deb; --install-cargo-deb gets it");
        return Ok(true);
    }
    let mut deb = workspace.cargo();
    deb.args(["deb", "--no-build", "-p", "holstein-cli", "--output"]).arg(&folder);
    run_command(&mut deb)
}

fn has_cargo_deb(workspace: &Workspace) -> bool {
    let output = workspace.cargo().args(["deb", "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Fills the folder, which is emptied before.
fn make(program: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    for part in ["man", "completions", "bin"] {
        fs::create_dir_all(folder.join(part)).context("make target/package")?;
    }
    output_of(Command::new(program).args(["man", "--directory"]).arg(folder.join("man")))?;
    for (shell, file) in COMPLETIONS {
        let script = output_of(Command::new(program).args(["completions", shell]))?;
        ensure!(!script.is_empty(), "no completions for {shell}");
        fs::write(folder.join("completions").join(file), script)?;
    }
    for name in CLASSIC {
        symlink(PROGRAM, folder.join("bin").join(name))?;
    }
    Ok(())
}

fn output_of(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("start {}", shown(command)))?;
    ensure!(output.status.success(), "{} failed: {output:?}", shown(command));
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The assets of the package: where each comes from, and where it goes.
    fn assets() -> Vec<(String, String)> {
        let manifest = include_str!("../../crates/cli/Cargo.toml");
        let lines = manifest.lines().skip_while(|line| line.trim() != "assets = [").skip(1);
        let lines = lines.take_while(|line| line.trim() != "]");
        lines
            .map(|line| {
                let words: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
                assert_eq!(words.len(), 3, "{line}");
                (words[0].to_owned(), words[1].to_owned())
            })
            .collect()
    }

    #[test]
    fn the_package_has_all_that_is_made_and_no_name_of_another_package() {
        let assets = assets();
        let has = |from: &str, to: &str| {
            let from = format!("../../target/package/{from}");
            assert!(assets.contains(&(from.clone(), to.to_owned())), "{from} to {to}: {assets:?}");
        };
        has("man/*.1", "usr/share/man/man1/");
        for (_, file) in COMPLETIONS {
            let from = format!("../../target/package/completions/{file}");
            assert!(assets.iter().any(|(known, _)| *known == from), "{from}");
        }
        for name in CLASSIC {
            has(&format!("bin/{name}"), &format!("usr/lib/holstein/bin/{name}"));
        }
        let taken = |to: &str| to.starts_with("usr/bin/qemu") || to.contains("man1/qemu");
        assert!(assets.iter().all(|(_, to)| !taken(to)), "{assets:?}");
        for (from, _) in &assets {
            let made = from.starts_with("target/release/") || from.contains("/target/package/");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cli").join(from);
            assert!(made || path.exists(), "{from}");
        }
    }

    #[test]
    fn links_lead_to_the_program() {
        let mut path = Path::new("/usr/lib/holstein/bin").to_path_buf();
        for part in Path::new(PROGRAM) {
            match part.to_str() {
                Some("..") => assert!(path.pop()),
                _ => path.push(part),
            }
        }
        assert_eq!(path, Path::new("/usr/bin/holstein"));
    }
}
