//! The bitmaps of a disk in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use holstein_bitmap::{BitmapError, Claims, DirtyBitmap, Granularity};
use holstein_format::{BitmapDirectoryEntry, BitmapFlags};
use holstein_guard::planted::{Bug, is_planted};
use holstein_units::GuestRange;

use crate::EngineError;
use crate::disk::Disk;

/// What is known of a bitmap without its bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitmapInfo {
    /// Its name, of unknown encoding.
    pub name: Vec<u8>,
    /// What a bit stands for; nothing where the image says something impossible.
    pub granularity: Option<Granularity>,
    /// Whether it records writes, or would on a disk that is open for writing.
    pub recording: bool,
    /// It was not saved cleanly, or is of an unknown kind: it can only be removed.
    pub inconsistent: bool,
}

/// The bitmaps of a disk, and whether any of them records.
#[derive(Debug, Default)]
pub(crate) struct Bitmaps {
    recording: AtomicBool,
    /// The file has them as they are.
    saved: AtomicBool,
    /// Nothing until they are asked for, on a disk that is only read.
    list: RwLock<Option<List>>,
}

/// The bitmaps in the order of the directory, new ones at the end.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) bitmaps: Vec<Listed>,
    /// Clusters of those whose bits were read.
    pub(super) claims: Claims,
}

/// One bitmap.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    /// What the directory in the file says of it, if it is there.
    pub(super) stored: Option<BitmapDirectoryEntry>,
    pub(super) recording: bool,
    pub(super) bits: Bits,
}

/// What is known of the bits.
#[derive(Debug)]
pub(super) enum Bits {
    /// They are in the file alone.
    Unread,
    /// They must not be used.
    Inconsistent,
    /// These.
    Here(DirtyBitmap),
}

impl Listed {
    /// What the file lists, with what is known of the bits.
    pub(super) fn stored(entry: BitmapDirectoryEntry, bits: Bits) -> Self {
        let recording = entry.flags.contains(BitmapFlags::AUTO);
        Self { name: entry.name.clone(), stored: Some(entry), recording, bits }
    }

    fn info(&self) -> BitmapInfo {
        let granularity = match (&self.bits, &self.stored) {
            (Bits::Here(bits), _) => Some(bits.granularity()),
            (_, Some(entry)) => Granularity::from_bits(entry.granularity_bits),
            (_, None) => None,
        };
        BitmapInfo {
            name: self.name.clone(),
            granularity,
            recording: self.recording,
            inconsistent: matches!(self.bits, Bits::Inconsistent),
        }
    }

    /// The bits, where they are in memory.
    pub(super) fn bits(&self) -> Result<&DirtyBitmap, BitmapError> {
        match &self.bits {
            Bits::Here(bits) => Ok(bits),
            _ => Err(BitmapError::Inconsistent { name: self.name.clone() }),
        }
    }

    pub(super) fn bits_mut(&mut self) -> Result<&mut DirtyBitmap, BitmapError> {
        match &mut self.bits {
            Bits::Here(bits) => Ok(bits),
            _ => Err(BitmapError::Inconsistent { name: self.name.clone() }),
        }
    }

    /// The bits, if it records.
    fn recorder(&self) -> Option<&DirtyBitmap> {
        self.bits().ok().filter(|_| self.recording)
    }
}

impl List {
    pub(super) fn get(&self, name: &[u8]) -> Result<&Listed, BitmapError> {
        let found = self.bitmaps.iter().find(|bitmap| bitmap.name == name);
        found.ok_or_else(|| BitmapError::NotFound { name: name.to_vec() })
    }

    pub(super) fn get_mut(&mut self, name: &[u8]) -> Result<&mut Listed, BitmapError> {
        let found = self.bitmaps.iter_mut().find(|bitmap| bitmap.name == name);
        found.ok_or_else(|| BitmapError::NotFound { name: name.to_vec() })
    }

    /// Whether the bitmaps that record say already that all of a range is dirty.
    fn knows(&self, range: GuestRange) -> bool {
        let mut recorders = self.bitmaps.iter().filter_map(Listed::recorder);
        recorders.all(|bits| bits.is_all_dirty(range.start.get(), range.len))
    }
}

