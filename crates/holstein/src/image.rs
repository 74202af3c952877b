//! Open images.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holstein_engine::{CompressedData, Disk, DiskExtent, NoProgress, Preallocation, Progress};
use holstein_format::Header;
use holstein_luks::{Limits, MasterKey};
use holstein_storage::Storage;

use crate::Error;
use crate::chain::Chain;

macro_rules! reading {
    ($image:ident) => {
        impl $image {
            /// The header: what the image says of itself, with the tables where they are now.
            #[must_use]
            pub fn header(&self) -> Header {
                self.disk.header()
            }

            /// The size of the disk in bytes.
            #[must_use]
            pub fn virtual_size(&self) -> u64 {
                self.disk.size()
            }

            /// Bytes of a cluster.
            #[must_use]
            pub fn cluster_size(&self) -> u64 {
                self.disk.geometry().cluster_size()
            }

            /// Fills `into` from byte `at` of the disk on.
            ///
            /// # Concurrency
            /// Where the tables are in memory this is one system call for each stretch of clusters
            /// that are adjacent in the file, without a lock.
            ///
            /// # Errors
            /// [`crate::ErrorKind::OutOfRange`] past the end; [`crate::ErrorKind::Corrupt`];
            /// [`crate::ErrorKind::Io`].
            #[inline]
            pub fn read_at(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
                Ok(self.disk.read_at(at, into)?)
            }

            /// Fills the buffers of `into`, in order, from byte `at` of the disk on.
            ///
            /// # Errors
            /// As for [`Self::read_at`].
            pub fn read_vectored_at(
                &self,
                at: u64,
                into: &mut [IoSliceMut<'_>],
            ) -> Result<(), Error> {
                Ok(self.disk.read_vectored_at(at, into)?)
            }

            /// What the disk is made of at byte `at`: the extent that begins there, at most `len`
            /// bytes, merged as far as it is alike and contiguous.
            ///
            /// # Errors
            /// As for [`Self::read_at`].
            pub fn extent_at(&self, at: u64, len: u64) -> Result<DiskExtent, Error> {
                Ok(self.disk.extent_at(at, len)?)
            }

            /// Reads what the image itself holds at byte `at`, at most to the end of `into`; the
            /// backing is not asked.
            ///
            /// # Errors
            /// As for [`Self::read_at`].
            pub fn read_own(&self, at: u64, into: &mut [u8]) -> Result<$crate::OwnRead, Error> {
                Ok(self.disk.read_own(at, into)?)
            }

            /// The file that holds the image.
            #[must_use]
            pub fn storage(&self) -> &Arc<dyn Storage> {
                self.disk.storage()
            }
        }
    };
}

pub(crate) use reading;

macro_rules! over_a_chain {
    ($image:ident) => {
        impl $image {
            /// The disks under the image, where it was opened with them as a chain.
            #[must_use]
            pub fn chain(&self) -> Option<&Arc<Chain>> {
                self.chain.as_ref()
            }

            /// Notes the chain.
            pub(crate) fn over(mut self, chain: Option<Arc<Chain>>) -> Self {
                self.chain = chain;
                self
            }
        }
    };
}

/// An image that is open for reading.
#[derive(Debug)]
pub struct ReadOnlyImage {
    pub(crate) disk: Disk,
    chain: Option<Arc<Chain>>,
}

/// An image that is open for reading and writing.
///
/// What was written is durable after [`Image::flush`]. [`Image::close`] flushes and leaves no leaks;
/// dropping does the same, but cannot say whether it worked.
#[derive(Debug)]
pub struct Image {
    pub(crate) disk: Disk,
    chain: Option<Arc<Chain>>,
    /// That of an image under LUKS.
    key: Option<(MasterKey, Limits)>,
    /// Cleared by [`Image::close`], so that dropping does not close again.
    open: AtomicBool,
}

reading!(ReadOnlyImage);
reading!(Image);
over_a_chain!(ReadOnlyImage);
over_a_chain!(Image);

impl ReadOnlyImage {
    pub(crate) fn new(disk: Disk) -> Self {
        Self { disk, chain: None }
    }
}

impl Image {
    pub(crate) fn new(disk: Disk) -> Self {
        Self { disk, chain: None, key: None, open: AtomicBool::new(true) }
    }

    /// Keeps the key that opened it.
    pub(crate) fn with_key(mut self, key: Option<(MasterKey, Limits)>) -> Self {
        self.key = key;
        self
    }

    pub(crate) fn key(&self) -> Option<&(MasterKey, Limits)> {
        self.key.as_ref()
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The image is open as this disk from now on.
    pub(crate) fn replace_disk(&mut self, disk: Disk) {
        self.disk = disk;
    }

    /// Writes `from` at byte `at` of the disk.
    ///
    /// # Concurrency
    /// Where the clusters are the disk's own already this is one system call without a lock.
    ///
    /// # Errors
    /// [`crate::ErrorKind::OutOfRange`] past the end; [`crate::ErrorKind::Corrupt`], which also
    /// marks the image; [`crate::ErrorKind::Full`]; [`crate::ErrorKind::Io`]. After an error each
    /// sector of the range has its old or its new content.
    #[inline]
    pub fn write_at(&self, at: u64, from: &[u8]) -> Result<(), Error> {
        Ok(self.disk.write_at(at, from)?)
    }

    /// Writes the buffers of `from`, in order, at byte `at` of the disk.
    ///
    /// # Errors
    /// As for [`Self::write_at`].
    pub fn write_vectored_at(&self, at: u64, from: &[IoSlice<'_>]) -> Result<(), Error> {
        Ok(self.disk.write_vectored_at(at, from)?)
    }

    /// Compresses whole clusters and writes them, each to a cluster that has no data yet. One that
    /// compressing does not make smaller is written as it is.
    ///
    /// * `at`, `from`: from a cluster's first byte to a cluster's last, or to the end of the disk.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use holstein::{CreateOptions, storage::MemStorage};
    ///
    /// let image = CreateOptions::new(1 << 20).create_on(Arc::new(MemStorage::new()))?;
    /// let cluster = vec![7; 65_536];
    /// image.write_compressed_at(0, &cluster)?;
    /// assert!(image.extent_at(0, 65_536)?.compressed);
    /// let mut found = vec![0; 65_536];
    /// image.read_at(0, &mut found)?;
    /// assert_eq!(found, cluster);
    /// // Compressing over data is refused; any normal write is not.
    /// assert!(image.write_compressed_at(0, &cluster).is_err());
    /// image.write_at(100, b"hello")?;
    /// # Ok::<(), holstein::Error>(())
    /// ```
    ///
    /// # Concurrency
    /// Runs on the caller's thread and takes no lock while it compresses: to use several processors,
    /// call it from several threads.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for parts of clusters, and for a cluster that has data
    /// already, with those before it written; as for [`Self::write_at`].
    pub fn write_compressed_at(&self, at: u64, from: &[u8]) -> Result<(), Error> {
        Ok(self.disk.write_compressed_at(at, from)?)
    }

    /// The first half of [`Self::write_compressed_at`]: compresses and writes nothing. So clusters
    /// that have to be placed in a certain order can be compressed in any.
    ///
    /// # Errors
    /// As for [`Self::write_compressed_at`], but for what writing comes to.
    pub fn compress<'a>(&self, at: u64, from: &'a [u8]) -> Result<CompressedData<'a>, Error> {
        Ok(self.disk.compress(at, from)?)
    }

    /// The second half of [`Self::write_compressed_at`]: places what was compressed.
    ///
    /// # Errors
    /// As for [`Self::write_compressed_at`].
    pub fn write_compressed(&self, data: &CompressedData<'_>) -> Result<(), Error> {
        Ok(self.disk.write_compressed(data)?)
    }

    /// Makes a range read as zeros; with `unmap` its space may be given up.
    ///
    /// # Errors
    /// As for [`Self::write_at`].
    pub fn write_zeroes(&self, at: u64, len: u64, unmap: bool) -> Result<(), Error> {
        Ok(self.disk.write_zeroes(at, len, unmap)?)
    }

    /// Says that a range is not needed any more: its whole clusters read as zeros and give up their
    /// space. What is less than a cluster stays.
    ///
    /// # Errors
    /// As for [`Self::write_at`].
    pub fn discard(&self, at: u64, len: u64) -> Result<(), Error> {
        Ok(self.disk.discard(at, len)?)
    }

    /// Gives up every cluster of the disk, durably: all of it shows the backing from now on, or
    /// zeros. Snapshots keep what they have, and the file ends behind what is left.
    ///
    /// # Errors
    /// As for [`Image::write_at`] and [`Image::flush`].
    pub fn make_empty(&self) -> Result<(), Error> {
        Ok(self.disk.empty()?)
    }

    /// Changes the header; see [`Disk::update_header`].
    pub(crate) fn change_header(&self, change: impl FnOnce(&mut Header)) -> Result<(), Error> {
        Ok(self.disk.update_header(change)?)
    }

    /// Makes everything that was written before this call durable.
    ///
    /// # Concurrency
    /// Flushes that come at the same time share the work.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`]; after a failed flush no later one reports success.
    pub fn flush(&self) -> Result<(), Error> {
        Ok(self.disk.flush()?)
    }

    /// Grows the disk to `size` bytes, a multiple of 512. The new range reads as zeros.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`], for a smaller size as well; I/O, in which case the old
    /// size stays.
    pub fn resize(&self, size: u64, preallocation: Preallocation) -> Result<(), Error> {
        self.resize_with(size, preallocation, &mut NoProgress)
    }

    /// As [`Self::resize`]; `progress` hears how many bytes of the new range have their space, where there is
    /// preallocation.
    ///
    /// # Errors
    /// As for [`Self::resize`].
    pub fn resize_with(
        &self,
        size: u64,
        preallocation: Preallocation,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        Ok(self.disk.resize(size, preallocation, progress)?)
    }

    /// Cuts the disk to `size` bytes, a multiple of 512. What lay past it is lost, and never seen
    /// again if the disk grows later.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`], for a larger size as well; I/O. Once the size has changed
    /// an error means that space past it may still be in use.
    pub fn shrink(&self, size: u64) -> Result<(), Error> {
        Ok(self.disk.shrink(size)?)
    }

    /// Flushes, stores the bitmaps, and leaves no cluster counted that nothing references.
    ///
    /// # Errors
    /// As for [`Self::flush`]; where only the bitmaps could not be stored, [`Error::lost_bitmap`] tells.
    pub fn close(self) -> Result<(), Error> {
        self.open.store(false, Ordering::Release);
        let result = self.disk.close();
        Ok(result?)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.open.load(Ordering::Acquire) {
            let _ = self.disk.close();
        }
    }
}
