//! One disk as the commands see it, whatever its format.
//!
//! Commands and `qemu-io` work on a [`Disk`]: a length, positioned reads and writes in bytes, and
//! the state of ranges. Formats and filters implement it; [`crate::node`] builds one from a name or
//! from an option tree.
//!
//! # Invariants
//! Every method takes `&self` and may be called from several threads. Requests past the end of the
//! disk fail, they never grow it.

mod backing;
mod bitmaps;
mod cache_cleaner;
mod compress;
mod copy_on_read;
mod disk_storage;
mod error;
mod filter;
mod info;
mod null;
mod policy;
mod qcow2;
mod raw;
mod snapshots;
mod status;

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use holstein::luks::KeyChange;
use holstein::{AmendOptions, Image, OwnRead, SnapshotSelector};
use holstein_storage::FileIdentity;

use crate::node::Debugger;

pub(crate) use backing::{BackingDisks, os_error};
pub(crate) use bitmaps::{Bitmaps, NODE, bitmap_error, no_bitmap};
pub(crate) use cache_cleaner::CacheCleaning;
pub(crate) use compress::Compress;
pub(crate) use copy_on_read::CopyOnRead;
pub(crate) use disk_storage::{DiskStorage, capabilities, read_within};
pub(crate) use error::DiskError;
pub(crate) use filter::Filter;
pub(crate) use info::DiskInfo;
pub(crate) use null::NullDisk;
pub(crate) use policy::{Policy, PolicyOptions};
pub(crate) use qcow2::{
    Engine, Qcow2Disk, QcowFiles, engine_error, engine_preallocation, luks_error,
};
pub(crate) use raw::RawDisk;
pub(crate) use snapshots::Snapshots;
pub(crate) use status::{Preallocation, Status};

/// What methods of a disk return.
pub(crate) type Result<T> = std::result::Result<T, DiskError>;

/// Clusters that were compressed; calling it writes them.
pub(crate) type CompressedWrite<'a> = Box<dyn FnOnce() -> Result<()> + 'a>;

