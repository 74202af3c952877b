//! A temporary qcow2 image over the one that was asked for (`-s`).

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holstein_storage::{FileOptions, FileStorage, LockMode, Storage};

use super::filter::name_tree;
use super::{CacheMode, ImageRef, OpenFlags, Options, open_disk};
use crate::disk::{Disk, DiskError, engine_error};
use crate::objects::Objects;

/// Names that are tried before giving up.
const ATTEMPTS: u32 = 100;

/// Opens an image for reading, and a new image over it for everything that is written. Its file has
/// no name any more when this returns, so that nothing is left of it after the program.
///
/// # Errors
/// The image cannot be opened, or the temporary one cannot be made.
pub(crate) fn open_overlay(
    image: &ImageRef,
    flags: &OpenFlags,
    objects: &Objects,
) -> Result<Box<dyn Disk>, DiskError> {
    let below = OpenFlags { writable: false, ..*flags };
    let disk = open_disk(image.clone(), &below, objects)?;
    let len = disk.len();
    disk.close()?;
    let path = make(len)?;
    let opened = options_over(image, *flags, &path).and_then(|options| {
        let overlay = ImageRef { options, ..ImageRef::default() };
        // What is written is gone after the program: nothing of it has to be durable.
        let flags = OpenFlags { cache: CacheMode::UNSAFE, share: false, ..*flags };
        open_disk(overlay, &flags, objects)
    });
    let removed = fs::remove_file(&path);
    let disk = opened?;
    removed?;
    Ok(disk)
}

/// The options of a node tree with the image below the file at `path`.
fn options_over(image: &ImageRef, flags: OpenFlags, path: &Path) -> Result<Options, DiskError> {
    let (filename, mut below) = image.clone().into_parts()?;
    if let Some(filename) = filename {
        name_tree(&filename, &mut below)?;
    }
    let mut options = Options::default();
    options.set("driver", "qcow2");
    options.set("file.driver", "file");
    let path = path.to_str().ok_or_else(|| {
        DiskError::invalid("the directory for temporary files has a name that is not UTF-8")
    })?;
    options.set("file.filename", path);
    for (key, value) in below.entries() {
        options.set(&format!("backing.{key}"), value.clone());
    }
    if flags.share {
        options.set("backing.force-share", "on");
    }
    Ok(options)
}

/// Makes an empty image of `len` bytes in the directory for temporary files.
fn make(len: u64) -> Result<PathBuf, DiskError> {
    let path = reserve_name()?;
    let made = fill(&path, len);
    if made.is_err() {
        // The error counts, not that the file could not be removed.
        let _ = fs::remove_file(&path);
    }
    made.map(|()| path)
}

fn fill(path: &Path, len: u64) -> Result<(), DiskError> {
    let options = FileOptions { write: true, lock: LockMode::Write, ..FileOptions::default() };
    let file = FileStorage::open(path, &options)
        .map_err(|error| DiskError::new(libc::EIO, error.to_string()))?;
    holstein::CreateOptions::new(len)
        .create_on(Arc::new(file) as Arc<dyn Storage>)
        .and_then(holstein::Image::close)
        .map_err(|error| engine_error(&error))
}

/// Makes an empty file that nobody else can open, under a name that was free.
fn reserve_name() -> Result<PathBuf, DiskError> {
    let directory = std::env::temp_dir();
    for attempt in 0..ATTEMPTS {
        let path = directory.join(format!("holstein-{}-{attempt}.qcow2", std::process::id()));
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(DiskError::from(error)
                    .prefixed(format_args!("Could not create '{}': ", path.display())));
            }
        }
    }
    Err(DiskError::new(libc::EEXIST, "Could not create a temporary file"))
}
