//! Bits read from an image.

use std::collections::HashSet;

use holstein_format::{BitmapDirectoryEntry, BitmapFlags, BitmapTableEntry};
use holstein_units::{Geometry, HostOffset};

use crate::file::PIECE;
use crate::{ClusterBits, DirtyBitmap, Granularity, LoadError, ReadFile, table_entries};

/// Clusters that bitmaps were found to have: each belongs to one.
#[derive(Debug, Default)]
pub struct Claims(HashSet<u64>);

impl Claims {
    /// Notes the clusters that hold `bytes` bytes from `at` on.
    ///
    /// # Errors
    /// [`LoadError::Shared`] for one that is taken, by a bitmap or by something that `file` knows.
    pub fn claim<F: ReadFile>(
        &mut self,
        file: &F,
        geometry: Geometry,
        at: HostOffset,
        bytes: u64,
    ) -> Result<(), LoadError<F::Error>> {
        let first = geometry.host_cluster(at).get();
        for cluster in first..first.saturating_add(geometry.clusters_for(bytes)) {
            let at = geometry.host_offset(holstein_units::HostCluster::new(cluster));
            if file.is_taken(at) || !self.0.insert(cluster) {
                return Err(LoadError::Shared { at });
            }
        }
        Ok(())
    }

    /// Whether any of `count` clusters from `at` on was claimed.
    #[must_use]
    pub fn holds(&self, geometry: Geometry, at: HostOffset, count: u64) -> bool {
        let first = geometry.host_cluster(at).get();
        (first..first.saturating_add(count)).any(|cluster| self.0.contains(&cluster))
    }
}

/// Reads the bits of a bitmap of a disk of `size` bytes.
///
/// A cluster at a time; what was claimed before, by this bitmap or another, is not read again.
///
/// # Errors
/// [`LoadError`]: the bitmap must not be used then.
///
/// # Spec
/// "Bitmap table entry", "Life cycle".
pub fn load<F: ReadFile>(
    file: &F,
    geometry: Geometry,
    size: u64,
    entry: &BitmapDirectoryEntry,
    claims: &mut Claims,
) -> Result<DirtyBitmap, LoadError<F::Error>> {
    entry.validate(geometry, size).map_err(LoadError::Record)?;
    if entry.flags.contains(BitmapFlags::IN_USE) {
        return Err(LoadError::InUse);
    }
    let granularity = Granularity::from_bits(entry.granularity_bits)
        .expect("granularities of valid entries are within 9..=31");
    let needed = table_entries(geometry, granularity, size);
    if u64::from(entry.table_size) != needed {
        return Err(LoadError::TableSize { entries: entry.table_size, needed });
    }
    let mut bitmap = DirtyBitmap::new(size, granularity);
    let cluster = geometry.cluster_size();
    claims.claim(file, geometry, entry.table_offset, needed * 8)?;
    for_each_cluster(file, geometry, entry, |index, entry| {
        let bits = match entry {
            BitmapTableEntry::AllZeros => return Ok(()),
            BitmapTableEntry::AllOnes => ClusterBits::Ones,
            BitmapTableEntry::Data(at) => {
                claims.claim(file, geometry, at, cluster)?;
                if !file.holds_data(at, cluster) {
                    return Ok(());
                }
                let mut bytes =
                    vec![0; usize::try_from(cluster).expect("a cluster is at most 2 MiB")];
                file.read(at, &mut bytes).map_err(LoadError::File)?;
                ClusterBits::Data(bytes)
            }
        };
        bitmap.add_cluster(index, cluster, &bits);
        Ok(())
    })?;
    Ok(bitmap)
}

/// Walks the table of a bitmap whose place and length are valid, until `visit` fails.
///
/// # Errors
/// [`LoadError::Entry`]; [`LoadError::File`]; what `visit` fails with.
pub fn for_each_cluster<F: ReadFile>(
    file: &F,
    geometry: Geometry,
    entry: &BitmapDirectoryEntry,
    mut visit: impl FnMut(u64, BitmapTableEntry) -> Result<(), LoadError<F::Error>>,
) -> Result<(), LoadError<F::Error>> {
    let mut left = u64::from(entry.table_size) * 8;
    let mut at = entry.table_offset;
    let mut index = 0;
    let mut piece = Vec::new();
    while left > 0 {
        let now = left.min(PIECE as u64);
        piece.resize(usize::try_from(now).expect("at most a piece"), 0);
        file.read(at, &mut piece).map_err(LoadError::File)?;
        for raw in piece.chunks_exact(8) {
            let raw = u64::from_be_bytes(raw.try_into().expect("chunks of 8 bytes"));
            let entry = BitmapTableEntry::decode(raw, geometry)
                .map_err(|source| LoadError::Entry { index, source })?;
            visit(index, entry)?;
            index += 1;
        }
        at = at + now;
        left -= now;
    }
    Ok(())
}
