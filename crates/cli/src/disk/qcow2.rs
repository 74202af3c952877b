//! A qcow2 image as a disk, over its backing file.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holstein::format::{MAX_L1_ENTRIES, Version};
use holstein::luks::{KeyChange, LuksError};
use holstein::{
    AmendOptions, ErrorKind, ExtentKind, Image, OwnRead, ReadOnlyImage, RefcountError,
    SnapshotReader, SnapshotSelector,
};
use holstein_storage::FileIdentity;
use holstein_units::HostOffset;

use super::bitmaps::{bitmap_error, lost_bitmap};
use super::{
    BackingDisks, Bitmaps, CacheCleaning, CompressedWrite, Disk, DiskError, DiskInfo, Heard,
    Preallocation, Result, Snapshots, Status,
};
use crate::node::{Debugger, FileNode, QcowFacts};
use crate::out;

/// The image, open in one of three ways.
pub(crate) enum Engine {
    Read(ReadOnlyImage),
    Write(Image),
    /// One of its snapshots.
    Snapshot(Box<SnapshotReader>),
}

/// The files of an image.
pub(crate) struct QcowFiles {
    /// The image file.
    pub(crate) file: FileNode,
    /// The external data file, if the image has one.
    pub(crate) data: Option<FileNode>,
}

impl QcowFiles {
    /// The file with the payload.
    fn payload(&self) -> &FileNode {
        self.data.as_ref().unwrap_or(&self.file)
    }
}

/// A qcow2 image and the disk that shows where it holds nothing.
pub(crate) struct Qcow2Disk {
    pub(super) engine: Engine,
    files: QcowFiles,
    backing: Option<BackingDisks>,
    /// The file has holes under clusters that are mapped: what they hold is asked of the file.
    has_holes: bool,
    name: String,
    told: Told,
    /// Unused metadata is dropped.
    cleaning: Option<CacheCleaning>,
}

/// An engine's error as the commands print it.
pub(crate) fn engine_error(error: &holstein::Error) -> DiskError {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    if let Some(format) = error.format_error() {
        return DiskError::new(errno, format.qemu_message());
    }
    if let Some(bitmap) = error.bitmap_error() {
        return bitmap_error(bitmap);
    }
    if let Some(luks) = error.luks_error() {
        return luks_error(luks);
    }
    match error.kind() {
        ErrorKind::Io | ErrorKind::Full | ErrorKind::OutOfRange => DiskError::from_errno(errno),
        _ => DiskError::new(errno, error.to_string()),
    }
}

/// What is wrong with a LUKS header, a passphrase or a key slot, as the commands print it.
pub(crate) fn luks_error(error: &LuksError) -> DiskError {
    if let LuksError::Io(error) = error {
        return DiskError::from_errno(error.raw_os_error().unwrap_or(libc::EIO));
    }
    DiskError::fragment(error)
}

/// The reference's two lines about metadata that could not be written back at the end.
fn unflushed(error: DiskError) -> DiskError {
    let (name, reason) = (crate::personality::name(), error.strerror());
    DiskError::new(error.errno(), format!("Failed to flush the L2 table cache: {reason}"))
        .with_hint(format!("{name}: Failed to flush the refcount block cache: {reason}"))
}

/// What was said about the image: that it is corrupt, and that it is now marked so.
#[derive(Debug, Default)]
struct Told {
    corrupt: AtomicBool,
    marked: AtomicBool,
}

impl Told {
    /// A request for reading failed; says once if that was for corruption. Nothing is marked then.
    fn not_read(&self, error: holstein::Error) -> DiskError {
        if error.finds_corruption() && !self.corrupt.swap(true, Ordering::Relaxed) {
            out::error_text(&format!(
                "qcow2: Image is corrupt: {error}; further non-fatal corruption events will be \
                 suppressed\n"
            ));
        }
        engine_error(&error)
    }

