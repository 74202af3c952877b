//! The disks that images of twins are over.

use std::path::PathBuf;

use holstein::{CreateOptions, OpenOptions};
use holstein_storage::{FileOptions, FileStorage};
use holstein_testkit::{DiskModel, Oracle, Pattern, Verdict};
use holstein_units::SECTOR;

use super::{BackingFormat, Place, Row};
use crate::judge::expect_no_corruption;

/// A file that an image may be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lower {
    /// The one over which the row was made.
    First,
    /// Bytes, shorter than the disk.
    Raw,
    /// An image, longer than the disk.
    Qcow2,
    /// A copy of one of the others, which shows the same.
    Copy,
}

/// The number of the pattern in other backing files.
const OTHER: u64 = 910_000;

impl Lower {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::First, Self::Raw, Self::Qcow2, Self::Copy];

    /// Its name, in the folder of the image.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::First => Place::BELOW,
            Self::Raw => "other-raw",
            Self::Qcow2 => "other-qcow2",
            Self::Copy => "copy",
        }
    }

    /// Its place among all.
    fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Raw => 1,
            Self::Qcow2 => 2,
            Self::Copy => 3,
        }
    }
}

/// What is known of the files: format and bytes of those that are there.
#[derive(Clone, Debug, Default)]
pub struct Lowers([Option<(BackingFormat, Vec<u8>)>; 4]);

impl Lowers {
    /// Those over which a row is made.
    #[must_use]
    pub fn of(row: Row) -> Self {
        let mut lowers = Self::default();
        if let (Some(backing), Some(disk)) = (row.backing, row.below()) {
            lowers.0[Lower::First.index()] = Some((backing.format, bytes_of(&disk)));
        }
        lowers
    }

    /// The format of a file that is there.
    #[must_use]
    pub fn format(&self, lower: Lower) -> Option<BackingFormat> {
        self.0[lower.index()].as_ref().map(|(format, _)| *format)
    }

    /// The bytes of a file that is there.
    #[must_use]
    pub fn bytes(&self, lower: Lower) -> Option<&[u8]> {
        self.0[lower.index()].as_ref().map(|(_, bytes)| &**bytes)
    }

    /// Makes a file in both folders; `size` is that of the image's disk, `present` what is copied.
    /// False if there is nothing to make it of.
    ///
    /// # Errors
    /// I/O, as text.
    pub fn make(
        &mut self,
        lower: Lower,
        present: Option<Lower>,
        row: Row,
        size: u64,
        places: &[Place; 2],
    ) -> Result<bool, String> {
        let text = |e: std::io::Error| format!("make {}: {e}", lower.file());
        let to = |place: &Place| place.folder().join(lower.file());
        match lower {
            Lower::First => return Ok(self.bytes(lower).is_some()),
            Lower::Raw | Lower::Qcow2 if self.bytes(lower).is_some() => return Ok(true),
            Lower::Raw => {
                let bytes = other(row, size / SECTOR * 2 / 3 * SECTOR, OTHER);
                for place in places {
                    std::fs::write(to(place), &bytes).map_err(text)?;
                }
                self.0[lower.index()] = Some((BackingFormat::Raw, bytes));
            }
            Lower::Qcow2 => {
                let bytes = other(row, size + 3 * row.cluster, OTHER + 1);
                let made = CreateOptions::new(bytes.len() as u64)
                    .cluster_size(row.cluster_below())
                    .create(to(&places[0]))
                    .and_then(|image| image.write_at(0, &bytes).and_then(|()| image.close()));
                made.map_err(|e| format!("make {}: {e}", lower.file()))?;
                std::fs::copy(to(&places[0]), to(&places[1])).map_err(text)?;
                self.0[lower.index()] = Some((BackingFormat::Qcow2, bytes));
            }
            Lower::Copy => {
                let Some(from) = present.filter(|from| *from != lower) else { return Ok(false) };
                for place in places {
                    std::fs::copy(place.folder().join(from.file()), to(place)).map_err(text)?;
                }
                self.0[lower.index()] = self.0[from.index()].clone();
            }
        }
        Ok(true)
    }

    /// Judges a file into which an image was committed whose disk holds `disk` in `size` bytes: it
    /// is whole, the same in both folders, and has that disk and behind it what it had before.
    ///
    /// # Errors
    /// What is wrong.
    pub fn committed(
        &mut self,
        lower: Lower,
        disk: &DiskModel,
        size: u64,
        places: &[Place; 2],
        oracle: &Oracle,
    ) -> Result<(), String> {
        let Some((format, old)) = &self.0[lower.index()] else { return Ok(()) };
        let size = usize::try_from(size).map_err(|e| e.to_string())?;
        let mut found: Option<Vec<u8>> = None;
        for (place, whose) in places.iter().zip(["ours", "theirs"]) {
            let wrong = |e: String| format!("{} of {whose}: {e}", lower.file());
            let bytes = read(*format, place.folder().join(lower.file()), oracle).map_err(wrong)?;
            if bytes.len() != size.max(old.len()) {
                let text = format!("{} bytes, not {}", bytes.len(), size.max(old.len()));
                return Err(wrong(text));
            }
            disk.check(0, &bytes[..size]).map_err(|e| wrong(e.to_string()))?;
            if old.len() > size && bytes[size..] != old[size..] {
                return Err(wrong("bytes behind the disk have changed".to_owned()));
            }
            if found.as_ref().is_some_and(|found| *found != bytes) {
                return Err(format!("{} differs after a commit", lower.file()));
            }
            found = Some(bytes);
        }
        let format = *format;
        self.0[lower.index()] = found.map(|bytes| (format, bytes));
        Ok(())
    }
}

/// The bytes that a file shows; an image has to be whole.
fn read(format: BackingFormat, path: PathBuf, oracle: &Oracle) -> Result<Vec<u8>, String> {
    if format == BackingFormat::Raw {
        return std::fs::read(path).map_err(|e| e.to_string());
    }
    let file = FileStorage::open(&path, &FileOptions::default()).map_err(|e| e.to_string())?;
    let leaks = expect_no_corruption(&file)?;
    drop(file);
    let (verdict, text) = oracle.check(&path).map_err(|e| e.to_string())?;
    if leaks > 0 || verdict != Verdict::Clean {
        return Err(format!("{leaks} leaks, qemu-img check: {text}"));
    }
    let image = OpenOptions::new().open_read_only(path).map_err(|e| e.to_string())?;
    let len = usize::try_from(image.virtual_size()).map_err(|e| e.to_string())?;
    let mut bytes = vec![0; len];
    image.read_at(0, &mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// What another backing disk holds: data with gaps of zeros.
fn other(row: Row, size: u64, pattern: u64) -> Vec<u8> {
    let mut disk = DiskModel::new(size);
    let step = row.cluster * 7 / 2;
    for (n, at) in (0..).zip((0..size).step_by(usize::try_from(step).expect("small"))) {
        if n % 3 != 1 {
            let len = usize::try_from(step.min(size - at)).expect("small");
            disk.write(at, &Pattern::new(pattern).bytes(at, len));
        }
    }
    bytes_of(&disk)
}

/// The bytes of a disk in which nothing is uncertain.
pub(super) fn bytes_of(disk: &DiskModel) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.size()).expect("a small disk")];
    disk.read(0, &mut bytes);
    bytes
}
