//! How much memory the tables may take: QEMU's cache options and their arithmetic.

use holstein_units::Geometry;

/// L2 cache ceiling when no option says otherwise: 32 MiB.
const DEFAULT_L2_CACHE: u64 = 32 << 20;
/// Slices never get smaller than this by themselves: 4 KiB.
const DEFAULT_SLICE: u64 = 4096;
/// Refcount blocks that table growth needs at once.
const MIN_REFCOUNT_BLOCKS: u64 = 4;
/// L2 slices that a copy needs at once.
const MIN_L2_SLICES: u64 = 2;

/// Options `cache-size`, `l2-cache-size`, `refcount-cache-size`, `l2-cache-entry-size`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CacheSizes {
    /// Both caches together.
    pub total: Option<u64>,
    /// The L2 cache.
    pub l2: Option<u64>,
    /// The refcount block cache.
    pub refcount: Option<u64>,
    /// One L2 slice: a power of two from 512 to the cluster size.
    pub l2_slice: Option<u64>,
}

/// Options that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheSizeError {
    /// All three are set.
    #[error("cache-size, l2-cache-size and refcount-cache-size may not be set at the same time")]
    AllSet,
    /// A part is larger than the whole.
    #[error("l2-cache-size may not exceed cache-size")]
    L2AboveTotal,
    /// A part is larger than the whole.
    #[error("refcount-cache-size may not exceed cache-size")]
    RefcountAboveTotal,
    /// Not a power of two from 512 to the cluster size.
    #[error(
        "L2 cache entry size must be a power of two between 512 and the cluster size ({cluster_size})"
    )]
    SliceSize {
        /// The cluster size in bytes.
        cluster_size: u64,
    },
    /// More slices than can be counted.
    #[error("L2 cache size too big")]
    L2TooBig,
    /// More blocks than can be counted.
    #[error("Refcount cache size too big")]
    RefcountTooBig,
}

/// What the options mean for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedSizes {
    /// Bytes of an L2 slice.
    pub l2_slice: u64,
    /// L2 slices that may be in memory.
    pub l2_slices: u64,
    /// Refcount blocks that may be in memory.
    pub refcount_blocks: u64,
}

