//! Giving memory of metadata caches back to the system.

use std::sync::{Arc, Weak};

use holstein_cache::TableCache;

use crate::{Image, ReadOnlyImage};

/// Drops what the metadata caches of an image hold and nobody has used for a while.
///
/// Whoever wants memory back calls [`CacheTrimmer::trim`] now and then, from any thread, while the image
/// is in use. A trimmer does not keep the image open; once that is closed, or made anew by
/// [`Image::amend`], it does nothing.
///
/// ```
/// use std::sync::Arc;
///
/// use holstein::CreateOptions;
/// use holstein::storage::MemStorage;
///
/// let image = CreateOptions::new(1 << 20).create_on(Arc::new(MemStorage::new()))?;
/// image.write_at(0, b"hello")?;
/// image.flush()?;
/// let trimmer = image.cache_trimmer();
/// trimmer.trim(); // what was used since the last time stays
/// trimmer.trim();
/// assert_eq!(image.cached_tables(), 0);
/// # Ok::<(), holstein::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CacheTrimmer {
    caches: [Weak<TableCache>; 2],
}

impl CacheTrimmer {
    /// Drops the tables that were not used since the last call, and gives their memory back to the
    /// system. Tables that are not written back yet stay.
    pub fn trim(&self) {
        for cache in self.caches.iter().filter_map(Weak::upgrade) {
            cache.trim();
        }
    }
}

macro_rules! trimming {
    ($image:ident) => {
        impl $image {
            /// What gives memory of the metadata caches back.
            #[must_use]
            pub fn cache_trimmer(&self) -> CacheTrimmer {
                CacheTrimmer { caches: self.disk.table_caches().map(Arc::downgrade) }
            }

            /// How many L2 slices and refcount blocks are in memory.
            #[must_use]
            pub fn cached_tables(&self) -> u64 {
                self.disk.table_caches().map(|cache| cache.tables()).iter().sum()
            }
        }
    };
}

trimming!(Image);
trimming!(ReadOnlyImage);
