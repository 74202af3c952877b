//! The extension that leads to the bitmap directory.

use alloc::vec::Vec;

use crate::error::{BitmapsField, FormatError};
use crate::limits::{MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAPS, MAX_FILE_BYTES};
use holstein_units::{Geometry, HostOffset};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// On disk: 24 bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawBitmaps {
    nb_bitmaps: U32,
    reserved: U32,
    directory_size: U64,
    directory_offset: U64,
}

/// Where the bitmap directory is. Without the autoclear bit [`crate::AutoclearFeatures::BITMAPS`]
/// it is to be ignored, and its values have not been judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BitmapsExtension {
    /// Entries of the directory: 1..=65535.
    pub nb_bitmaps: u32,
    /// 0.
    pub reserved: u32,
    /// Bytes of the directory.
    pub directory_size: u64,
    /// Cluster aligned.
    pub directory_offset: HostOffset,
}

impl BitmapsExtension {
    pub(crate) fn decode(data: &[u8]) -> Result<Self, FormatError> {
        let raw = RawBitmaps::read_from_bytes(data).map_err(|_| FormatError::ExtensionLength {
            kind: crate::header_extension::BITMAPS,
            length: data.len(),
            expected: size_of::<RawBitmaps>(),
        })?;
        Ok(Self {
            nb_bitmaps: raw.nb_bitmaps.get(),
            reserved: raw.reserved.get(),
            directory_size: raw.directory_size.get(),
            directory_offset: HostOffset::new(raw.directory_offset.get()),
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        RawBitmaps {
            nb_bitmaps: self.nb_bitmaps.into(),
            reserved: self.reserved.into(),
            directory_size: self.directory_size.into(),
            directory_offset: self.directory_offset.get().into(),
        }
        .as_bytes()
        .to_vec()
    }

    /// Checks what must hold where the autoclear bit says that bitmaps are consistent.
    ///
    /// # Errors
    /// [`FormatError::BitmapsField`].
    pub const fn validate(&self, geometry: Geometry) -> Result<(), FormatError> {
        let (field, value) = if self.nb_bitmaps == 0 || self.nb_bitmaps > MAX_BITMAPS {
            (BitmapsField::Count, self.nb_bitmaps as u64)
        } else if self.reserved != 0 {
            (BitmapsField::Reserved, self.reserved as u64)
        } else if self.directory_size > MAX_BITMAP_DIRECTORY_BYTES || self.directory_size == 0 {
            (BitmapsField::DirectorySize, self.directory_size)
        } else if self.directory_offset.get() == 0
            || !geometry.is_aligned(self.directory_offset)
            || self.directory_offset.get() > MAX_FILE_BYTES - self.directory_size
        {
            (BitmapsField::DirectoryOffset, self.directory_offset.get())
        } else {
            return Ok(());
        };
        Err(FormatError::BitmapsField { field, value })
    }
}
