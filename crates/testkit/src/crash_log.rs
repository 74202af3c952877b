//! The record of what was done to a file, or to several.

use std::fmt;
use std::sync::Arc;

use holstein_units::{HostOffset, HostRange};

use crate::DiskImage;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Bytes were written.
    Write {
        /// Where.
        at: HostOffset,
        /// What.
        data: Arc<[u8]>,
    },
    /// A range was made zero; the file grew to its end.
    Zeroes(HostRange),
    /// A range was discarded; it reads as zeros if that arrives.
    Hole(HostRange),
    /// The length was set.
    SetLen(u64),
    /// Space was reserved; the file grew to the end of the range.
    Allocate(HostRange),
    /// A barrier was completed.
    Flush,
    /// A note of the test: no change.
    Mark(u64),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { at, data } => write!(f, "write {at}+{:#x}", data.len()),
            Self::Zeroes(range) => write!(f, "zeroes {range}"),
            Self::Hole(range) => write!(f, "hole {range}"),
            Self::SetLen(len) => write!(f, "length {len:#x}"),
            Self::Allocate(range) => write!(f, "allocate {range}"),
            Self::Flush => f.write_str("flush"),
            Self::Mark(note) => write!(f, "mark {note}"),
        }
    }
}

/// All that happened to a file, or to several, in order; made by [`crate::RecordingStorage::log`].
///
/// Positions count entries: position `n` is the moment after entry `n - 1` and before entry `n`.
/// Printing it lists all entries with their numbers. What is said of the file is said of the first.
#[derive(Clone, Debug)]
pub struct CrashLog {
    initial: Vec<DiskImage>,
    entries: Vec<Entry>,
    /// The number of the file of each entry.
    files: Vec<usize>,
}

impl CrashLog {
    /// A log of these entries, on a file that was durable as `initial` before them.
    #[must_use]
    pub fn new(initial: DiskImage, entries: Vec<Entry>) -> Self {
        Self::of_files(vec![initial], entries.into_iter().map(|entry| (0, entry)).collect())
    }

    /// A log of these entries on several files; each comes with the number of its file.
    ///
    /// # Panics
    /// If there is no file, or not the one of an entry.
    #[must_use]
    pub fn of_files(initial: Vec<DiskImage>, entries: Vec<(usize, Entry)>) -> Self {
        assert!(!initial.is_empty(), "a log is one of a file at least");
        let (files, entries): (Vec<usize>, Vec<Entry>) = entries.into_iter().unzip();
        assert!(files.iter().all(|file| *file < initial.len()), "an entry of no file");
        Self { initial, entries, files }
    }

    /// What the file held before the first entry.
    #[must_use]
    pub fn initial(&self) -> &DiskImage {
        &self.initial[0]
    }

    /// What each of the files held before the first entry.
    #[must_use]
    pub fn initial_files(&self) -> &[DiskImage] {
        &self.initial
    }

    /// The number of the file of an entry.
    ///
    /// # Panics
    /// If there is no such entry.
    #[must_use]
    pub fn file_of(&self, entry: usize) -> usize {
        self.files[entry]
    }

    /// What happened.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Positions at which the power can be cut: 0 up to and including the number of entries.
    pub fn cuts(&self) -> impl Iterator<Item = usize> + use<> {
        0..=self.entries.len()
    }

    /// The position after the last barrier of any file that was completed before `cut`; 0 if there was
    /// none.
    #[must_use]
    pub fn flushed_before(&self, cut: usize) -> usize {
        let before = &self.entries[..cut.min(self.entries.len())];
        before.iter().rposition(|entry| *entry == Entry::Flush).map_or(0, |last| last + 1)
    }

    /// The last note before `cut`.
    #[must_use]
    pub fn last_mark_before(&self, cut: usize) -> Option<u64> {
        let before = &self.entries[..cut.min(self.entries.len())];
        before.iter().rev().find_map(|entry| match entry {
            Entry::Mark(note) => Some(*note),
            _ => None,
        })
    }

    /// All notes with the positions of their entries.
    pub fn marks(&self) -> impl Iterator<Item = (usize, u64)> {
        self.entries.iter().enumerate().filter_map(|(at, entry)| match entry {
            Entry::Mark(note) => Some((at, *note)),
            _ => None,
        })
    }

    /// The file if everything before `cut` arrived: what a killed process leaves.
    #[must_use]
    pub fn image_at(&self, cut: usize) -> DiskImage {
        let mut image = self.initial[0].clone();
        let before = self.entries.iter().zip(&self.files).take(cut);
        for (entry, _) in before.filter(|(_, file)| **file == 0) {
            entry.apply(&mut image, u64::MAX);
        }
        image
    }
}

impl fmt::Display for CrashLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (entry, file)) in self.entries.iter().zip(&self.files).enumerate() {
            match file {
                0 => writeln!(f, "{number:5} {entry}")?,
                file => writeln!(f, "{number:5} file {file}: {entry}")?,
            }
        }
        Ok(())
    }
}

impl Entry {
    /// Makes the change to `image`, or of a change of bytes only the first `most`.
    pub(crate) fn apply(&self, image: &mut DiskImage, most: u64) {
        match self {
            Self::Write { at, data } => {
                let n = usize::try_from(most).map_or(data.len(), |n| n.min(data.len()));
                image.write(at.get(), &data[..n]);
            }
            Self::Zeroes(range) => {
                let len = range.len.min(most);
                if len > 0 {
                    image.grow(range.start.get() + len);
                    image.clear(range.start.get(), len);
                }
            }
            Self::Hole(range) => image.clear(range.start.get(), range.len.min(most)),
            Self::SetLen(len) => image.set_len(*len),
            Self::Allocate(range) => {
                if !range.is_empty() {
                    image.grow(range.end().get());
                }
            }
            Self::Flush | Self::Mark(_) => {}
        }
    }

    /// Whether it changes the file.
    pub(crate) fn is_change(&self) -> bool {
        !matches!(self, Self::Flush | Self::Mark(_))
    }

    /// The bytes that it changes, if it changes bytes.
    pub(crate) fn bytes(&self) -> Option<(u64, u64)> {
        match self {
            Self::Write { at, data } => Some((at.get(), data.len() as u64)),
            Self::Zeroes(range) | Self::Hole(range) => Some((range.start.get(), range.len)),
            _ => None,
        }
    }

    /// The length that the file has at least once it has grown for this entry.
    pub(crate) fn grows_to(&self) -> Option<u64> {
        match self {
            Self::Write { at, data } if !data.is_empty() => Some(at.get() + data.len() as u64),
            Self::Zeroes(range) | Self::Allocate(range) if !range.is_empty() => {
                Some(range.end().get())
            }
            _ => None,
        }
    }
}
