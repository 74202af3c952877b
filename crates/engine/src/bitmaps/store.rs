//! Bitmaps are written to new clusters, and the header names a new directory.

use std::sync::atomic::Ordering;

use holstein_bitmap::{Claims, Directory, LoadError, WriteFile as _, for_each_cluster, store};
use holstein_format::{
    AutoclearFeatures, BitmapDirectoryEntry, BitmapFlags, BitmapTableEntry, HeaderExtension,
};
use holstein_guard::Region;
use holstein_refcount::{ClusterAllocator as _, Freed};
use holstein_units::HostOffset;

use super::file::NewClusters;
use super::list::{Bits, Listed};
use super::open::is_bitmaps;
use crate::EngineError;
use crate::disk::Disk;

impl Disk {
    /// Removes a bitmap, whatever state it is in. When it returns that is durable.
    ///
    /// # Errors
    /// [`EngineError::Bitmap`] if there is none of that name; I/O, in which case it is still there.
    pub fn remove_bitmap(&self, name: &[u8]) -> Result<(), EngineError> {
        let _alone = self.restructure();
        self.check_writable()?;
        let (stored, used, left) = self.with_list(|list| {
            let gone = list.get(name)?;
            let others = list.bitmaps.iter().filter(|bitmap| bitmap.name != name);
            let left = others.filter_map(|bitmap| bitmap.stored.clone()).collect();
            Ok((gone.stored.clone(), matches!(gone.bits, Bits::Here(_)), left))
        })?;
        if let Some(entry) = stored {
            self.guarded(|| {
                self.replace_directory(Directory::new(left), NewClusters::new(self))?;
                self.give_up(&entry, used);
                Ok(())
            })?;
        }
        let mut guard = self.bitmaps.write();
        let list = guard.get_or_insert_default();
        list.bitmaps.retain(|bitmap| bitmap.name != name);
        self.bitmaps.settle(list);
        Ok(())
    }

    /// Writes all bitmaps to the file, where they hold from then on: the disk takes no more writes.
    ///
    /// Where that fails they stay in use, and are lost.
    pub(crate) fn store_bitmaps(&self) -> Result<(), EngineError> {
        let _alone = self.restructure();
        if !self.has_bitmaps() || self.corrupt.load(Ordering::Acquire) {
            return Ok(());
        }
        let guard = self.bitmaps.read();
        let bitmaps = guard.as_ref().map(|list| &list.bitmaps[..]).unwrap_or_default();
        let mut clusters = NewClusters::new(self);
        let mut entries = Vec::with_capacity(bitmaps.len());
        let mut old = Vec::new();
        for bitmap in bitmaps {
            let entry =
                self.store_bitmap(bitmap, &mut clusters).map_err(|error| lost(bitmap, error));
            entries.extend(entry?);
            if let (Some(entry), Bits::Here(_)) = (&bitmap.stored, &bitmap.bits) {
                old.push(entry.clone());
            }
        }
        let directory = Directory::new(entries);
        let result = self.replace_directory(directory, clusters);
        result.map_err(|error| match bitmaps.first() {
            Some(bitmap) => lost(bitmap, error),
            None => error,
        })?;
        drop(guard);
        self.bitmaps.save();
        self.stale.store(true, Ordering::Release);
        for entry in old {
            self.give_up(&entry, true);
        }
        Ok(())
    }

    /// Writes one bitmap, and returns its entry in the directory.
    fn store_bitmap(
        &self,
        bitmap: &Listed,
        clusters: &mut NewClusters<'_>,
    ) -> Result<Option<BitmapDirectoryEntry>, EngineError> {
        let Bits::Here(bits) = &bitmap.bits else { return Ok(bitmap.stored.clone()) };
        let table = store(clusters, self.geometry, bits)?;
        let (mut flags, extra) = match &bitmap.stored {
            Some(entry) => (entry.flags.0, entry.extra.clone()),
            None => (0, Vec::new()),
        };
        flags &= !(BitmapFlags::IN_USE.0 | BitmapFlags::AUTO.0);
        if bitmap.recording {
            flags |= BitmapFlags::AUTO.0;
        }
        Ok(Some(BitmapDirectoryEntry {
            table_offset: table.at,
            table_size: table.entries,
            flags: BitmapFlags(flags),
            kind: BitmapDirectoryEntry::DIRTY_TRACKING,
            granularity_bits: bits.granularity().bits(),
            extra,
            name: bitmap.name.clone(),
        }))
    }

    /// Writes a directory and names it in the header, which makes everything before it durable; then
    /// gives the old one up.
    fn replace_directory(
        &self,
        directory: Directory,
        mut clusters: NewClusters<'_>,
    ) -> Result<(), EngineError> {
        let old = self.read_header().bitmaps().copied();
        let bytes = directory.encode()?;
        let mut at = HostOffset::new(0);
        if !bytes.is_empty() {
            let count = self.geometry.clusters_for(bytes.len() as u64);
            at = clusters.allocate(count)?;
            clusters.write(at, &bytes)?;
        }
        let run = self.sequencer.lock();
        self.update_header_in(&run, |header| {
            header.extensions.retain(|one| !is_bitmaps(one));
            match directory.extension(at) {
                Some(extension) => {
                    header.extensions.push(HeaderExtension::Bitmaps(extension));
                    header.autoclear.insert(AutoclearFeatures::BITMAPS);
                }
                None => header.autoclear.remove(AutoclearFeatures::BITMAPS),
            }
        })?;
        drop(run);
        clusters.keep();
        if let Some(old) = old {
            self.drop_table(Region::BitmapDirectory, old.directory_offset, old.directory_size);
        }
        if !bytes.is_empty() {
            self.protect(Region::BitmapDirectory, at, bytes.len() as u64);
        }
        Ok(())
    }

    /// Gives up the table and the bits of a bitmap that nothing names any more.
    ///
    /// * `used`: its bits were read and found to be its own. Otherwise what it names may be anything,
    ///   and stays counted where that shows.
    fn give_up(&self, entry: &BitmapDirectoryEntry, used: bool) {
        if !used && entry.validate(self.geometry, self.size()).is_err() {
            return;
        }
        let table_bytes = u64::from(entry.table_size) * 8;
        let first = self.geometry.host_cluster(entry.table_offset);
        let count = self.geometry.clusters_for(table_bytes);
        self.file.regions().remove(Region::BitmapDirectory, first, count);
        let mut data = Vec::new();
        let mut claims = Claims::default();
        let others = self.bitmaps.read();
        let known = others.as_ref().map(|list| &list.claims).filter(|_| !used);
        let mut claim = |at, bytes| {
            let clusters = self.geometry.clusters_for(bytes);
            if known.is_some_and(|known| known.holds(self.geometry, at, clusters)) {
                return Err(LoadError::Shared { at });
            }
            claims.claim(self, self.geometry, at, bytes)
        };
        let walked = claim(entry.table_offset, table_bytes).and_then(|()| {
            for_each_cluster(self, self.geometry, entry, |_, entry| {
                if let BitmapTableEntry::Data(at) = entry {
                    claim(at, self.geometry.cluster_size())?;
                    data.push(self.geometry.host_cluster(at));
                }
                Ok(())
            })
        });
        // What cannot be walked to the end is leaked rather than taken from somebody.
        if walked.is_ok() {
            for cluster in data {
                self.refcounts.retire(cluster, 1, Freed::Always);
            }
            self.refcounts.retire(first, count, Freed::Other);
        }
    }
}

fn lost(bitmap: &Listed, error: EngineError) -> EngineError {
    EngineError::BitmapLost { name: bitmap.name.clone(), source: Box::new(error) }
}
