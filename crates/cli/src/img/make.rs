//! Making the file of a new image.

use std::path::Path;
use std::sync::Arc;

use holstein::Secret;
use holstein::luks::{Format, Volume};
use holstein_storage::{Create, FileOptions, FileStorage, ImageLock, LockMode, OpenError, Storage};
use holstein_units::{HostOffset, HostRange};

use super::create_list::{CreateFormat, CreateList};
use super::encryption::luks_volume;
use super::make_qcow2::{QcowPlan, make_qcow2};
use super::target_file::TargetFile;
use crate::disk::{Disk, DiskError, Heard, Preallocation, RawDisk, luks_error};
use crate::node::{
    check_protocol, is_export, open_export, open_file_error, open_when_free, strip_file_protocol,
};
use crate::objects::Objects;
use crate::out;

/// Bytes of a volume that are filled at a time.
const STEP: u64 = 64 << 20;

/// Makes an image by its options; the size is among them.
///
/// All options are judged before a file is touched. A file that was made and could not be finished
/// is removed; one that was there before stays. `progress` hears of space that is prepared.
///
/// # Errors
/// An option does not fit, or the file cannot be made or written.
pub(super) fn make_image(
    filename: &str,
    list: &CreateList,
    objects: &Objects,
    progress: Heard<'_>,
) -> Result<(), DiskError> {
    let size = list.number("size").unwrap_or(0);
    let size = size
        .checked_next_multiple_of(holstein_units::SECTOR)
        .filter(|size| i64::try_from(*size).is_ok())
        .ok_or_else(|| DiskError::new(libc::EFBIG, "Image size is too large"))?;
    let _ = extent_size_hint(list)?;
    let path = strip_file_protocol(filename);
    match list.format() {
        CreateFormat::Raw | CreateFormat::File => {
            let mode = raw_preallocation(list)?;
            if is_export(path) {
                return make_raw_export(path, size, list.given("preallocation"));
            }
            make_in(path, LockMode::Exact(ImageLock::CREATE), list, |file| {
                make_raw(file, path, size, mode, progress)
            })
        }
        CreateFormat::Luks => {
            let (format, passphrase) = luks_volume(list, objects)?;
            let mode = match list.given("preallocation") {
                Some("metadata") => Preallocation::Off,
                _ => raw_preallocation(list)?,
            };
            make_below(path, list, |file| {
                make_volume(file, &format, &passphrase, size, mode, progress)
            })
        }
        CreateFormat::Qcow2 => {
            let plan = QcowPlan::judge(list, size, objects)?;
            let Some(data_path) = plan.data_path() else {
                return make_below(path, list, |file| make_qcow2(file, None, &plan, progress));
            };
            check_protocol(list.given("data_file").unwrap_or_default())?;
            let lock = LockMode::Exact(ImageLock::WRITE_DATA);
            make_below(path, list, |file| {
                if is_export(data_path) {
                    let data = open_export(data_path)?;
                    return make_qcow2(file, Some(data), &plan, progress);
                }
                make_in(data_path, lock, list, |data| make_qcow2(file, Some(data), &plan, progress))
            })
        }
    }
}

/// Lets `make` fill what a format lies in: a new file, or an export that is there.
fn make_below(
    path: &str,
    list: &CreateList,
    make: impl FnOnce(Arc<dyn Storage>) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    if is_export(path) {
        return make(open_export(path)?);
    }
    make_in(path, LockMode::Write, list, |file| make(file))
}

/// Makes a raw image of an export, which keeps its length.
fn make_raw_export(name: &str, size: u64, mode: Option<&str>) -> Result<(), DiskError> {
    if let Some(mode) = mode.filter(|mode| *mode != "off") {
        let text = format!("Unsupported preallocation mode '{mode}'");
        return Err(DiskError::unsupported(text));
    }
    let storage = open_export(name)?;
    if size > storage.len()? {
        return Err(DiskError::invalid("Cannot grow NBD nodes"));
    }
    Ok(storage.flush()?)
}

/// Makes the file and lets `make` fill it; what becomes of it afterwards depends on both.
fn make_in(
    path: &str,
    lock: LockMode,
    list: &CreateList,
    make: impl FnOnce(Arc<FileStorage>) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    let target = TargetFile::before(path);
    let file = match create_file(path, lock) {
        Ok(file) => file,
        Err(error) => {
            // Nothing was made, so nothing is removed.
            target.keep();
            return Err(error);
        }
    };
    if let Some(bytes) = extent_size_hint(list)? {
        hint_extent_size(&file, bytes);
    }
    if list.is_on("nocow") {
        switch_off_cow(path);
    }
    match make(file) {
        Ok(()) => {
            target.keep();
            Ok(())
        }
        Err(error) => Err(target.failed(error)),
    }
}