    /// A request for writing failed; says once if that was for corruption, for which the image is
    /// marked now.
    fn not_written(&self, error: holstein::Error) -> DiskError {
        if error.finds_corruption() && !self.marked.swap(true, Ordering::Relaxed) {
            self.corrupt.store(true, Ordering::Relaxed);
            let why = match error.overlap() {
                Some(region) => {
                    format!("Preventing invalid write on metadata (overlaps with {region})")
                }
                None => error.to_string(),
            };
            out::error_text(&format!(
                "qcow2: Marking image as corrupt: {why}; further corruption events will be \
                 suppressed\n"
            ));
        }
        engine_error(&error)
    }
}

fn not_amended(error: holstein::Error) -> DiskError {
    match error.refcount_error() {
        Some(RefcountError::Narrow { at, count, bits }) => DiskError::invalid(format!(
            "Cannot decrease refcount entry width to {bits} bits: Cluster at offset {:#x} has a \
             refcount of {count}",
            at.get()
        )),
        _ => engine_error(&error),
    }
}

/// The engine's word for a mode.
pub(crate) fn engine_preallocation(mode: Preallocation) -> holstein::Preallocation {
    match mode {
        Preallocation::Off => holstein::Preallocation::Off,
        Preallocation::Metadata => holstein::Preallocation::Metadata,
        Preallocation::Falloc => holstein::Preallocation::Falloc,
        Preallocation::Full => holstein::Preallocation::Full,
    }
}

macro_rules! on_engine {
    ($self:ident, $image:ident => $call:expr) => {
        match &$self.engine {
            Engine::Read($image) => $call,
            Engine::Write($image) => $call,
            Engine::Snapshot($image) => $call,
        }
    };
}

impl Qcow2Disk {
    /// A disk over an image that is open, with clusters of `cluster_size` bytes.
    pub(crate) fn new(
        engine: Engine,
        cluster_size: u64,
        files: QcowFiles,
        backing: Option<BackingDisks>,
        name: String,
    ) -> Self {
        let has_holes = has_holes(&files.file, cluster_size);
        let cleaning = None;
        Self { engine, files, backing, has_holes, name, told: Told::default(), cleaning }
    }

    /// Drops metadata that was not used for so long, and gives its memory back.
    pub(crate) fn clean_caches_after(&mut self, interval: Duration) {
        let trimmer = match &self.engine {
            Engine::Read(image) => image.cache_trimmer(),
            Engine::Write(image) => image.cache_trimmer(),
            Engine::Snapshot(_) => return,
        };
        self.cleaning = Some(CacheCleaning::start(trimmer, interval));
    }

    /// Runs a request for writing, and says once that it found the image to be corrupt.
    fn write<'a, T>(
        &'a self,
        request: impl FnOnce(&'a Image) -> std::result::Result<T, holstein::Error>,
    ) -> Result<T> {
        request(self.writable()?).map_err(|error| self.told.not_written(error))
    }

    pub(super) fn writable(&self) -> Result<&Image> {
        match &self.engine {
            Engine::Write(image) => Ok(image),
            Engine::Read(_) | Engine::Snapshot(_) => Err(DiskError::from_errno(libc::EPERM)),
        }
    }

    fn settle(&self, fua: bool) -> Result<()> {
        if fua { self.write(Image::flush) } else { Ok(()) }
    }

    /// The state of a range that the image holds itself.
    /// Whether the image itself has a bitmap of that name, which must be consistent.
    fn own_bitmap(&self, name: &str) -> Result<bool> {
        let found = match &self.engine {
            Engine::Read(image) => image.bitmap_extent(name, 0, 1),
            Engine::Write(image) => image.bitmap_extent(name, 0, 1),
            // A snapshot keeps no bitmaps.
            Engine::Snapshot(_) => return Ok(false),
        };
        match found {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == holstein::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(engine_error(&error)),
        }
    }

    fn own_status_of(&self, len: u64, extent: &holstein::Extent) -> Result<Status> {
        let data = extent.kind == ExtentKind::Data;
        let mut status = Status {
            len,
            present: true,
            zero: !data,
            data,
            compressed: extent.compressed,
            depth: 0,
            offset: extent.host,
            file: extent.host.map(|_| self.files.payload().name.clone()),
        };
        if let (true, true, Some(host)) = (data, self.has_holes, extent.host) {
            let (has_data, run) = self.files.payload().storage.extent_at(HostOffset::new(host))?;
            if run > 0 {
                status.len = len.min(run);
                status.zero = !has_data;
            }
        }
        Ok(status)
    }
}

