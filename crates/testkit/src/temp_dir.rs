//! A directory that is gone when the test ends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A fresh directory under the system's directory for temporary files, removed with everything in
/// it when dropped.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes a directory whose name begins with `name`.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn new(name: &str) -> io::Result<Self> {
        Self::under(&std::env::temp_dir(), name)
    }

    /// Makes a directory under `parent`, for tests that want a certain file system.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn under(parent: &Path, name: &str) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("holstein-{name}-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                // Left behind by a killed test whose process number came round again.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` in it; nothing is created.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed is left; a test does not fail for that.
        drop(std::fs::remove_dir_all(&self.path));
    }
}
