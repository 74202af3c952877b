//! Bits written to an image.

use holstein_format::BitmapTableEntry;
use holstein_format::limits::MAX_BITMAP_BYTES;
use holstein_units::{Geometry, HostOffset};

use crate::{BitmapError, ClusterBits, DirtyBitmap, Granularity, WriteFile};

/// Where the table of a stored bitmap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTable {
    /// Its first byte.
    pub at: HostOffset,
    /// Its entries.
    pub entries: u32,
}

/// Entries of the table of a bitmap for a disk of `size` bytes: clusters that its bits take.
#[must_use]
pub fn table_entries(geometry: Geometry, granularity: Granularity, size: u64) -> u64 {
    geometry.clusters_for(granularity.bits_for(size).div_ceil(8))
}

impl DirtyBitmap {
    /// Whether a bitmap with this granularity can be stored for a disk of `size` bytes.
    ///
    /// # Errors
    /// [`BitmapError::TooLarge`] past 512 MiB of bits; [`BitmapError::EmptyDisk`], as the format knows no
    /// empty table.
    pub fn check_size(granularity: Granularity, size: u64) -> Result<(), BitmapError> {
        if size == 0 {
            return Err(BitmapError::EmptyDisk);
        }
        if granularity.bits_for(size).div_ceil(8) > MAX_BITMAP_BYTES {
            return Err(BitmapError::TooLarge { granularity: granularity.bytes(), size });
        }
        Ok(())
    }
}

/// Writes the bits and the table of a bitmap to new clusters; nothing names them yet.
///
/// A cluster without a bit, or with nothing but bits, takes no space.
///
/// # Errors
/// Whatever `file` fails with; what it allocated is for it to give back.
///
/// # Spec
/// "Life cycle".
pub fn store<F: WriteFile>(
    file: &mut F,
    geometry: Geometry,
    bitmap: &DirtyBitmap,
) -> Result<StoredTable, F::Error> {
    let cluster = geometry.cluster_size();
    let entries = table_entries(geometry, bitmap.granularity(), bitmap.size());
    let mut table = Vec::new();
    for index in 0..entries {
        let entry = match bitmap.cluster(index, cluster) {
            ClusterBits::Zeros => BitmapTableEntry::AllZeros,
            ClusterBits::Ones => BitmapTableEntry::AllOnes,
            ClusterBits::Data(bytes) => {
                let at = file.allocate(1)?;
                file.write(at, &bytes)?;
                BitmapTableEntry::Data(at)
            }
        };
        table.extend_from_slice(&entry.encode().to_be_bytes());
    }
    let at = file.allocate(geometry.clusters_for(table.len() as u64))?;
    file.write(at, &table)?;
    Ok(StoredTable { at, entries: u32::try_from(entries).expect("at most 512 MiB of clusters") })
}