impl CacheSizes {
    /// Applies the options to an image with a disk of `virtual_size` bytes.
    ///
    /// # Errors
    /// [`CacheSizeError`] for options that contradict each other.
    pub fn resolve(
        &self,
        geometry: Geometry,
        virtual_size: u64,
    ) -> Result<ResolvedSizes, CacheSizeError> {
        let cluster = geometry.cluster_size();
        let max_l2 = geometry
            .l1_entries_for(virtual_size)
            .saturating_mul(cluster)
            .min(geometry.clusters_for(virtual_size).saturating_mul(geometry.l2_entry_size()))
            .div_ceil(cluster)
            .saturating_mul(cluster);
        let min_refcount = MIN_REFCOUNT_BLOCKS * cluster;
        let (l2, refcount) = match (self.total, self.l2, self.refcount) {
            (Some(_), Some(_), Some(_)) => return Err(CacheSizeError::AllSet),
            (Some(total), Some(l2), None) => {
                (l2, total.checked_sub(l2).ok_or(CacheSizeError::L2AboveTotal)?)
            }
            (Some(total), None, Some(refcount)) => {
                let l2 = total.checked_sub(refcount).ok_or(CacheSizeError::RefcountAboveTotal)?;
                (l2, refcount)
            }
            (Some(total), None, None) if total >= max_l2.saturating_add(min_refcount) => {
                (max_l2, total - max_l2)
            }
            (Some(total), None, None) => {
                let refcount = total.min(min_refcount);
                (total - refcount, refcount)
            }
            (None, l2, refcount) => {
                (l2.unwrap_or(DEFAULT_L2_CACHE), refcount.unwrap_or(min_refcount))
            }
        };
        let l2 = l2.min(max_l2.max(cluster));
        let l2_slice = match self.l2_slice {
            Some(n) if n.is_power_of_two() && n >= 512 && n <= cluster => n,
            Some(_) => return Err(CacheSizeError::SliceSize { cluster_size: cluster }),
            None if l2 >= max_l2 => cluster,
            None => cluster.min(DEFAULT_SLICE),
        };
        let countable = |n: u64| i32::try_from(n).is_ok();
        if !countable(l2 / l2_slice) {
            return Err(CacheSizeError::L2TooBig);
        }
        if !countable(refcount / cluster) {
            return Err(CacheSizeError::RefcountTooBig);
        }
        Ok(ResolvedSizes {
            l2_slice,
            l2_slices: (l2 / l2_slice).max(MIN_L2_SLICES),
            refcount_blocks: (refcount / cluster).max(MIN_REFCOUNT_BLOCKS),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holstein_units::ClusterBits;

    fn geometry(bits: u32) -> Geometry {
        Geometry::new(ClusterBits::new(bits).expect("test bits are in range"), false)
    }

    #[test]
    fn whole_tables_while_the_cache_covers_the_disk_and_slices_after() {
        let g = geometry(16);
        let small = CacheSizes::default().resolve(g, 64 << 30).expect("defaults are consistent");
        assert_eq!((small.l2_slice, small.l2_slices), (65_536, 128));
        let large = CacheSizes::default().resolve(g, 1 << 40).expect("defaults are consistent");
        assert_eq!((large.l2_slice, large.l2_slices), (4096, 8192));
        assert_eq!(large.refcount_blocks, 4);
        let none = CacheSizes { l2: Some(1), refcount: Some(1), ..CacheSizes::default() };
        let least = none.resolve(g, 1 << 40).expect("sizes below the least are raised");
        assert_eq!((least.l2_slices, least.refcount_blocks), (2, 4));
    }

    #[test]
    fn caches_have_at_most_as_many_tables_as_can_be_counted() {
        let resolve = |bits, size, sizes: CacheSizes| sizes.resolve(geometry(bits), size);
        let refcount = CacheSizes { refcount: Some(256 << 40), ..CacheSizes::default() };
        assert_eq!(resolve(16, 1 << 30, refcount), Err(CacheSizeError::RefcountTooBig));
        let l2 = CacheSizes { l2: Some(1 << 40), l2_slice: Some(512), ..CacheSizes::default() };
        assert_eq!(resolve(18, 1 << 55, l2), Err(CacheSizeError::L2TooBig));
        assert!(resolve(18, 1 << 30, l2).is_ok(), "no more than the disk needs");
    }

    #[test]
    fn the_total_is_shared_as_documented() {
        let g = geometry(16);
        let sizes = |total, l2, refcount| CacheSizes { total, l2, refcount, l2_slice: None };
        let r = sizes(Some(2 << 20), None, None).resolve(g, 1 << 30).expect("consistent");
        assert_eq!((r.l2_slices, r.refcount_blocks), (2, (2 << 20) / 65_536 - 2));
        let r = sizes(Some(1 << 20), None, None).resolve(g, 1 << 40).expect("consistent");
        assert_eq!((r.l2_slice, r.refcount_blocks), (4096, 4));
        assert_eq!(
            sizes(Some(1), Some(1), Some(1)).resolve(g, 1 << 30),
            Err(CacheSizeError::AllSet)
        );
        assert_eq!(
            sizes(Some(1), Some(2), None).resolve(g, 1 << 30),
            Err(CacheSizeError::L2AboveTotal)
        );
        assert_eq!(
            sizes(Some(1), None, Some(2)).resolve(g, 1 << 30),
            Err(CacheSizeError::RefcountAboveTotal)
        );
    }

    #[test]
    fn slices_are_powers_of_two_within_a_cluster() {
        let g = geometry(12);
        for bad in [0, 256, 1000, 8192] {
            let sizes = CacheSizes { l2_slice: Some(bad), ..CacheSizes::default() };
            assert!(sizes.resolve(g, 1 << 30).is_err(), "{bad}");
        }
    }
}
