//! A folder that is gone afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A folder for the files of a run, removed with all that is in it on drop.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new folder in `parent`, or where temporary files go.
    pub(crate) fn new(parent: Option<&Path>) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = parent.join(format!("holstein-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make the folder {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The path of a file in the folder, which does not exist any more.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        let _ = fs::remove_file(&path);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