/// Whether the file takes clearly less space than it is long, as after a preallocation of metadata.
fn has_holes(file: &FileNode, cluster_size: u64) -> bool {
    match (file.allocated(), file.len()) {
        (Some(allocated), Ok(len)) => (allocated / 9).saturating_mul(10) + 2 * cluster_size < len,
        _ => false,
    }
}

impl Disk for Qcow2Disk {
    fn len(&self) -> u64 {
        on_engine!(self, image => image.virtual_size())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<()> {
        on_engine!(self, image => image.read_at(at, into))
            .map_err(|error| self.told.not_read(error))
    }

    fn read_vectored(&self, at: u64, into: &mut [IoSliceMut<'_>]) -> Result<()> {
        on_engine!(self, image => image.read_vectored_at(at, into))
            .map_err(|error| self.told.not_read(error))
    }

    fn write_at(&self, at: u64, from: &[u8], fua: bool) -> Result<()> {
        self.write(|image| image.write_at(at, from))?;
        self.settle(fua)
    }

    fn write_vectored(&self, at: u64, from: &[IoSlice<'_>], fua: bool) -> Result<()> {
        self.write(|image| image.write_vectored_at(at, from))?;
        self.settle(fua)
    }

    fn compress<'a>(&'a self, at: u64, from: &'a [u8]) -> Result<CompressedWrite<'a>> {
        let image = self.writable()?;
        let data = image.compress(at, from).map_err(|error| engine_error(&error))?;
        Ok(Box::new(move || self.write(|image| image.write_compressed(&data))))
    }

    fn write_zeroes(&self, at: u64, len: u64, unmap: bool, fua: bool) -> Result<()> {
        self.write(|image| image.write_zeroes(at, len, unmap))?;
        self.settle(fua)
    }

    fn discard(&self, at: u64, len: u64) -> Result<()> {
        self.write(|image| image.discard(at, len))
    }

    fn flush(&self) -> Result<()> {
        match &self.engine {
            Engine::Write(_) => self.write(Image::flush),
            Engine::Read(_) | Engine::Snapshot(_) => Ok(()),
        }
    }

    fn truncate(
        &self,
        len: u64,
        preallocation: Preallocation,
        mut progress: Heard<'_>,
    ) -> Result<()> {
        let image = self.writable()?;
        if !len.is_multiple_of(holstein_units::SECTOR) {
            return Err(DiskError::invalid("The new size must be a multiple of 512"));
        }
        let header = image.header();
        if header.version == Version::V2 && header.nb_snapshots > 0 {
            return Err(DiskError::unsupported("Can't resize a v2 image which has snapshots"));
        }
        if header.geometry.l1_entries_for(len) > MAX_L1_ENTRIES {
            let what = "Failed to grow the L1 table: File too large";
            return Err(DiskError::new(libc::EFBIG, what));
        }
        if len < image.virtual_size() {
            if preallocation != Preallocation::Off {
                let what = "Preallocation can't be used for shrinking an image";
                return Err(DiskError::invalid(what));
            }
            return self.write(|image| image.shrink(len));
        }
        let mode = engine_preallocation(preallocation);
        self.write(|image| image.resize_with(len, mode, &mut progress))
    }

    fn amend(&mut self, options: &AmendOptions, progress: Heard<'_>) -> Result<()> {
        match &mut self.engine {
            Engine::Write(image) => image.amend(options, progress).map_err(not_amended),
            Engine::Read(_) | Engine::Snapshot(_) => Err(DiskError::from_errno(libc::EACCES)),
        }
    }

    fn change_keys(&self, change: &KeyChange, force: bool) -> Result<()> {
        self.write(|image| image.change_keys(change, force))
    }

    fn status(&self, at: u64, len: u64) -> Result<Status> {
        let len = len.min(self.len().saturating_sub(at));
        if len == 0 {
            return Ok(Status::nothing());
        }
        let extent = on_engine!(self, image => image.extent_at(at, len))
            .map_err(|error| self.told.not_read(error))?;
        let len = len.min(extent.len);
        if extent.kind != ExtentKind::Unallocated {
            return self.own_status_of(len, &extent);
        }
        match &self.backing {
            Some(backing) => backing.status(at, len),
            // Space that was never written has its place, unless something below decides.
            None => Ok(Status { len, zero: true, offset: extent.host, ..Status::nothing() }),
        }
    }

    fn read_own(&self, at: u64, into: &mut [u8]) -> Result<OwnRead> {
        on_engine!(self, image => image.read_own(at, into))
            .map_err(|error| self.told.not_read(error))
    }

    fn own_status(&self, at: u64, len: u64) -> Result<(Status, bool)> {
        let extent = on_engine!(self, image => image.extent_at(at, len))
            .map_err(|error| self.told.not_read(error))?;
        let len = len.min(extent.len);
        match extent.kind {
            ExtentKind::Unallocated => Ok((Status { len, zero: true, ..Status::nothing() }, false)),
            _ => Ok((self.own_status_of(len, &extent)?, true)),
        }
    }

    fn has_bitmap(&self, name: &str) -> Result<bool> {
        if self.own_bitmap(name)? {
            return Ok(true);
        }
        self.backing.as_ref().map_or(Ok(false), |backing| backing.has_bitmap(name))
    }

    fn bitmap_extent(&self, name: &str, at: u64, len: u64) -> Result<Option<(bool, u64)>> {
        let found = match &self.engine {
            Engine::Read(image) => image.bitmap_extent(name, at, len),
            Engine::Write(image) => image.bitmap_extent(name, at, len),
            Engine::Snapshot(_) => return Err(DiskError::from_errno(libc::ENOTSUP)),
        };
        match (found, &self.backing) {
            (Err(error), Some(backing)) if error.kind() == holstein::ErrorKind::NotFound => {
                backing.bitmap_extent(name, at, len)
            }
            (found, _) => found.map_err(|error| engine_error(&error)),
        }
    }

    fn image(&self) -> Option<&Image> {
        match &self.engine {
            Engine::Write(image) => Some(image),
            Engine::Read(_) | Engine::Snapshot(_) => None,
        }
    }

    fn info(&self) -> Result<DiskInfo> {
        let facts = QcowFacts::read(&self.files.file)?;
        let cluster_size = facts.header.geometry.cluster_size();
        let entry = if facts.header.geometry.extended_l2() { 16 } else { 8 };
        // VM states begin behind the last L2 table of the disk.
        let mapped = cluster_size.saturating_mul(cluster_size / entry);
        Ok(DiskInfo {
            format: "qcow2",
            cluster_size: Some(cluster_size),
            subcluster_size: Some(facts.header.geometry.subcluster_size()),
            vm_state_offset: Some(facts.header.size.div_ceil(mapped).saturating_mul(mapped)),
            specific: Some(facts.specific),
            filename: self.name.clone(),
        })
    }

    fn read_only(&self) -> bool {
        !matches!(self.engine, Engine::Write(_))
    }

    fn debugger(&self) -> Option<Arc<Debugger>> {
        self.files.file.debugger.clone()
    }

    fn backing_len(&self) -> Option<u64> {
        self.backing.as_ref().map(BackingDisks::len)
    }

    fn files(&self, found: &mut Vec<FileIdentity>) {
        found.extend(self.files.file.identity);
        found.extend(self.files.data.as_ref().and_then(|data| data.identity));
        if let Some(backing) = &self.backing {
            backing.files(found);
        }
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn bitmaps(&self) -> Option<&dyn Bitmaps> {
        Some(self)
    }

    fn into_snapshot(self: Box<Self>, which: SnapshotSelector<'_>) -> Result<Box<dyn Disk>> {
        self.open_snapshot(which)
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self { engine, told, .. } = *self;
        match engine {
            Engine::Write(image) => image.close().map_err(|error| match error.lost_bitmap() {
                Some((name, why)) => lost_bitmap(name, &told.not_written(why)),
                None => unflushed(told.not_written(error)),
            }),
            Engine::Read(_) | Engine::Snapshot(_) => Ok(()),
        }
    }
}
