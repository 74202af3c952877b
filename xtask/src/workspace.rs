//! What cargo knows of the workspace: where it is, its packages, their targets and dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The workspace, as `cargo metadata` tells it.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Where cargo builds; everything xtask makes goes under it.
    pub(crate) target: PathBuf,
    /// Every member.
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Folder of its manifest, relative to the root.
    pub(crate) folder: PathBuf,
    /// Names of its integration tests.
    pub(crate) tests: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependency tables.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Whether only tests, benches and examples see it.
    pub(crate) dev: bool,
}

impl Workspace {
    /// Asks cargo about the workspace that this program was built from.
    pub(crate) fn load() -> Result<Workspace> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let output = Command::new("cargo")
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(&manifest)
            .output()
            .context("run cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let value = serde_json::from_slice(&output.stdout).context("parse cargo metadata")?;
        Workspace::from_metadata(&value)
    }

    fn from_metadata(value: &Value) -> Result<Workspace> {
        let root = PathBuf::from(text(value, "workspace_root")?);
        let target = PathBuf::from(text(value, "target_directory")?);
        let packages = list(value, "packages")?
            .iter()
            .map(|package| Package::from_metadata(package, &root))
            .collect::<Result<Vec<_>>>()?;
        Ok(Workspace { root, target, packages })
    }

    /// A command that runs `cargo` in the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new("cargo");
        command.current_dir(&self.root).env("CARGO_TERM_COLOR", "never");
        // Set for this program by the cargo that runs it; a cargo below it must choose for itself.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME"] {
            command.env_remove(name);
        }
        command
    }

    /// Members under `crates/`, in the order of their names.
    pub(crate) fn crates(&self) -> Vec<&Package> {
        let mut crates: Vec<&Package> =
            self.packages.iter().filter(|package| package.folder.starts_with("crates")).collect();
        crates.sort_by(|a, b| a.folder.cmp(&b.folder));
        crates
    }

    /// Files of the project, relative to the root: tracked ones, and new ones that git does not ignore.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .context("run git ls-files")?;
        ensure!(
            output.status.success(),
            "git ls-files failed (tidy needs a git checkout): {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let names = String::from_utf8(output.stdout).context("file names are not utf-8")?;
        let mut files: Vec<PathBuf> = names
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .filter(|path| self.root.join(path).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }
}

impl Package {
    fn from_metadata(value: &Value, root: &Path) -> Result<Package> {
        let manifest = PathBuf::from(text(value, "manifest_path")?);
        let folder = manifest
            .parent()
            .and_then(|folder| folder.strip_prefix(root).ok())
            .with_context(|| format!("{} is outside the workspace", manifest.display()))?;
        let mut tests = Vec::new();
        for target in list(value, "targets")? {
            if list(target, "kind")?.iter().any(|kind| kind == "test") {
                tests.push(text(target, "name")?.to_owned());
            }
        }
        let dependencies = list(value, "dependencies")?
            .iter()
            .map(|dependency| {
                Ok(Dependency {
                    name: text(dependency, "name")?.to_owned(),
                    dev: dependency.get("kind").and_then(Value::as_str) == Some("dev"),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Package {
            name: text(value, "name")?.to_owned(),
            folder: folder.to_owned(),
            tests,
            dependencies,
        })
    }

    /// Name of the folder under `crates/`, by which the crate graph calls it.
    pub(crate) fn short_name(&self) -> String {
        self.folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|| self.name.clone())
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).with_context(|| format!("cargo metadata has no {key}"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value.get(key).and_then(Value::as_array).with_context(|| format!("cargo metadata has no {key}"))
}
