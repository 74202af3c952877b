//! The project's files, read once for all rules.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// Paths relative to the root, with contents.
#[derive(Debug)]
pub(super) struct Tree {
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Tree {
    pub(super) fn load(workspace: &Workspace) -> Result<Tree> {
        let mut files = Vec::new();
        for path in workspace.files()? {
            let bytes = std::fs::read(workspace.root.join(&path))
                .with_context(|| format!("read {}", path.display()))?;
            files.push((path, bytes));
        }
        Ok(Tree { files })
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Tree {
        let files = files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()))
            .collect();
        Tree { files }
    }

    /// Every file that is text.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.files
            .iter()
            .filter(|(_, bytes)| !bytes.contains(&0))
            .filter_map(|(path, bytes)| Some((path.as_path(), std::str::from_utf8(bytes).ok()?)))
    }

    /// Every Rust source file.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.texts().filter(|(path, _)| path.extension().is_some_and(|e| e == "rs"))
    }

    /// The text of one file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.texts().find(|(known, _)| *known == Path::new(path)).map(|(_, text)| text)
    }
}

/// Whether `path` is a source of a crate under `crates/`, its tests left out.
pub(super) fn is_crate_source(path: &Path) -> bool {
    let mut parts = path.iter();
    parts.next().is_some_and(|part| part == "crates")
        && parts.next().is_some()
        && parts.next().is_some_and(|part| part == "src")
}
