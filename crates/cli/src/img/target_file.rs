//! The file that a command makes, and what becomes of it when the command fails.

use std::fs;
use std::path::{Path, PathBuf};

use crate::disk::DiskError;
use crate::node::is_export;

/// A target whose file goes away again unless it is kept. An export of a server stays in any case.
///
/// Only a file that was not there before is removed; anything else stays, whatever is in it now.
#[derive(Debug)]
pub(crate) struct TargetFile {
    path: PathBuf,
    existed: bool,
    kept: bool,
    /// Another file that goes away with it.
    beside: Option<Box<Self>>,
}

impl TargetFile {
    /// Remembers whether there is anything at `path`, before it is made.
    pub(crate) fn before(path: &str) -> Self {
        let remote = is_export(path);
        let path = Path::new(path);
        let existed = remote || fs::symlink_metadata(path).is_ok();
        Self { path: path.to_owned(), existed, kept: false, beside: None }
    }

    /// As [`Self::before`], with a second file where there is one.
    pub(crate) fn before_both(path: &str, beside: Option<&str>) -> Self {
        let mut target = Self::before(path);
        target.beside = beside.map(|path| Box::new(Self::before(path)));
        target
    }

    /// The file stays.
    pub(crate) fn keep(mut self) {
        self.kept = true;
        if let Some(beside) = self.beside.take() {
            beside.keep();
        }
    }

    /// The file goes if this command made it; otherwise the error says that it stays.
    pub(crate) fn failed(self, error: DiskError) -> DiskError {
        if !self.existed {
            return error;
        }
        error.suffixed(format_args!("; '{}' was there before and stays", self.path.display()))
    }
}

impl Drop for TargetFile {
    fn drop(&mut self) {
        if !self.kept && !self.existed {
            // It may never have come to be.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_file_is_removed() {
        let dir = std::env::temp_dir().join(format!("holstein-target-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("the directory for temporary files is writable");
        let (old, new) = (dir.join("old"), dir.join("new"));
        fs::write(&old, "old").expect("the directory is writable");
        for path in [&old, &new] {
            let target = TargetFile::before(&path.to_string_lossy());
            fs::write(path, "half").expect("the directory is writable");
            let error = target.failed(DiskError::from_errno(libc::ENOSPC));
            assert_eq!(error.to_string().contains("was there before"), path == &old);
        }
        assert!(old.exists() && !new.exists());
        fs::remove_dir_all(&dir).expect("the directory is ours");
    }
}
