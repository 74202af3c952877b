//! What is noted of a snapshot that is to be taken.

use std::time::{Duration, SystemTime};

use holstein_format::SnapshotRecord;
use holstein_units::HostOffset;

use crate::{SnapshotError, SnapshotTable};

/// What is noted of a snapshot that is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Any bytes; may be empty, and need not be unique.
    pub name: Vec<u8>,
    /// When it is taken.
    pub date: SystemTime,
    /// How long the guest has run, in nanoseconds.
    pub vm_clock_nsec: u64,
    /// Bytes of VM state, written before.
    pub vm_state_size: u64,
    /// How many instructions the guest has executed, where that is recorded.
    pub icount: Option<u64>,
}

impl NewSnapshot {
    /// A snapshot of the disk alone, taken now.
    #[must_use]
    pub fn named(name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            date: SystemTime::now(),
            vm_clock_nsec: 0,
            vm_state_size: 0,
            icount: None,
        }
    }

    /// The record for a disk of `disk_size` bytes whose L1 table has `l1_size` entries. Where the
    /// copy of that table is remains to be filled in.
    ///
    /// # Errors
    /// [`SnapshotError::New`] for a name that is too long.
    pub fn record(
        &self,
        table: &SnapshotTable,
        disk_size: u64,
        l1_size: u32,
    ) -> Result<SnapshotRecord, SnapshotError> {
        let since = self.date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let icount = self.icount.unwrap_or(u64::MAX);
        let record = SnapshotRecord {
            l1_table_offset: HostOffset::new(0),
            l1_size,
            id: table.next_id().to_string().into_bytes(),
            name: self.name.clone(),
            date_sec: u32::try_from(since.as_secs()).unwrap_or(u32::MAX),
            date_nsec: since.subsec_nanos(),
            vm_clock_nsec: self.vm_clock_nsec,
            vm_state_size_32: u32::try_from(self.vm_state_size).unwrap_or(0),
            extra: SnapshotRecord::extra_data(self.vm_state_size, disk_size, icount),
        };
        record.encode().map_err(|source| SnapshotError::New { source })?;
        Ok(record)
    }
}