/// Switches copy-on-write off for an empty file. Only one file system knows the flag; on all others
/// there is nothing to switch off, so failures mean nothing, as for the reference.
fn switch_off_cow(path: &str) {
    let Ok(file) = std::fs::File::open(path) else { return };
    if let Ok(flags) = rustix::fs::ioctl_getflags(&file) {
        let _ = rustix::fs::ioctl_setflags(&file, flags | rustix::fs::IFlags::NOCOW);
    }
}

/// The hint for the file system that was asked for; 0 asks for none.
fn extent_size_hint(list: &CreateList) -> Result<Option<u32>, DiskError> {
    let bytes = list.number("extent_size_hint").unwrap_or(0);
    let bytes =
        u32::try_from(bytes).map_err(|_| DiskError::invalid("Extent size hint is too large"))?;
    Ok(Some(bytes).filter(|bytes| *bytes > 0))
}

/// Tells the file system in what pieces the file grows; that it does not want to know is said, and
/// changes nothing.
fn hint_extent_size(file: &FileStorage, bytes: u32) {
    if let Err(error) = file.set_extent_size_hint(bytes) {
        let reason = DiskError::from(error).strerror();
        out::error_line(&format!("warning: Failed to set extent size hint: {reason}"));
    }
}

fn raw_preallocation(list: &CreateList) -> Result<Preallocation, DiskError> {
    match list.given("preallocation") {
        None => Ok(Preallocation::Off),
        Some("metadata") => Err(DiskError::invalid("Unsupported preallocation mode: metadata")),
        Some(name) => Preallocation::parse(name)
            .ok_or_else(|| DiskError::invalid(format!("invalid parameter value: {name}"))),
    }
}

/// Makes the file, or empties the one that is there, after its lock was taken.
fn create_file(path: &str, lock: LockMode) -> Result<Arc<FileStorage>, DiskError> {
    open_to_make(path, lock, Create::Truncate).map(Arc::new)
}

/// Opens and locks the file that is there, as if an image were to be made in it.
///
/// # Errors
/// Those of making it.
pub(super) fn lock_present(path: &str, lock: LockMode) -> Result<FileStorage, DiskError> {
    open_to_make(path, lock, Create::No)
}

fn open_to_make(path: &str, lock: LockMode, create: Create) -> Result<FileStorage, DiskError> {
    let options = FileOptions { write: true, create, lock, ..FileOptions::default() };
    match open_when_free(Path::new(path), &options) {
        Ok(file) => Ok(file),
        Err(OpenError::Io { source, .. }) => {
            Err(DiskError::from(source).prefixed(format_args!("Could not create '{path}': ")))
        }
        Err(error) => Err(open_file_error(&error)),
    }
}

/// Makes a LUKS volume; its payload is noise until it is written, unless all of it is to be.
fn make_volume(
    file: Arc<dyn Storage>,
    format: &Format,
    passphrase: &Secret,
    size: u64,
    mode: Preallocation,
    progress: Heard<'_>,
) -> Result<(), DiskError> {
    let volume = Volume::create(file, format, passphrase, size);
    let volume = volume.map_err(|error| luks_error(&error))?;
    let payload = HostRange { start: HostOffset::new(0), len: size };
    match mode {
        Preallocation::Off | Preallocation::Metadata => {}
        Preallocation::Falloc => volume.allocate(payload)?,
        Preallocation::Full => {
            let mut todo = payload;
            while !todo.is_empty() {
                let (now, rest) = todo.split_at(STEP);
                volume.write_zeroes(now)?;
                todo = rest;
                progress(size - todo.len, size);
            }
        }
    }
    Ok(volume.flush()?)
}

fn make_raw(
    file: Arc<FileStorage>,
    path: &str,
    size: u64,
    mode: Preallocation,
    progress: Heard<'_>,
) -> Result<(), DiskError> {
    let present = file.len()?;
    if file.is_block_device() {
        return if size <= present {
            Ok(())
        } else {
            Err(DiskError::new(
                libc::ENOSPC,
                format!("the device has {present} bytes, {size} are asked for"),
            ))
        };
    }
    let storage: Arc<dyn Storage> = file;
    RawDisk::over(Arc::clone(&storage), 0, path).truncate(size, mode, progress)?;
    if mode == Preallocation::Off && size > 0 {
        // Readers that go past the page cache learn its alignment from a block that has data.
        let first = vec![0; if size < 4096 { 512 } else { 4096 }];
        storage.write_at(HostOffset::new(0), &first)?;
    }
    Ok(())
}
