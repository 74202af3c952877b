//! Where an image of a twin lies.

use std::io;
use std::path::{Path, PathBuf};

/// A folder with an image and what lies below it; the names in both folders of a pair are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// The name of the file below.
    pub const BELOW: &'static str = "below";

    /// A folder that exists.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A copy of all its files, in a folder that does not exist.
    ///
    /// # Errors
    /// I/O.
    pub fn copy(&self, folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir(&folder)?;
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        Ok(Self { folder })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.join("image")
    }

    /// The file with its payload.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The file below it.
    #[must_use]
    pub fn below(&self) -> PathBuf {
        self.folder.join(Self::BELOW)
    }
}
