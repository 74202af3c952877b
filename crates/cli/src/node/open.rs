//! From a layer to a disk that can be read and written.

use super::generic::DetectZeroes;
use super::{Driver, FileNode, Generic, ImageRef, Layer, OpenFlags, Options, open_layer};
use crate::disk::{Disk, DiskError, NullDisk, Policy, PolicyOptions, RawDisk};
use crate::objects::Objects;
use crate::out;

/// Opens an image for reading and writing, with its backing chain where the flags say so.
///
/// Prints the reference's warning where a raw format that is written to was only guessed.
///
/// # Errors
/// What is wrong with the name, the options, the files or the image. The message does not repeat
/// the image's name: commands put `Could not open 'NAME': ` before it.
pub(crate) fn open_disk(
    image: ImageRef,
    flags: &OpenFlags,
    objects: &Objects,
) -> Result<Box<dyn Disk>, DiskError> {
    let layer = open_layer(image, flags)?;
    let _ = objects;
    Ok(layer.into_disk()?.0)
}

impl Layer {
    /// Makes a disk of the layer; the file is returned where the disk does not own it alone.
    pub(crate) fn into_disk(self) -> Result<(Box<dyn Disk>, Option<FileNode>), DiskError> {
        let Self { driver, probed, generic, mut options, file, name, flags: _ } = self;
        let (disk, file): (Box<dyn Disk>, _) = match (driver, file) {
            (Driver::NullCo | Driver::NullAio, _) => {
                let disk = NullDisk::from_options(driver.name(), &mut options, name)?;
                (Box::new(disk), None)
            }
            (Driver::Raw | Driver::File | Driver::HostDevice, Some(file)) => {
                let window = match driver {
                    Driver::Raw => (options.take_size("offset")?, options.take_size("size")?),
                    _ => (None, None),
                };
                let disk = RawDisk::open(&file, driver.name(), window, generic.writable, name)?;
                (Box::new(disk), Some(file))
            }
            (Driver::Qcow2, Some(file)) => {
                let _ = file;
                return Err(DiskError::unsupported("qcow2 is not wired in yet"));
            }
            (_, None) => return Err(DiskError::invalid("a format stands on a file")),
        };
        refuse_rest(driver, &options)?;
        let guessed_raw = probed && driver == Driver::Raw && generic.writable;
        if guessed_raw {
            warn_about_guess(&disk.info()?.filename);
        }
        Ok((with_policy(disk, &generic, guessed_raw), file))
    }
}

/// Options that are left belong to no driver.
fn refuse_rest(driver: Driver, options: &Options) -> Result<(), DiskError> {
    match options.first_key() {
        None => Ok(()),
        Some(key) if driver.is_protocol() => Err(DiskError::invalid(format!(
            "Block protocol '{}' doesn't support the option '{key}'",
            driver.name()
        ))),
        Some(key) => Err(DiskError::invalid(format!(
            "Block format '{}' does not support the option '{key}'",
            driver.name()
        ))),
    }
}

fn warn_about_guess(name: &str) {
    out::error_text(&format!(
        "WARNING: Image format was not specified for '{name}' and probing guessed raw.\n         \
         Automatically detecting the format is dangerous for raw images, write operations on block \
         0 will be restricted.\n         Specify the 'raw' format explicitly to remove the \
         restrictions.\n"
    ));
}

/// Puts what the generic options ask for over the disk, where it changes anything.
fn with_policy(disk: Box<dyn Disk>, generic: &Generic, guessed_raw: bool) -> Box<dyn Disk> {
    let options = PolicyOptions {
        write_through: generic.writable && generic.cache.write_through,
        detect_zeroes: match generic.detect_zeroes {
            DetectZeroes::Off => None,
            DetectZeroes::On => Some(false),
            DetectZeroes::Unmap => Some(true),
        },
        ignore_discard: !generic.discard,
        keep_start_raw: guessed_raw,
    };
    if options == PolicyOptions::default() { disk } else { Box::new(Policy::new(disk, options)) }
}
