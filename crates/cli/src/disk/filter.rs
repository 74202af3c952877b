//! Disks that stand on one other disk and change how its requests are made.
//!
//! A [`Filter`] says which disk is below and what it does differently. Everything else goes down:
//! the one implementation of [`Disk`] for all filters names every method, and the lint on it fails
//! the build when a method is added to [`Disk`] and not to [`Filter`].

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use holstein::luks::KeyChange;
use holstein::{AmendOptions, Image, OwnRead, SnapshotSelector};
use holstein_storage::FileIdentity;

use super::{
    Bitmaps, CompressedWrite, Disk, DiskError, DiskInfo, Heard, Preallocation, Result, Snapshots,
    Status, snapshots,
};
use crate::node::Debugger;

/// A disk over another one. Each method of [`Disk`] is here too and asks the disk below, so that a
/// filter writes down only what it does itself.
///
/// Files of filters import this trait and not [`Disk`], whose methods have the same names.
pub(crate) trait Filter: Send + Sync {
    /// The disk below.
    fn below(&self) -> &dyn Disk;

    /// The same, to change it.
    fn below_mut(&mut self) -> &mut dyn Disk;

    /// Gives up the filter for what is below.
    fn into_below(self: Box<Self>) -> Box<dyn Disk>;

    /// Whether it is a node of its own, and not part of the node below. A node does not do what only
    /// the format below can do to its image.
    fn is_node(&self) -> bool;

    /// [`Disk::len`].
    fn len(&self) -> u64 {
        self.below().len()
    }

    /// [`Disk::read_at`].
    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.below().read_at(at, into)
    }

    /// [`Disk::read_vectored`], by one [`Filter::read_at`] for each buffer.
    fn read_vectored(&self, at: u64, into: &mut [IoSliceMut<'_>]) -> Result<()> {
        let mut at = at;
        for buffer in into {
            self.read_at(at, buffer)?;
            at = at.saturating_add(buffer.len() as u64);
        }
        Ok(())
    }

    /// [`Disk::write_at`].
    fn write_at(&self, at: u64, from: &[u8], fua: bool) -> Result<()> {
        self.below().write_at(at, from, fua)
    }

    /// [`Disk::write_vectored`], by one [`Filter::write_at`]: a request stays one.
    fn write_vectored(&self, at: u64, from: &[IoSlice<'_>], fua: bool) -> Result<()> {
        if let [only] = from {
            return self.write_at(at, only, fua);
        }
        self.write_at(at, &joined(from)?, fua)
    }

    /// [`Disk::compress`].
    fn compress<'a>(&'a self, at: u64, from: &'a [u8]) -> Result<CompressedWrite<'a>> {
        self.below().compress(at, from)
    }

    /// [`Disk::write_zeroes`].
    fn write_zeroes(&self, at: u64, len: u64, unmap: bool, fua: bool) -> Result<()> {
        self.below().write_zeroes(at, len, unmap, fua)
    }

    /// [`Disk::discard`].
    fn discard(&self, at: u64, len: u64) -> Result<()> {
        self.below().discard(at, len)
    }

    /// [`Disk::flush`].
    fn flush(&self) -> Result<()> {
        self.below().flush()
    }

    /// [`Disk::truncate`].
    fn truncate(&self, len: u64, preallocation: Preallocation, progress: Heard<'_>) -> Result<()> {
        self.below().truncate(len, preallocation, progress)
    }

    /// [`Disk::amend`].
    fn amend(&mut self, options: &AmendOptions, progress: Heard<'_>) -> Result<()> {
        if self.is_node() {
            return Err(DiskError::from_errno(libc::ENOTSUP));
        }
        self.below_mut().amend(options, progress)
    }

    /// [`Disk::change_keys`].
    fn change_keys(&self, change: &KeyChange, force: bool) -> Result<()> {
        if self.is_node() {
            return Err(DiskError::from_errno(libc::ENOTSUP));
        }
        self.below().change_keys(change, force)
    }

    /// [`Disk::status`].
    fn status(&self, at: u64, len: u64) -> Result<Status> {
        self.below().status(at, len)
    }

    /// [`Disk::read_own`]. A node holds all that the node below shows, with what is under that.
    fn read_own(&self, at: u64, into: &mut [u8]) -> Result<OwnRead> {
        if self.is_node() {
            self.read_at(at, into)?;
            return Ok(OwnRead { len: into.len(), held: true });
        }
        self.below().read_own(at, into)
    }

    /// [`Disk::own_status`], as [`Filter::read_own`].
    fn own_status(&self, at: u64, len: u64) -> Result<(Status, bool)> {
        if self.is_node() {
            return Ok((self.status(at, len)?, true));
        }
        self.below().own_status(at, len)
    }

    /// [`Disk::image`].
    fn image(&self) -> Option<&Image> {
        if self.is_node() { None } else { self.below().image() }
    }

    /// [`Disk::info`].
    fn info(&self) -> Result<DiskInfo> {
        self.below().info()
    }

    /// [`Disk::read_only`].
    fn read_only(&self) -> bool {
        self.below().read_only()
    }

    /// [`Disk::raw_file`]: none, as what goes around a filter is not filtered.
    fn raw_file(&self) -> Option<(&str, u64)> {
        None
    }

    /// [`Disk::has_bitmap`].
    fn has_bitmap(&self, name: &str) -> Result<bool> {
        self.below().has_bitmap(name)
    }

    /// [`Disk::bitmap_extent`].
    fn bitmap_extent(&self, name: &str, at: u64, len: u64) -> Result<Option<(bool, u64)>> {
        self.below().bitmap_extent(name, at, len)
    }

    /// [`Disk::backing_len`].
    fn backing_len(&self) -> Option<u64> {
        self.below().backing_len()
    }

    /// [`Disk::debugger`].
    fn debugger(&self) -> Option<Arc<Debugger>> {
        self.below().debugger()
    }

    /// [`Disk::starts_zeroed`].
    fn starts_zeroed(&self) -> bool {
        self.below().starts_zeroed()
    }

    /// [`Disk::files`].
    fn files(&self, found: &mut Vec<FileIdentity>) {
        self.below().files(found);
    }

    /// [`Disk::snapshots`].
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        self.below().snapshots()
    }

    /// [`Disk::bitmaps`].
    fn bitmaps(&self) -> Option<&dyn Bitmaps> {
        if self.is_node() { None } else { self.below().bitmaps() }
    }

    /// [`Disk::into_snapshot`]; the filter itself is given up.
    fn into_snapshot(self: Box<Self>, which: SnapshotSelector<'_>) -> Result<Box<dyn Disk>> {
        if self.is_node() {
            return Err(snapshots::cannot_load(self.info()?.format));
        }
        self.into_below().into_snapshot(which)
    }

    /// [`Disk::close`].
    fn close(self: Box<Self>) -> Result<()> {
        self.into_below().close()
    }
}

