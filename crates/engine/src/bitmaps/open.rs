//! Bitmaps are read, and before the first write marked as in use.

use holstein_bitmap::{BitmapError, Claims, Directory, LoadError, load};
use holstein_format::{BitmapDirectoryEntry, BitmapsExtension, HeaderExtension};
use holstein_guard::planted::{Bug, is_planted};
use holstein_guard::{GuardError, Intent, Region};
use holstein_refcount::{ClusterAllocator as _, Wanted};

use super::list::{Bits, List, Listed};
use crate::EngineError;
use crate::disk::Disk;

impl Disk {
    /// Reads all bitmaps and marks them as in use, durably; called before the first write.
    ///
    /// Where the autoclear bit does not say that they hold, they are forgotten for good: somebody wrote
    /// to the image who did not know them. Their clusters are leaks from then on.
    pub(crate) fn open_bitmaps(&self) -> Result<(), EngineError> {
        let mut list = List::default();
        let extension = self.read_header().bitmaps().copied();
        if let Some(extension) = extension {
            // Where refcount structures are is known after this.
            self.refcounts.fetch(Wanted::Table).map_err(holstein_mapping::MapError::from)?;
            let mut directory = self.read_directory(&extension)?;
            let (at, bytes) = (extension.directory_offset, extension.directory_size);
            list.claims.claim(self, self.geometry, at, bytes).map_err(|error| {
                let what = error.to_string();
                BitmapError::Directory { at, what }
            })?;
            for entry in directory.entries() {
                let bits = self.load_bits(entry, &mut list.claims)?;
                list.bitmaps.push(Listed::stored(entry.clone(), bits));
            }
            self.protect_bitmaps(&extension, &list);
            if directory.mark_in_use() && !is_planted(Bug::BitmapNotInUse) {
                let bytes = directory.encode()?;
                let run = self.sequencer.lock();
                let intent = Intent::Metadata(Region::BitmapDirectory);
                run.file().write(intent, extension.directory_offset, &bytes)?;
                if !is_planted(Bug::BitmapMarkNotFlushed) {
                    run.file().barrier()?;
                }
            }
            for (bitmap, entry) in list.bitmaps.iter_mut().zip(directory.entries()) {
                bitmap.stored = Some(entry.clone());
            }
        } else if self.read_header().extensions.iter().any(is_bitmaps) {
            self.update_header(|header| header.extensions.retain(|one| !is_bitmaps(one)))?;
        }
        self.bitmaps.settle(&list);
        *self.bitmaps.write() = Some(list);
        Ok(())
    }

    /// Takes over the bitmaps of the disk that this one follows, with all that was recorded.
    pub(crate) fn inherit_bitmaps(&self, old: &Self) {
        let list = old.bitmaps.write().take();
        old.bitmaps.stop();
        if let Some(list) = list {
            self.bitmaps.settle(&list);
            *self.bitmaps.write() = Some(list);
        }
    }

    /// Reads the directory alone, on a disk that is not written to.
    pub(super) fn list_bitmaps(&self) -> Result<(), EngineError> {
        let mut list = List::default();
        let extension = self.read_header().bitmaps().copied();
        if let Some(extension) = extension {
            let directory = self.read_directory(&extension)?;
            for entry in directory.entries() {
                let holds = !entry.flags.contains(holstein_format::BitmapFlags::IN_USE)
                    && entry.validate(self.geometry, self.size()).is_ok();
                let bits = if holds { Bits::Unread } else { Bits::Inconsistent };
                list.bitmaps.push(Listed::stored(entry.clone(), bits));
            }
        }
        self.bitmaps.write().get_or_insert(list);
        Ok(())
    }

    /// Reads the bits of one bitmap, on a disk that is not written to.
    pub(super) fn read_bits(&self, name: &[u8]) -> Result<(), EngineError> {
        let entry = match self.bitmaps.read().as_ref() {
            Some(list) => list.get(name)?.stored.clone(),
            None => None,
        };
        let Some(entry) = entry else { return Ok(()) };
        let bits = self.load_bits(&entry, &mut Claims::default())?;
        if let Some(list) = self.bitmaps.write().as_mut() {
            list.get_mut(name)?.bits = bits;
        }
        Ok(())
    }

    fn read_directory(&self, extension: &BitmapsExtension) -> Result<Directory, EngineError> {
        let at = extension.directory_offset;
        match Directory::read(self, extension) {
            Ok(directory) => Ok(directory?),
            Err(EngineError::Guard(GuardError::ShortTable { .. })) => {
                let what = "it passes the end of the file".to_owned();
                Err(BitmapError::Directory { at, what }.into())
            }
            Err(error) => Err(error),
        }
    }

    /// The bits of a bitmap, or that they cannot be used; an error only where reading fails.
    fn load_bits(
        &self,
        entry: &BitmapDirectoryEntry,
        claims: &mut Claims,
    ) -> Result<Bits, EngineError> {
        match load(self, self.geometry, self.size(), entry, claims) {
            Ok(bits) => Ok(Bits::Here(bits)),
            Err(LoadError::File(EngineError::Guard(GuardError::ShortTable { .. }))) => {
                Ok(Bits::Inconsistent)
            }
            Err(LoadError::File(error)) => Err(error),
            Err(_) => Ok(Bits::Inconsistent),
        }
    }

    /// Notes the directory and the tables, so that no write lands on them.
    fn protect_bitmaps(&self, extension: &BitmapsExtension, list: &List) {
        let (at, bytes) = (extension.directory_offset, extension.directory_size);
        self.protect(Region::BitmapDirectory, at, bytes);
        for bitmap in &list.bitmaps {
            if let (Some(entry), Bits::Here(_)) = (&bitmap.stored, &bitmap.bits) {
                let bytes = u64::from(entry.table_size) * 8;
                self.protect(Region::BitmapDirectory, entry.table_offset, bytes);
            }
        }
    }
}

pub(super) fn is_bitmaps(extension: &HeaderExtension) -> bool {
    matches!(extension, HeaderExtension::Bitmaps(_))
}
