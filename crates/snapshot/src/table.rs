//! The snapshot table.

use std::sync::Arc;

use holstein_format::{
    Header, MAX_SNAPSHOT_TABLE_BYTES, MAX_SNAPSHOTS, RecordError, SnapshotRecord,
};
use holstein_storage::Storage;
use holstein_units::HostOffset;

use crate::error::SnapshotError;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// The records of an image's snapshot table in their order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SnapshotTable {
    records: Vec<SnapshotRecord>,
    bytes: u64,
}

impl SnapshotTable {
    /// Reads the table that `header` points to.
    ///
    /// # Errors
    /// Each variant of [`SnapshotError`]; nothing is kept of a table that is broken in part.
    pub fn read(storage: &dyn Storage, header: &Header) -> Result<Self, SnapshotError> {
        Self::read_from(storage, header.snapshots_offset, header.nb_snapshots)
    }

    /// Reads a table of `count` records at `at`.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn read_from(
        storage: &dyn Storage,
        at: HostOffset,
        count: u32,
    ) -> Result<Self, SnapshotError> {
        if count > MAX_SNAPSHOTS {
            return Err(SnapshotError::TooMany { count });
        }
        let mut window = Window::new(storage, at);
        let mut records = Vec::new();
        let mut bytes = 0;
        for index in 0..count {
            let (record, length) = window.next(index)?;
            records.push(record);
            bytes = window.position() + length;
            window.advance(length.next_multiple_of(8));
        }
        Ok(Self { records, bytes })
    }

    /// The records in their order.
    #[must_use]
    pub fn records(&self) -> &[SnapshotRecord] {
        &self.records
    }

    /// Bytes of the table on disk, without padding behind the last record.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn records_mut(&mut self) -> &mut Vec<SnapshotRecord> {
        &mut self.records
    }

    pub(crate) fn set_bytes(&mut self, bytes: u64) {
        self.bytes = bytes;
    }
}

/// The part of the table that has been read and not yet used.
struct Window<'a> {
    storage: &'a dyn Storage,
    table: HostOffset,
    /// Bytes of the table before the window.
    before: u64,
    /// What has been read.
    bytes: Vec<u8>,
    /// How much of it has been used.
    used: usize,
    /// The file ends with the window.
    ended: bool,
}

impl<'a> Window<'a> {
    fn new(storage: &'a dyn Storage, table: HostOffset) -> Self {
        Self { storage, table, before: 0, bytes: Vec::new(), used: 0, ended: false }
    }

    /// Bytes from the start of the table to the next record.
    fn position(&self) -> u64 {
        self.before + self.used as u64
    }

    fn advance(&mut self, length: u64) {
        self.used += usize::try_from(length).unwrap_or(usize::MAX - self.used);
    }

    fn next(&mut self, index: u32) -> Result<(SnapshotRecord, u64), SnapshotError> {
        let at = HostOffset::new(self.table.get().saturating_add(self.position()));
        loop {
            match SnapshotRecord::decode(self.bytes.get(self.used..).unwrap_or_default()) {
                Ok((record, length)) => {
                    let length = length as u64;
                    if self.position() + length > MAX_SNAPSHOT_TABLE_BYTES {
                        return Err(SnapshotError::TableTooLarge { at: self.table, index });
                    }
                    return Ok((record, length));
                }
                Err(RecordError::Truncated { .. }) if self.ended => {
                    return Err(SnapshotError::Truncated { index, at });
                }
                // A record is at most 132 KiB long, so a few chunks are enough.
                Err(RecordError::Truncated { .. }) => self.read_more()?,
                Err(source) => return Err(SnapshotError::Record { index, at, source }),
            }
        }
    }

    fn read_more(&mut self) -> Result<(), SnapshotError> {
        // Padding behind the last record that was read may not be there: it was used all the same.
        let used = self.used.min(self.bytes.len());
        self.bytes.drain(..used);
        self.before += used as u64;
        self.used -= used;
        let have = self.bytes.len();
        let at = self.table.get().saturating_add(self.before).saturating_add(have as u64);
        let at = HostOffset::new(at);
        self.bytes.resize(have + CHUNK, 0);
        let chunk = self.bytes.get_mut(have..).unwrap_or_default();
        let read = self
            .storage
            .read_at(at, chunk)
            .map_err(|e| SnapshotError::Read { at, source: Arc::new(e) })?;
        self.bytes.truncate(have + read);
        self.ended = read < CHUNK;
        Ok(())
    }
}