/// The bytes of all buffers.
pub(super) fn joined(from: &[IoSlice<'_>]) -> Result<Vec<u8>> {
    let total = from.iter().map(|buffer| buffer.len()).sum();
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(total).map_err(|_| DiskError::from_errno(libc::ENOMEM))?;
    from.iter().for_each(|buffer| bytes.extend_from_slice(buffer));
    Ok(bytes)
}

#[deny(clippy::missing_trait_methods)]
impl<F: Filter> Disk for F {
    fn len(&self) -> u64 {
        Filter::len(self)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<()> {
        Filter::read_at(self, at, into)
    }

    fn read_vectored(&self, at: u64, into: &mut [IoSliceMut<'_>]) -> Result<()> {
        Filter::read_vectored(self, at, into)
    }

    fn write_at(&self, at: u64, from: &[u8], fua: bool) -> Result<()> {
        Filter::write_at(self, at, from, fua)
    }

    fn write_vectored(&self, at: u64, from: &[IoSlice<'_>], fua: bool) -> Result<()> {
        Filter::write_vectored(self, at, from, fua)
    }

    fn compress<'a>(&'a self, at: u64, from: &'a [u8]) -> Result<CompressedWrite<'a>> {
        Filter::compress(self, at, from)
    }

    fn write_zeroes(&self, at: u64, len: u64, unmap: bool, fua: bool) -> Result<()> {
        Filter::write_zeroes(self, at, len, unmap, fua)
    }

    fn discard(&self, at: u64, len: u64) -> Result<()> {
        Filter::discard(self, at, len)
    }

    fn flush(&self) -> Result<()> {
        Filter::flush(self)
    }

    fn truncate(&self, len: u64, preallocation: Preallocation, progress: Heard<'_>) -> Result<()> {
        Filter::truncate(self, len, preallocation, progress)
    }

    fn amend(&mut self, options: &AmendOptions, progress: Heard<'_>) -> Result<()> {
        Filter::amend(self, options, progress)
    }

    fn change_keys(&self, change: &KeyChange, force: bool) -> Result<()> {
        Filter::change_keys(self, change, force)
    }

    fn status(&self, at: u64, len: u64) -> Result<Status> {
        Filter::status(self, at, len)
    }

    fn read_own(&self, at: u64, into: &mut [u8]) -> Result<OwnRead> {
        Filter::read_own(self, at, into)
    }

    fn own_status(&self, at: u64, len: u64) -> Result<(Status, bool)> {
        Filter::own_status(self, at, len)
    }

    fn image(&self) -> Option<&Image> {
        Filter::image(self)
    }

    fn info(&self) -> Result<DiskInfo> {
        Filter::info(self)
    }

    fn read_only(&self) -> bool {
        Filter::read_only(self)
    }

    fn raw_file(&self) -> Option<(&str, u64)> {
        Filter::raw_file(self)
    }

    fn has_bitmap(&self, name: &str) -> Result<bool> {
        Filter::has_bitmap(self, name)
    }

    fn bitmap_extent(&self, name: &str, at: u64, len: u64) -> Result<Option<(bool, u64)>> {
        Filter::bitmap_extent(self, name, at, len)
    }

    fn backing_len(&self) -> Option<u64> {
        Filter::backing_len(self)
    }

    fn debugger(&self) -> Option<Arc<Debugger>> {
        Filter::debugger(self)
    }

    fn starts_zeroed(&self) -> bool {
        Filter::starts_zeroed(self)
    }

    fn files(&self, found: &mut Vec<FileIdentity>) {
        Filter::files(self, found);
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Filter::snapshots(self)
    }

    fn bitmaps(&self) -> Option<&dyn Bitmaps> {
        Filter::bitmaps(self)
    }

    fn into_snapshot(self: Box<Self>, which: SnapshotSelector<'_>) -> Result<Box<dyn Disk>> {
        Filter::into_snapshot(self, which)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Filter::close(self)
    }
}
