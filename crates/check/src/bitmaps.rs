//! The bitmap directory, the tables of the bitmaps and their data.

use std::collections::HashSet;

use holstein_format::{BitmapDirectoryEntry, BitmapTableEntry, EntryError, RecordError};

use crate::check::Check;
use crate::error::CheckError;
use crate::finding::Corruption;

impl Check<'_> {
    /// Counts all bitmaps if the header says that they are consistent; else they are ignored, and
    /// their clusters come out as leaks.
    pub(crate) fn count_bitmaps(&mut self) -> Result<(), CheckError> {
        let Some(bitmaps) = self.header.bitmaps() else { return Ok(()) };
        let (at, size) = (bitmaps.directory_offset.get(), bitmaps.directory_size);
        self.count_region(at, size)?;

        // At most 64 MiB, and no more than the file holds.
        let there = size.min(self.source.len().saturating_sub(at));
        let mut directory = vec![0; usize::try_from(there).expect("at most 64 MiB")];
        self.source.read("the bitmap directory", at, &mut directory)?;

        let mut names = HashSet::new();
        let mut rest = directory.as_slice();
        let mut found = 0;
        while !rest.is_empty() && found < bitmaps.nb_bitmaps {
            let Ok((entry, length)) = BitmapDirectoryEntry::decode(rest) else { break };
            rest = rest.get(length..).unwrap_or_default();
            found += 1;
            self.count_bitmap(&entry)?;
            if !names.insert(entry.name.clone()) {
                self.corruption(Corruption::BitmapNameTwice { name: entry.name });
            }
        }
        if found != bitmaps.nb_bitmaps || !rest.is_empty() || there != size {
            let announced = bitmaps.nb_bitmaps;
            self.corruption(Corruption::BitmapDirectory { announced, found });
        }
        Ok(())
    }

    fn count_bitmap(&mut self, entry: &BitmapDirectoryEntry) -> Result<(), CheckError> {
        if let Err(error) = entry.validate(self.header.geometry, self.header.size) {
            self.corruption(Corruption::Bitmap { name: entry.name.clone(), error });
            if matches!(
                error,
                RecordError::BitmapTableSize { .. } | RecordError::TableOffset { .. }
            ) {
                return Ok(());
            }
        }
        let at = entry.table_offset.get();
        let entries = u64::from(entry.table_size);
        self.count_region(at, entries * 8)?;
        let geometry = self.header.geometry;
        let source = self.source;
        source.for_each_entry("a bitmap table", at, entries, |index, raw| {
            match BitmapTableEntry::decode(raw, geometry) {
                Ok(BitmapTableEntry::Data(at)) => {
                    self.count_region(at.get(), geometry.cluster_size())
                }
                Ok(BitmapTableEntry::AllZeros | BitmapTableEntry::AllOnes) => Ok(()),
                Err(error) => {
                    self.bad_table_entry(entry, index, error);
                    Ok(())
                }
            }
        })
    }

    fn bad_table_entry(&mut self, entry: &BitmapDirectoryEntry, index: u64, error: EntryError) {
        self.corruption(Corruption::BitmapTable { name: entry.name.clone(), index, error });
    }
}
