//! Persistent dirty bitmaps of an open image.

use holstein_bitmap::{DirtyBitmap, Granularity};
use holstein_engine::BitmapInfo;

use crate::{Error, Image, ReadOnlyImage};

macro_rules! listing_bitmaps {
    ($image:ident) => {
        impl $image {
            /// The dirty bitmaps of the image, in their order.
            ///
            /// # Errors
            /// [`crate::ErrorKind::Corrupt`] if their directory is broken; [`crate::ErrorKind::Io`].
            pub fn bitmaps(&self) -> Result<Vec<BitmapInfo>, Error> {
                Ok(self.disk.bitmaps()?)
            }

            /// A copy of a bitmap as it is now.
            ///
            /// To copy what changed while the image is written to: take the bitmap, clear it, and then
            /// read what it says is dirty. What is written meanwhile is in the bitmap again.
            ///
            /// # Errors
            /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Corrupt`] for one that is
            /// inconsistent; [`crate::ErrorKind::Io`].
            pub fn bitmap(&self, name: impl AsRef<[u8]>) -> Result<DirtyBitmap, Error> {
                Ok(self.disk.bitmap(name.as_ref())?)
            }

            /// Whether the byte at `at` is dirty in a bitmap, and for how many bytes that stays so: at
            /// most `len`, and at most to the end of the disk. Nothing past the end.
            ///
            /// With this a range is walked while the image is in use.
            ///
            /// # Errors
            /// As for [`Self::bitmap`].
            pub fn bitmap_extent(
                &self,
                name: impl AsRef<[u8]>,
                at: u64,
                len: u64,
            ) -> Result<Option<(bool, u64)>, Error> {
                Ok(self.disk.bitmap_extent(name.as_ref(), at, len)?)
            }
        }
    };
}

listing_bitmaps!(Image);
listing_bitmaps!(ReadOnlyImage);

/// Bitmaps record what is written through this library, and are in the file once the image is closed.
/// Until then, and after a crash, the file says that they are inconsistent.
///
/// ```
/// use std::sync::Arc;
///
/// use holstein::storage::MemStorage;
/// use holstein::{CreateOptions, Granularity, OpenOptions};
///
/// let file = Arc::new(MemStorage::new());
/// let image = CreateOptions::new(1 << 20).create_on(file.clone())?;
/// image.add_bitmap("since-monday", Granularity::for_clusters(image.cluster_size()), true)?;
/// image.write_at(70_000, b"hello")?;
/// image.close()?;
///
/// let image = OpenOptions::new().open_storage_read_only(file)?;
/// let written = image.bitmap("since-monday")?;
/// assert_eq!(written.extents().collect::<Vec<_>>(), [(65_536, 65_536)]);
/// # Ok::<(), holstein::Error>(())
/// ```
impl Image {
    /// Adds a clean bitmap. The file lists it once the image is closed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for a name that is taken or cannot be, and for a bitmap that
    /// would be too large; [`crate::ErrorKind::Unsupported`] for an image of version 2.
    pub fn add_bitmap(
        &self,
        name: impl AsRef<[u8]>,
        granularity: Granularity,
        recording: bool,
    ) -> Result<(), Error> {
        Ok(self.disk.add_bitmap(name.as_ref(), granularity, recording)?)
    }

    /// Removes a bitmap, an inconsistent one too, durably.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Io`].
    pub fn remove_bitmap(&self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        Ok(self.disk.remove_bitmap(name.as_ref())?)
    }

    /// Marks all of a bitmap as clean.
    ///
    /// # Errors
    /// As for [`Self::bitmap`].
    pub fn clear_bitmap(&self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        Ok(self.disk.clear_bitmap(name.as_ref())?)
    }

    /// Says whether a bitmap records what is written from now on.
    ///
    /// # Errors
    /// As for [`Self::bitmap`].
    pub fn record_in_bitmap(&self, name: impl AsRef<[u8]>, on: bool) -> Result<(), Error> {
        Ok(self.disk.record_in_bitmap(name.as_ref(), on)?)
    }

    /// Marks as dirty in a bitmap what is dirty in `other`, which may be of another image and of another
    /// granularity.
    ///
    /// # Errors
    /// As for [`Self::bitmap`]; [`crate::ErrorKind::InvalidInput`] for disks of different sizes.
    pub fn merge_bitmap(&self, name: impl AsRef<[u8]>, other: &DirtyBitmap) -> Result<(), Error> {
        Ok(self.disk.merge_bitmap(name.as_ref(), other)?)
    }
}
