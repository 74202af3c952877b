//! What the owner of a disk does with its bitmaps.

use holstein_bitmap::{BitmapError, Directory, DirtyBitmap, Granularity};
use holstein_format::Version;

use super::list::{Bits, List, Listed};
use crate::EngineError;
use crate::disk::Disk;

impl Disk {
    /// Adds a clean bitmap. The file lists it when the disk is closed; a crash before that leaves none.
    ///
    /// # Errors
    /// [`EngineError::Bitmap`] for a name that is taken or cannot be, a bitmap that would be too large,
    /// more bitmaps than an image can have, and an image of version 2.
    pub fn add_bitmap(
        &self,
        name: &[u8],
        granularity: Granularity,
        recording: bool,
    ) -> Result<(), EngineError> {
        self.change_list(|list| {
            if self.version == Version::V2 {
                return Err(BitmapError::Version2);
            }
            if list.get(name).is_ok() {
                return Err(BitmapError::Exists { name: name.to_vec() });
            }
            Directory::check_room(list.bitmaps.iter().map(|bitmap| bitmap.name.len()), name.len())?;
            DirtyBitmap::check_size(granularity, self.size())?;
            let bits = Bits::Here(DirtyBitmap::new(self.size(), granularity));
            let name = name.to_vec();
            list.bitmaps.push(Listed { name, stored: None, recording, bits });
            Ok(())
        })
    }

    /// Marks all of a bitmap as clean.
    ///
    /// # Errors
    /// [`EngineError::Bitmap`] if there is none of that name, or it is inconsistent.
    pub fn clear_bitmap(&self, name: &[u8]) -> Result<(), EngineError> {
        self.change_bitmap(name, |bitmap| {
            bitmap.bits_mut()?.clear();
            Ok(())
        })
    }

    /// Says whether a bitmap records what is written from now on.
    ///
    /// # Errors
    /// As for [`Self::clear_bitmap`].
    pub fn record_in_bitmap(&self, name: &[u8], on: bool) -> Result<(), EngineError> {
        self.change_bitmap(name, |bitmap| {
            bitmap.bits()?;
            bitmap.recording = on;
            Ok(())
        })
    }

    /// Marks as dirty in a bitmap what is dirty in `other`, whatever image that is of.
    ///
    /// # Errors
    /// As for [`Self::clear_bitmap`]; for disks of different sizes.
    pub fn merge_bitmap(&self, name: &[u8], other: &DirtyBitmap) -> Result<(), EngineError> {
        self.change_bitmap(name, |bitmap| bitmap.bits_mut()?.merge(other))
    }

    /// Refuses another size of the disk that the bitmaps cannot follow.
    pub(crate) fn check_bitmaps(&self, size: u64) -> Result<(), EngineError> {
        let guard = self.bitmaps.read();
        for bitmap in guard.iter().flat_map(|list| &list.bitmaps) {
            DirtyBitmap::check_size(bitmap.bits()?.granularity(), size)?;
        }
        Ok(())
    }

    /// Makes the bitmaps follow the disk to another size.
    pub(crate) fn resize_bitmaps(&self, size: u64) {
        for bitmap in self.bitmaps.write().iter_mut().flat_map(|list| &mut list.bitmaps) {
            if let Ok(bits) = bitmap.bits_mut() {
                bits.resize(size);
            }
        }
    }

    fn change_bitmap(
        &self,
        name: &[u8],
        change: impl FnOnce(&mut Listed) -> Result<(), BitmapError>,
    ) -> Result<(), EngineError> {
        self.change_list(|list| change(list.get_mut(name)?))
    }

    /// Changes the list, in memory.
    pub(super) fn change_list(
        &self,
        change: impl FnOnce(&mut List) -> Result<(), BitmapError>,
    ) -> Result<(), EngineError> {
        // A change of the size, or of the directory, is not to be in the middle.
        let _alone = self.restructure();
        self.check_writable()?;
        let mut guard = self.bitmaps.write();
        let list = guard.get_or_insert_default();
        change(list)?;
        self.bitmaps.settle(list);
        Ok(())
    }
}
