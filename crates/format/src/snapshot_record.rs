//! Records of the snapshot table.

use alloc::vec::Vec;

use crate::limits::{MAX_FILE_BYTES, MAX_L1_ENTRIES, MAX_SNAPSHOT_EXTRA_BYTES};
use crate::record_error::RecordError;
use holstein_units::{Geometry, HostOffset};
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// On disk: the fixed part of a record.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawSnapshot {
    l1_table_offset: U64,
    l1_size: U32,
    id_size: U16,
    name_size: U16,
    date_sec: U32,
    date_nsec: U32,
    vm_clock_nsec: U64,
    vm_state_size: U32,
    extra_data_size: U32,
}

/// One record of the snapshot table, with its extra data byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotRecord {
    /// Where its L1 table is; not judged by decoding, see [`SnapshotRecord::validate_l1`].
    pub l1_table_offset: HostOffset,
    /// Entries of its L1 table; not judged by decoding either.
    pub l1_size: u32,
    /// A decimal number as text in honest images.
    pub id: Vec<u8>,
    /// Any bytes; names may be empty and may repeat.
    pub name: Vec<u8>,
    /// Seconds since the epoch.
    pub date_sec: u32,
    /// Nanoseconds within the second.
    pub date_nsec: u32,
    /// How long the guest had run, in nanoseconds.
    pub vm_clock_nsec: u64,
    /// Bytes of VM state if they fit in 32 bits; [`SnapshotRecord::vm_state_size`] is the truth.
    pub vm_state_size_32: u32,
    /// Fields that only some versions have, and unknown ones.
    pub extra: Vec<u8>,
}

impl SnapshotRecord {
    /// Bytes of the fixed part, the least that a record takes.
    pub const FIXED_BYTES: usize = size_of::<RawSnapshot>();
    /// Bytes of extra data that version 3 asks for: VM state size and disk size.
    pub const MIN_EXTRA_BYTES: usize = 16;

    /// Extra data with all known fields; `icount` is all ones where it was not recorded.
    #[must_use]
    pub fn extra_data(vm_state_size: u64, disk_size: u64, icount: u64) -> Vec<u8> {
        [vm_state_size, disk_size, icount].into_iter().flat_map(u64::to_be_bytes).collect()
    }

    /// Reads the record at the start of `bytes` and returns it with its length without padding. The
    /// next record begins at the next multiple of 8.
    ///
    /// Allocates no more than `bytes` holds.
    ///
    /// # Errors
    /// [`RecordError::Truncated`] with the number of bytes that are needed to get further,
    /// [`RecordError::ExtraTooLarge`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), RecordError> {
        Self::decode_within(bytes, MAX_SNAPSHOT_EXTRA_BYTES)
    }

    /// As [`SnapshotRecord::decode`], for a check: extra data of any size is taken.
    ///
    /// # Errors
    /// [`RecordError::Truncated`].
    pub fn decode_any(bytes: &[u8]) -> Result<(Self, usize), RecordError> {
        Self::decode_within(bytes, u32::MAX)
    }

    fn decode_within(bytes: &[u8], extra_limit: u32) -> Result<(Self, usize), RecordError> {
        let available = bytes.len();
        let truncated = |needed| RecordError::Truncated { needed, available };
        let (raw, mut rest) =
            RawSnapshot::read_from_prefix(bytes).map_err(|_| truncated(Self::FIXED_BYTES))?;
        let extra_size = raw.extra_data_size.get();
        if extra_size > extra_limit {
            return Err(RecordError::ExtraTooLarge { size: extra_size });
        }
        let mut consumed = Self::FIXED_BYTES;
        let mut take = |length: usize| {
            consumed = consumed.saturating_add(length);
            let (field, after) = rest.split_at_checked(length).ok_or(truncated(consumed))?;
            rest = after;
            Ok::<_, RecordError>(field.to_vec())
        };
        let extra = take(usize::try_from(extra_size).unwrap_or(usize::MAX))?;
        let id = take(raw.id_size.get().into())?;
        let name = take(raw.name_size.get().into())?;
        let record = Self {
            l1_table_offset: HostOffset::new(raw.l1_table_offset.get()),
            l1_size: raw.l1_size.get(),
            id,
            name,
            date_sec: raw.date_sec.get(),
            date_nsec: raw.date_nsec.get(),
            vm_clock_nsec: raw.vm_clock_nsec.get(),
            vm_state_size_32: raw.vm_state_size.get(),
            extra,
        };
        Ok((record, consumed))
    }

    /// The bytes of the record without padding.
    ///
    /// # Errors
    /// [`RecordError::TooLong`], [`RecordError::ExtraTooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let short = |field, bytes: &[u8]| {
            let length = bytes.len();
            u16::try_from(length).map_err(|_| RecordError::TooLong { field, length })
        };
        let extra = u32::try_from(self.extra.len()).unwrap_or(u32::MAX);
        if extra > MAX_SNAPSHOT_EXTRA_BYTES {
            return Err(RecordError::ExtraTooLarge { size: extra });
        }
        let raw = RawSnapshot {
            l1_table_offset: self.l1_table_offset.get().into(),
            l1_size: self.l1_size.into(),
            id_size: short("snapshot id", &self.id)?.into(),
            name_size: short("snapshot name", &self.name)?.into(),
            date_sec: self.date_sec.into(),
            date_nsec: self.date_nsec.into(),
            vm_clock_nsec: self.vm_clock_nsec.into(),
            vm_state_size: self.vm_state_size_32.into(),
            extra_data_size: extra.into(),
        };
        Ok([raw.as_bytes(), &self.extra, &self.id, &self.name].concat())
    }

    /// Bytes of VM state: the 64-bit field if it is there, else the 32-bit one.
    #[must_use]
    pub fn vm_state_size(&self) -> u64 {
        self.extra_field(0).unwrap_or(self.vm_state_size_32.into())
    }

    /// The size of the disk in bytes when the snapshot was taken; `None` in old records, which mean
    /// the present size.
    #[must_use]
    pub fn disk_size(&self) -> Option<u64> {
        self.extra_field(8)
    }

    /// The count of executed instructions, where it was recorded.
    #[must_use]
    pub fn icount(&self) -> Option<u64> {
        self.extra_field(16).filter(|icount| *icount != u64::MAX)
    }

    /// Checks what must hold before the L1 table is read.
    ///
    /// # Errors
    /// [`RecordError::L1TooLarge`], [`RecordError::TableOffset`].
    pub const fn validate_l1(&self, geometry: Geometry) -> Result<(), RecordError> {
        if self.l1_size as u64 > MAX_L1_ENTRIES {
            return Err(RecordError::L1TooLarge { entries: self.l1_size });
        }
        let offset = self.l1_table_offset;
        if !geometry.is_aligned(offset)
            || offset.get() > MAX_FILE_BYTES - self.l1_size as u64 * 8
            || (offset.get() == 0 && self.l1_size != 0)
        {
            return Err(RecordError::TableOffset { offset });
        }
        Ok(())
    }

    fn extra_field(&self, at: usize) -> Option<u64> {
        let field = self.extra.get(at..)?.first_chunk::<8>()?;
        Some(u64::from_be_bytes(*field))
    }
}
