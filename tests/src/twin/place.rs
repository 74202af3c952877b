//! Where an image of a twin lies.

use std::io;
use std::os::unix::fs::FileExt as _;
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
            copy_with_holes(&entry.path(), &folder.join(entry.file_name()))?;
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

/// Copies a file whose zeros are holes: what is known of them without reading matters to both sides.
fn copy_with_holes(from: &Path, to: &Path) -> io::Result<()> {
    const BLOCK: usize = 4096;
    let bytes = std::fs::read(from)?;
    let file = std::fs::File::create(to)?;
    file.set_len(bytes.len() as u64)?;
    for (at, block) in (0..).step_by(BLOCK).zip(bytes.chunks(BLOCK)) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, at)?;
        }
    }
    Ok(())
}