impl Bitmaps {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Option<List>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Option<List>> {
        self.list.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks again whether any bitmap of the list records.
    pub(super) fn settle(&self, list: &List) {
        let any = list.bitmaps.iter().any(|bitmap| bitmap.recorder().is_some());
        self.recording.store(any, Ordering::Release);
    }

    /// Nothing records any more.
    pub(super) fn stop(&self) {
        self.recording.store(false, Ordering::Release);
    }

    /// The file has them as they are, and nothing records any more.
    pub(super) fn save(&self) {
        self.stop();
        self.saved.store(true, Ordering::Release);
    }

    /// Whether the bits of any bitmap are in memory alone, of a disk that can store them no more.
    pub(crate) fn lost(&self) -> Result<(), EngineError> {
        if self.saved.load(Ordering::Acquire) {
            return Ok(());
        }
        let guard = self.read();
        let mut bitmaps = guard.iter().flat_map(|list| &list.bitmaps);
        match bitmaps.find(|bitmap| bitmap.bits().is_ok()) {
            None => Ok(()),
            Some(bitmap) => Err(EngineError::BitmapLost {
                name: bitmap.name.clone(),
                source: Box::new(EngineError::Stale),
            }),
        }
    }

    /// Notes that a range was written, in all bitmaps that record.
    #[cold]
    fn note(&self, range: GuestRange) {
        if is_planted(Bug::BitmapNotRecorded) || self.read().as_ref().is_none_or(|l| l.knows(range))
        {
            return;
        }
        let mut guard = self.write();
        for bitmap in guard.iter_mut().flat_map(|list| &mut list.bitmaps) {
            if bitmap.recording
                && let Ok(bits) = bitmap.bits_mut()
            {
                bits.set(range.start.get(), range.len);
            }
        }
    }
}

impl Disk {
    /// Notes a write in the bitmaps that record. Called when the request has ended, whether or not it
    /// worked: who cleared a bitmap and then read what it stood for sees the write, or its bit.
    #[inline]
    pub(crate) fn record(&self, range: GuestRange) {
        if self.bitmaps.recording.load(Ordering::Acquire) {
            self.bitmaps.note(range);
        }
    }

    /// The bitmaps of the image, in the order of their directory; new ones come last.
    ///
    /// # Errors
    /// [`EngineError::Bitmap`] if the directory is broken; I/O.
    pub fn bitmaps(&self) -> Result<Vec<BitmapInfo>, EngineError> {
        self.with_list(|list| Ok(list.bitmaps.iter().map(Listed::info).collect()))
    }

    /// A copy of a bitmap as it is now.
    ///
    /// # Errors
    /// [`EngineError::Bitmap`] if there is none of that name, or it is inconsistent; I/O.
    pub fn bitmap(&self, name: &[u8]) -> Result<DirtyBitmap, EngineError> {
        self.with_bits(name, Clone::clone)
    }

    /// Whether the byte at `at` is dirty in a bitmap, and for how many bytes that stays so: at most
    /// `len`. Nothing past the end of the disk.
    ///
    /// # Errors
    /// As for [`Self::bitmap`].
    pub fn bitmap_extent(
        &self,
        name: &[u8],
        at: u64,
        len: u64,
    ) -> Result<Option<(bool, u64)>, EngineError> {
        self.with_bits(name, |bits| bits.extent_at(at, len))
    }

    /// Looks at the bits of a bitmap, read if they were not yet.
    fn with_bits<R>(
        &self,
        name: &[u8],
        look: impl FnOnce(&DirtyBitmap) -> R,
    ) -> Result<R, EngineError> {
        if self.with_list(|list| Ok(matches!(list.get(name)?.bits, Bits::Unread)))? {
            self.read_bits(name)?;
        }
        self.with_list(|list| Ok(look(list.get(name)?.bits()?)))
    }

    pub(super) fn with_list<R>(
        &self,
        look: impl FnOnce(&List) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        if self.bitmaps.read().is_none() {
            self.list_bitmaps()?;
        }
        look(self.bitmaps.read().as_ref().unwrap_or(&List::default()))
    }

    /// Whether the image has bitmaps, whatever state they are in.
    pub(crate) fn has_bitmaps(&self) -> bool {
        self.bitmaps
            .read()
            .as_ref()
            .map_or_else(|| self.read_header().bitmaps().is_some(), |list| !list.bitmaps.is_empty())
    }
}