/// Who hears how much of how much is done.
pub(crate) type Heard<'a> = &'a mut (dyn FnMut(u64, u64) + 'a);

/// A disk that is open.
pub(crate) trait Disk: Send + Sync {
    /// The length in bytes, as guests see it.
    fn len(&self) -> u64;

    /// Fills `into` from byte `at`.
    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<()>;

    /// Fills the buffers in order from byte `at`.
    fn read_vectored(&self, at: u64, into: &mut [IoSliceMut<'_>]) -> Result<()> {
        let mut at = at;
        for buffer in into {
            self.read_at(at, buffer)?;
            at = at.saturating_add(buffer.len() as u64);
        }
        Ok(())
    }

    /// Writes `from` at byte `at`; with `fua` it is durable on return.
    fn write_at(&self, at: u64, from: &[u8], fua: bool) -> Result<()>;

    /// Writes the buffers in order from byte `at`; with `fua` they are durable on return.
    fn write_vectored(&self, at: u64, from: &[IoSlice<'_>], fua: bool) -> Result<()> {
        let mut position = at;
        for buffer in from {
            self.write_at(position, buffer, false)?;
            position = position.saturating_add(buffer.len() as u64);
        }
        if fua { self.flush() } else { Ok(()) }
    }

    /// Compresses whole clusters, or up to the end of the disk; what is returned writes them, each to
    /// a cluster that has no data yet.
    fn compress<'a>(&'a self, at: u64, from: &'a [u8]) -> Result<CompressedWrite<'a>> {
        let _ = (at, from);
        Err(DiskError::from_errno(libc::ENOTSUP))
    }

    /// Makes `len` bytes from `at` read as zeros; with `unmap` their space may be given back.
    fn write_zeroes(&self, at: u64, len: u64, unmap: bool, fua: bool) -> Result<()>;

    /// Says that the content of `len` bytes from `at` does not matter any more.
    fn discard(&self, at: u64, len: u64) -> Result<()>;

    /// Returns when everything written before the call is durable.
    fn flush(&self) -> Result<()>;

    /// Changes the length to `len` bytes; `progress` hears how much of how much new space is prepared.
    fn truncate(&self, len: u64, preallocation: Preallocation, progress: Heard<'_>) -> Result<()>;

    /// Changes what the image is; `progress` hears how much of how much is done.
    fn amend(&mut self, options: &AmendOptions, progress: Heard<'_>) -> Result<()> {
        let _ = (options, progress);
        Err(DiskError::from_errno(libc::ENOTSUP))
    }

    /// Changes the key slots of an encrypted image; with `force` the last key may go.
    fn change_keys(&self, change: &KeyChange, force: bool) -> Result<()> {
        let _ = (change, force);
        Err(DiskError::from_errno(libc::ENOTSUP))
    }

    /// The state of the range that begins at `at`, at most `len` bytes of it.
    ///
    /// The answer covers at least one byte when `at` is before the end and `len` is not 0, and
    /// nothing when it is not. Neighbouring ranges may be alike.
    fn status(&self, at: u64, len: u64) -> Result<Status>;

    /// Reads the start of `into` if this disk holds it itself, without the disks below it.
    fn read_own(&self, at: u64, into: &mut [u8]) -> Result<OwnRead> {
        self.read_at(at, into)?;
        Ok(OwnRead { len: into.len(), held: true })
    }

    /// As [`Disk::status`], without the disks below, and whether this disk holds the range itself.
    fn own_status(&self, at: u64, len: u64) -> Result<(Status, bool)> {
        Ok((self.status(at, len)?, true))
    }

    /// The image that is written to, for what only qcow2 images have.
    fn image(&self) -> Option<&Image> {
        None
    }

    /// What the format says about the image.
    fn info(&self) -> Result<DiskInfo>;

    /// Whether writes are refused.
    fn read_only(&self) -> bool;

    /// For the raw bytes of a file its path and where the disk begins in it: copies may be left to
    /// the system.
    fn raw_file(&self) -> Option<(&str, u64)> {
        None
    }

    /// Whether this disk, or one below it, has a dirty bitmap of that name that can be read.
    fn has_bitmap(&self, name: &str) -> Result<bool> {
        let _ = name;
        Ok(false)
    }

    /// Whether the byte at `at` is dirty in the bitmap of that name, of this disk or of the next below
    /// it that has one, and for how many bytes of `len` that stays so; nothing past its end.
    fn bitmap_extent(&self, name: &str, at: u64, len: u64) -> Result<Option<(bool, u64)>> {
        let _ = (at, len);
        Err(DiskError::new(libc::ENOENT, format!("Bitmap '{name}' is not found")))
    }

    /// The length of the disk under this one, if there is one.
    fn backing_len(&self) -> Option<u64> {
        None
    }

    /// The rules by which requests to the bytes of this disk fail and stop, where there are any.
    fn debugger(&self) -> Option<Arc<Debugger>> {
        None
    }

    /// Whether a disk that was just made reads as zeros everywhere.
    fn starts_zeroed(&self) -> bool {
        true
    }

    /// Adds the files that hold the disk, backing files among them.
    fn files(&self, found: &mut Vec<FileIdentity>) {
        let _ = found;
    }

    /// What can be done with internal snapshots, where the format has them.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// What can be done with dirty bitmaps, where the format has them.
    fn bitmaps(&self) -> Option<&dyn Bitmaps> {
        None
    }

    /// The disk as one of its snapshots holds it.
    fn into_snapshot(self: Box<Self>, which: SnapshotSelector<'_>) -> Result<Box<dyn Disk>> {
        let _ = which;
        Err(snapshots::cannot_load(self.info()?.format))
    }

    /// Writes back what is held in memory, releases locks and closes the files.
    fn close(self: Box<Self>) -> Result<()>;
}
