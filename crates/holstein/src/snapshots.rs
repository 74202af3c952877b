//! Internal snapshots of an open image.

use std::io::IoSliceMut;
use std::sync::Arc;

use holstein_engine::{Disk, DiskExtent, NoProgress, Progress, SnapshotLease};
use holstein_format::{Header, SnapshotRecord};
use holstein_snapshot::{NewSnapshot, SnapshotSelector};
use holstein_storage::Storage;

use crate::image::reading;
use crate::{Error, Image, ReadOnlyImage};

/// A snapshot that is open for reading, without being applied.
///
/// It stays as it is while the image is written to; it may be sent to other threads, and outlive the
/// image. While it lives, deleting the snapshot answers [`crate::ErrorKind::Busy`].
///
/// ```
/// use std::sync::Arc;
///
/// use holstein::CreateOptions;
/// use holstein::storage::MemStorage;
///
/// let image = CreateOptions::new(1 << 20).create_on(Arc::new(MemStorage::new()))?;
/// image.write_at(0, b"old")?;
/// image.create_snapshot("before")?;
/// image.write_at(0, b"new")?;
///
/// let before = image.snapshot_reader("before")?;
/// let mut bytes = [0; 3];
/// before.read_at(0, &mut bytes)?;
/// assert_eq!(&bytes, b"old");
/// drop(before);
///
/// image.apply_snapshot("before")?;
/// image.read_at(0, &mut bytes)?;
/// assert_eq!(&bytes, b"old");
/// image.delete_snapshot("before")?;
/// image.close()?;
/// # Ok::<(), holstein::Error>(())
/// ```
#[derive(Debug)]
pub struct SnapshotReader {
    disk: Disk,
    record: SnapshotRecord,
    _lease: SnapshotLease,
}

reading!(SnapshotReader);

impl SnapshotReader {
    fn open(disk: &Disk, which: SnapshotSelector<'_>, size: Option<u64>) -> Result<Self, Error> {
        let (disk, record, lease) = disk.open_snapshot(which, size)?;
        Ok(Self { disk, record, _lease: lease })
    }

    /// What the list of snapshots says of this one.
    #[must_use]
    pub fn record(&self) -> &SnapshotRecord {
        &self.record
    }

    /// Fills `into` from byte `at` of the VM state on; how much there is, the record tells.
    ///
    /// # Errors
    /// As for [`Self::read_at`].
    pub fn read_vm_state(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        Ok(self.disk.read_vm_state(at, into)?)
    }
}

macro_rules! listing {
    ($image:ident) => {
        impl $image {
            /// The internal snapshots in the order of their list.
            ///
            /// # Errors
            /// [`crate::ErrorKind::Corrupt`] if the list is broken; [`crate::ErrorKind::Io`].
            pub fn snapshots(&self) -> Result<Vec<SnapshotRecord>, Error> {
                Ok(self.disk.snapshots()?)
            }

            /// Opens a snapshot for reading. It has the size that the disk had then.
            ///
            /// * `which`: a word is an ID, or else a name.
            ///
            /// # Errors
            /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Corrupt`];
            /// [`crate::ErrorKind::Io`].
            pub fn snapshot_reader<'a>(
                &self,
                which: impl Into<SnapshotSelector<'a>>,
            ) -> Result<SnapshotReader, Error> {
                SnapshotReader::open(&self.disk, which.into(), None)
            }

            /// As [`Self::snapshot_reader`], but with the size that the disk has now: what lies past
            /// the snapshot's own size is undefined.
            ///
            /// # Errors
            /// As for [`Self::snapshot_reader`].
            pub fn snapshot_reader_of_this_size<'a>(
                &self,
                which: impl Into<SnapshotSelector<'a>>,
            ) -> Result<SnapshotReader, Error> {
                let size = Some(self.virtual_size());
                SnapshotReader::open(&self.disk, which.into(), size)
            }

            /// Fills `into` from byte `at` of the disk's VM state on: what was written for the next
            /// snapshot, or came with the one that was applied.
            ///
            /// # Errors
            /// As for [`Self::read_at`].
            pub fn read_vm_state(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
                Ok(self.disk.read_vm_state(at, into)?)
            }
        }
    };
}

listing!(ReadOnlyImage);
listing!(Image);

impl Image {
    /// Takes a snapshot of the disk, everything written so far included. It is durable when this
    /// returns.
    ///
    /// # Concurrency
    /// Requests wait meanwhile: for a time that is proportional to the tables, not to the data.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] if a refcount is too narrow for one more reference, or the
    /// list has no room: nothing is changed then; [`crate::ErrorKind::Corrupt`], which also marks the
    /// image; [`crate::ErrorKind::Full`]; [`crate::ErrorKind::Io`].
    pub fn create_snapshot(&self, name: impl AsRef<[u8]>) -> Result<SnapshotRecord, Error> {
        self.create_snapshot_with(&NewSnapshot::named(name), &mut NoProgress)
    }

    /// As [`Self::create_snapshot`], with all that can be noted. VM state of the size that is noted
    /// goes to the snapshot, and leaves the disk.
    ///
    /// # Errors
    /// As for [`Self::create_snapshot`].
    pub fn create_snapshot_with(
        &self,
        new: &NewSnapshot,
        progress: &mut dyn Progress,
    ) -> Result<SnapshotRecord, Error> {
        Ok(self.disk.create_snapshot(new, progress)?)
    }

    /// Makes the disk what it was when a snapshot was taken, its size included. What the disk held is
    /// lost; the snapshot stays. It is durable when this returns.
    ///
    /// * `which`: a word is an ID, or else a name.
    ///
    /// # Concurrency
    /// As for [`Self::create_snapshot`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Unsupported`] where a version 2 image would
    /// change its size; else as for [`Self::create_snapshot`].
    pub fn apply_snapshot<'a>(&self, which: impl Into<SnapshotSelector<'a>>) -> Result<(), Error> {
        self.apply_snapshot_with(which, &mut NoProgress)
    }

    /// As [`Self::apply_snapshot`], telling how far it is.
    ///
    /// # Errors
    /// As for [`Self::apply_snapshot`].
    pub fn apply_snapshot_with<'a>(
        &self,
        which: impl Into<SnapshotSelector<'a>>,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        Ok(self.disk.apply_snapshot(which.into(), progress)?)
    }

    /// Deletes a snapshot. It is durable when this returns.
    ///
    /// * `which`: a word is an ID, or else a name. `qemu-img` looks at names alone here:
    ///   [`SnapshotSelector::Name`].
    ///
    /// # Concurrency
    /// As for [`Self::create_snapshot`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Busy`] while a [`SnapshotReader`] has it
    /// open; else as for [`Self::create_snapshot`].
    pub fn delete_snapshot<'a>(&self, which: impl Into<SnapshotSelector<'a>>) -> Result<(), Error> {
        self.delete_snapshot_with(which, &mut NoProgress)
    }

    /// As [`Self::delete_snapshot`], telling how far it is.
    ///
    /// # Errors
    /// As for [`Self::delete_snapshot`].
    pub fn delete_snapshot_with<'a>(
        &self,
        which: impl Into<SnapshotSelector<'a>>,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        Ok(self.disk.delete_snapshot(which.into(), progress)?)
    }

    /// Writes `from` at byte `at` of the VM state. The next snapshot takes it along.
    ///
    /// # Errors
    /// As for [`Self::write_at`].
    pub fn write_vm_state(&self, at: u64, from: &[u8]) -> Result<(), Error> {
        Ok(self.disk.write_vm_state(at, from)?)
    }
}
