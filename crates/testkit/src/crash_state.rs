//! One file that a power cut can leave behind, and those beside it.

use std::fmt;

use crate::{DiskImage, SnapshotStorage};

/// A file that a power cut can leave behind, and how it came about.
#[derive(Clone, Debug)]
pub struct CrashState {
    /// Its content.
    pub image: DiskImage,
    /// The contents of the other files of the log.
    pub beside: Vec<DiskImage>,
    /// The hash of length and content; equal for equal files.
    pub hash: u128,
    /// The first position of the log at which a cut can leave this.
    pub cut: usize,
    /// The last position at which a cut can leave this: that of the next barrier, or the end. What
    /// was acknowledged before is owed by this state too.
    pub until: usize,
    /// The position after the last barrier that was completed; all before it has arrived, of its file.
    pub flushed: usize,
    /// The last note before [`CrashState::until`].
    pub mark: Option<u64>,
    /// The last note before [`CrashState::flushed`].
    pub flushed_mark: Option<u64>,
    /// Which of the changes since the last barrier arrived.
    pub choice: Choice,
}

impl CrashState {
    /// Storage over a copy of the image; changes stay in the copy.
    #[must_use]
    pub fn storage(&self) -> SnapshotStorage {
        SnapshotStorage::new(self.image.clone())
    }
}

impl fmt::Display for CrashState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cut at {}..={}, durable up to {}, {}",
            self.cut, self.until, self.flushed, self.choice
        )
    }
}

/// A change of which only the beginning arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Its number in the log.
    pub entry: usize,
    /// How many bytes arrived.
    pub bytes: u64,
}

/// Which of the changes since the last barrier of their file arrived. Changes after the last one listed did not.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Choice {
    /// Numbers in the log of those that did.
    pub present: Vec<usize>,
    /// Numbers in the log of earlier ones that did not.
    pub missing: Vec<usize>,
    /// The one of those present that arrived in part.
    pub torn: Option<Torn>,
    /// The length that the file grew to for a change whose bytes did not arrive.
    pub grown: Option<u64>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arrived {:?}, lost {:?}", self.present, self.missing)?;
        if let Some(torn) = self.torn {
            write!(f, ", of {} only {:#x} bytes", torn.entry, torn.bytes)?;
        }
        if let Some(len) = self.grown {
            write!(f, ", grown to {len:#x} without the bytes")?;
        }
        Ok(())
    }
}
