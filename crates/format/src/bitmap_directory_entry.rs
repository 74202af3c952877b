//! Entries of the bitmap directory.

use alloc::vec::Vec;

use crate::limits::{
    MAX_BITMAP_BYTES, MAX_BITMAP_GRANULARITY_BITS, MAX_BITMAP_NAME_BYTES, MAX_BITMAP_TABLE_ENTRIES,
    MAX_FILE_BYTES, MIN_BITMAP_GRANULARITY_BITS,
};
use crate::record_error::RecordError;
use holstein_units::{Geometry, HostOffset};
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// On disk: the fixed part of an entry.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawBitmap {
    table_offset: U64,
    table_size: U32,
    flags: U32,
    kind: u8,
    granularity_bits: u8,
    name_size: U16,
    extra_data_size: U32,
}

/// Flags of a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct BitmapFlags(pub u32);

impl BitmapFlags {
    /// Not saved cleanly: bits, other flags and the size may be stale.
    pub const IN_USE: Self = Self(1);
    /// Records every write from the opening of the image on.
    pub const AUTO: Self = Self(2);

    /// The bitmap may be used by those who do not know its extra data, if they keep that as it is.
    pub const EXTRA_DATA_COMPATIBLE: Self = Self(4);

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags without a known meaning.
    #[must_use]
    pub const fn unknown(self) -> u32 {
        self.0 & !(Self::IN_USE.0 | Self::AUTO.0 | Self::EXTRA_DATA_COMPATIBLE.0)
    }
}

/// One entry of the bitmap directory, known or not, byte for byte but for the padding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BitmapDirectoryEntry {
    /// Where the bitmap's table is.
    pub table_offset: HostOffset,
    /// Entries of the table.
    pub table_size: u32,
    /// In use, auto, and perhaps unknown ones.
    pub flags: BitmapFlags,
    /// 1 for dirty tracking.
    pub kind: u8,
    /// The binary logarithm of the guest bytes that a bit stands for.
    pub granularity_bits: u8,
    /// Data of unknown meaning.
    pub extra: Vec<u8>,
    /// The name, of unknown encoding.
    pub name: Vec<u8>,
}

impl BitmapDirectoryEntry {
    /// Bytes of the fixed part, the least that an entry takes.
    pub const FIXED_BYTES: usize = size_of::<RawBitmap>();
    /// The type of dirty tracking bitmaps.
    pub const DIRTY_TRACKING: u8 = 1;

    /// Reads the entry at the start of `bytes` and returns it with its length, padding included.
    ///
    /// Only what is needed to step on is judged, so that unknown bitmaps can be kept; see
    /// [`BitmapDirectoryEntry::validate`]. Allocates no more than `bytes` holds.
    ///
    /// # Errors
    /// [`RecordError::Truncated`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), RecordError> {
        let available = bytes.len();
        let truncated = |needed| RecordError::Truncated { needed, available };
        let (raw, rest) =
            RawBitmap::read_from_prefix(bytes).map_err(|_| truncated(Self::FIXED_BYTES))?;
        let extra = usize::try_from(raw.extra_data_size.get()).unwrap_or(usize::MAX);
        let name = usize::from(raw.name_size.get());
        let length = Self::FIXED_BYTES
            .checked_add(extra)
            .and_then(|length| length.checked_add(name))
            .and_then(|length| length.checked_next_multiple_of(8))
            .ok_or(truncated(usize::MAX))?;
        if length > available {
            return Err(truncated(length));
        }
        let (extra, rest) = rest.split_at_checked(extra).ok_or(truncated(length))?;
        let name = rest.get(..name).ok_or(truncated(length))?;
        let entry = Self {
            table_offset: HostOffset::new(raw.table_offset.get()),
            table_size: raw.table_size.get(),
            flags: BitmapFlags(raw.flags.get()),
            kind: raw.kind,
            granularity_bits: raw.granularity_bits,
            extra: extra.to_vec(),
            name: name.to_vec(),
        };
        Ok((entry, length))
    }

    /// The bytes of the entry with its padding.
    ///
    /// # Errors
    /// [`RecordError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let (name, extra) = (self.name.len(), self.extra.len());
        let raw = RawBitmap {
            table_offset: self.table_offset.get().into(),
            table_size: self.table_size.into(),
            flags: self.flags.0.into(),
            kind: self.kind,
            granularity_bits: self.granularity_bits,
            name_size: u16::try_from(name)
                .map_err(|_| RecordError::TooLong { field: "bitmap name", length: name })?
                .into(),
            extra_data_size: u32::try_from(extra)
                .map_err(|_| RecordError::TooLong { field: "bitmap extra data", length: extra })?
                .into(),
        };
        let mut bytes = [raw.as_bytes(), &self.extra, &self.name].concat();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        Ok(bytes)
    }

    /// Checks the rules of a bitmap that can be used or at least counted: place and size of the
    /// table, flags, type, granularity, name, and for a cleanly saved one that it covers the disk of
    /// `size` bytes.
    ///
    /// # Errors
    /// The variants of [`RecordError`] that speak of tables and bitmaps.
    pub const fn validate(&self, geometry: Geometry, size: u64) -> Result<(), RecordError> {
        let entries = self.table_size;
        let offset = self.table_offset;
        if entries == 0
            || entries > MAX_BITMAP_TABLE_ENTRIES
            || entries as u64 * geometry.cluster_size() > MAX_BITMAP_BYTES
        {
            return Err(RecordError::BitmapTableSize { entries });
        }
        if offset.get() == 0
            || !geometry.is_aligned(offset)
            || offset.get() > MAX_FILE_BYTES - entries as u64 * 8
        {
            return Err(RecordError::TableOffset { offset });
        }
        if self.flags.unknown() != 0 {
            return Err(RecordError::BitmapFlags { flags: self.flags.unknown() });
        }
        if self.kind != Self::DIRTY_TRACKING {
            return Err(RecordError::BitmapKind { kind: self.kind });
        }
        if self.granularity_bits < MIN_BITMAP_GRANULARITY_BITS
            || self.granularity_bits > MAX_BITMAP_GRANULARITY_BITS
        {
            return Err(RecordError::BitmapGranularity { bits: self.granularity_bits });
        }
        let length = self.name.len();
        if length == 0 || length > MAX_BITMAP_NAME_BYTES as usize {
            return Err(RecordError::BitmapName { length });
        }
        if !self.extra.is_empty() && !self.flags.contains(BitmapFlags::EXTRA_DATA_COMPATIBLE) {
            return Err(RecordError::BitmapExtra { size: self.extra.len() });
        }
        // At most 2^29 bytes of 8 bits, each for at most 2^31 bytes: below 2^63.
        let covered = (entries as u64 * geometry.cluster_size() * 8) << self.granularity_bits;
        if !self.flags.contains(BitmapFlags::IN_USE) && size > covered {
            return Err(RecordError::BitmapTooSmall { entries, size });
        }
        Ok(())
    }
}
