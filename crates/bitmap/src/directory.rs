//! The list of an image's bitmaps.

use std::collections::HashSet;

use holstein_format::limits::{MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAPS};
use holstein_format::{BitmapDirectoryEntry, BitmapFlags, BitmapsExtension, Escaped};
use holstein_units::HostOffset;

use crate::file::PIECE;
use crate::{BitmapError, ReadFile};

/// The bitmaps that an image lists, in their order, known or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    entries: Vec<BitmapDirectoryEntry>,
}

impl Directory {
    /// A directory with these entries.
    #[must_use]
    pub fn new(entries: Vec<BitmapDirectoryEntry>) -> Self {
        Self { entries }
    }

    /// Reads the directory that the extension leads to. Memory grows with the bytes that are there.
    ///
    /// The entries are taken apart and not judged: see `BitmapDirectoryEntry::validate`.
    ///
    /// # Errors
    /// [`BitmapError::Directory`] if it does not hold what was announced, or a name twice, as the inner
    /// result; what reading fails with as the outer one.
    pub fn read<F: ReadFile>(
        file: &F,
        extension: &BitmapsExtension,
    ) -> Result<Result<Self, BitmapError>, F::Error> {
        let at = extension.directory_offset;
        let mut bytes = Vec::new();
        let mut left = extension.directory_size;
        while left > 0 {
            let have = bytes.len();
            let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            bytes.resize(have + now, 0);
            file.read(at + have as u64, &mut bytes[have..])?;
            left -= now as u64;
        }
        Ok(Self::decode(&bytes, extension.nb_bitmaps)
            .map_err(|what| BitmapError::Directory { at, what }))
    }

    fn decode(bytes: &[u8], announced: u32) -> Result<Self, String> {
        let mut entries = Vec::new();
        let mut names = HashSet::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (entry, length) = BitmapDirectoryEntry::decode(rest)
                .map_err(|error| format!("entry {}: {error}", entries.len()))?;
            rest = rest.get(length..).unwrap_or_default();
            if !names.insert(entry.name.clone()) {
                return Err(format!("bitmap {} is there twice", Escaped(&entry.name)));
            }
            entries.push(entry);
        }
        if entries.len() as u64 != u64::from(announced) {
            let found = entries.len();
            return Err(format!("it holds {found} bitmaps, and {announced} are announced"));
        }
        Ok(Self { entries })
    }

    /// The bytes of the directory.
    ///
    /// # Errors
    /// [`BitmapError::Name`] for a name that no entry can hold.
    pub fn encode(&self) -> Result<Vec<u8>, BitmapError> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            let length = entry.name.len();
            bytes.extend(entry.encode().map_err(|_| BitmapError::Name { length })?);
        }
        Ok(bytes)
    }

    /// The bitmaps in their order.
    #[must_use]
    pub fn entries(&self) -> &[BitmapDirectoryEntry] {
        &self.entries
    }

    /// Bytes that the directory takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(entry_bytes).sum()
    }

    /// The extension that leads to the directory at `at`; none leads to an empty one.
    #[must_use]
    pub fn extension(&self, at: HostOffset) -> Option<BitmapsExtension> {
        let nb_bitmaps = u32::try_from(self.entries.len()).ok().filter(|count| *count > 0)?;
        let directory_size = self.bytes();
        Some(BitmapsExtension { nb_bitmaps, reserved: 0, directory_size, directory_offset: at })
    }

    /// Whether one more bitmap with a name of `length` bytes can be listed beside `others`, which are
    /// the lengths of the names that are there.
    ///
    /// # Errors
    /// [`BitmapError::Name`]; [`BitmapError::Full`].
    pub fn check_room(
        others: impl Iterator<Item = usize>,
        length: usize,
    ) -> Result<(), BitmapError> {
        let most = usize::from(holstein_format::limits::MAX_BITMAP_NAME_BYTES);
        if length == 0 || length > most {
            return Err(BitmapError::Name { length });
        }
        let (count, bytes) =
            others.fold((0_usize, 0_u64), |(n, sum), name| (n + 1, sum + named_bytes(name)));
        if count as u64 >= u64::from(MAX_BITMAPS)
            || bytes + named_bytes(length) > MAX_BITMAP_DIRECTORY_BYTES
        {
            return Err(BitmapError::Full { count });
        }
        Ok(())
    }

    /// Marks every bitmap as in use; says whether that changed anything.
    ///
    /// Only flags change, each of them within one sector of the file: whatever part of the directory
    /// reaches the disk, every entry says either what it said or that it is in use.
    pub fn mark_in_use(&mut self) -> bool {
        let mut changed = false;
        for entry in &mut self.entries {
            changed |= !entry.flags.contains(BitmapFlags::IN_USE);
            entry.flags.0 |= BitmapFlags::IN_USE.0;
        }
        changed
    }
}

/// Bytes of an entry without extra data.
fn named_bytes(name: usize) -> u64 {
    (BitmapDirectoryEntry::FIXED_BYTES + name).next_multiple_of(8) as u64
}

fn entry_bytes(entry: &BitmapDirectoryEntry) -> u64 {
    named_bytes(entry.extra.len() + entry.name.len())
}
