//! Reading tables of the image.

use holstein_storage::Storage;
use holstein_units::HostOffset;

use crate::error::CheckError;

/// The image file, past whose end everything is zeros.
pub(crate) struct Source<'a> {
    storage: &'a dyn Storage,
    len: u64,
}

impl<'a> Source<'a> {
    pub(crate) fn new(storage: &'a dyn Storage) -> Result<Self, CheckError> {
        let at = HostOffset::new(0);
        let what = "the length of the file";
        let len = storage.len().map_err(|source| CheckError::Read { what, at, source })?;
        Ok(Self { storage, len })
    }

    /// Bytes of the file.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Fills `into`, with zeros where the file has ended.
    pub(crate) fn read(
        &self,
        what: &'static str,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), CheckError> {
        let there = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let (head, tail) = into.split_at_mut(there.min(into.len()));
        tail.fill(0);
        if head.is_empty() {
            return Ok(());
        }
        let at = HostOffset::new(at);
        let read = self.storage.read_at(at, head).map_err(|source| CheckError::Read {
            what,
            at,
            source,
        })?;
        head.get_mut(read..).unwrap_or_default().fill(0);
        Ok(())
    }

    /// Hands over a table of `entries` 8-byte entries with their indices, zeros left out. Reads at
    /// most a mebibyte at a time and stops at the end of the file.
    pub(crate) fn for_each_entry(
        &self,
        what: &'static str,
        at: u64,
        entries: u64,
        mut step: impl FnMut(u64, u64) -> Result<(), CheckError>,
    ) -> Result<(), CheckError> {
        const ENTRIES: u64 = (1 << 20) / 8;
        let there = entries.min(self.len.saturating_sub(at).div_ceil(8));
        let mut buffer = Vec::new();
        let mut first = 0;
        while first < there {
            let count = ENTRIES.min(there - first);
            let bytes = usize::try_from(count * 8).expect("at most a mebibyte");
            buffer.resize(bytes, 0);
            self.read(what, at + first * 8, &mut buffer)?;
            for (index, entry) in (first..).zip(buffer.as_chunks::<8>().0) {
                let entry = u64::from_be_bytes(*entry);
                if entry != 0 {
                    step(index, entry)?;
                }
            }
            first += count;
        }
        Ok(())
    }
}
