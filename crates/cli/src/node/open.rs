//! From a layer to a disk that can be read and written.

use std::sync::Arc;
use std::time::Duration;

use holstein::format::{CryptMethod, Header, IncompatibleFeatures};
use holstein::{OpenOptions, OverlapCheck, Secret};

use super::chain::OpenChain;
use super::generic::DetectZeroes;
use super::{
    Driver, Generic, ImageRef, Layer, OpenFlags, Options, QcowOptions, open_layer, overlap_mask,
    read_header,
};
use crate::disk::{
    BackingDisks, Compress, CopyOnRead, Disk, DiskError, Engine, NullDisk, Policy, PolicyOptions,
    Qcow2Disk, QcowFiles, RawDisk, engine_error,
};
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
    open_layer(image, flags)?.into_disk(objects)
}

impl Layer {
    /// Makes a disk of the layer, over its backing chain.
    ///
    /// # Errors
    /// As for [`open_disk`].
    pub(crate) fn into_disk(self, objects: &Objects) -> Result<Box<dyn Disk>, DiskError> {
        OpenChain::collect(self, objects)?.into_disk(objects)
    }

    /// Makes a disk of the layer alone, over what is given.
    ///
    /// # Errors
    /// The options do not fit the driver, or the image is wrong.
    pub(super) fn over(
        self,
        objects: &Objects,
        backing: Option<BackingDisks>,
    ) -> Result<Box<dyn Disk>, DiskError> {
        let Self {
            driver,
            probed,
            warns,
            generic,
            mut options,
            file,
            data,
            filtered,
            debugging,
            name,
            ..
        } = self;
        if let Some(below) = filtered {
            let below = below.into_disk(objects)?;
            let disk: Box<dyn Disk> = match (driver, debugging) {
                (_, Some(debugging)) => debugging.over(below, name),
                (Driver::Compress, None) => Box::new(Compress::new(below, name)?),
                (_, None) => Box::new(CopyOnRead::node(below, name)),
            };
            return Ok(with_policy(disk, &generic, false));
        }
        let disk: Box<dyn Disk> = match (driver, file) {
            (Driver::NullCo | Driver::NullAio, _) => {
                Box::new(NullDisk::from_options(driver.name(), &mut options, name)?)
            }
            (
                Driver::Raw
                | Driver::File
                | Driver::HostDevice
                | Driver::HostCdrom
                | Driver::Blkdebug
                | Driver::Nbd,
                Some(file),
            ) => {
                let window = match driver {
                    Driver::Raw => (options.take_size("offset")?, options.take_size("size")?),
                    _ => (None, None),
                };
                Box::new(RawDisk::open(&file, driver.name(), window, generic.writable, name)?)
            }
            (Driver::Luks, Some(file)) => {
                let key_secret = options.take_text("key-secret")?;
                let passphrase = objects.passphrase("key-secret", key_secret.as_deref())?;
                Box::new(RawDisk::unlock(&file, &passphrase, generic.writable, name)?)
            }
            (Driver::Qcow2, Some(file)) => {
                let qcow = QcowOptions::take(&mut options)?;
                Box::new(open_qcow2(
                    QcowFiles { file, data },
                    name,
                    &generic,
                    &qcow,
                    objects,
                    backing,
                )?)
            }
            (Driver::Compress | Driver::CopyOnRead, _) => {
                return Err(DiskError::invalid("a filter stands on a node"));
            }
            (_, None) => return Err(DiskError::invalid("a format stands on a file")),
        };
        refuse_rest(driver, &options)?;
        let guessed_raw = probed && driver == Driver::Raw && generic.writable;
        if guessed_raw && warns {
            warn_about_guess(&disk.info()?.filename);
        }
        Ok(with_policy(disk, &generic, guessed_raw))
    }
}

/// The passphrase of an image, if it needs one.
///
/// # Errors
/// It is not given, or encryption options do not fit the image.
pub(super) fn passphrase(
    method: CryptMethod,
    qcow: &QcowOptions,
    objects: &Objects,
) -> Result<Option<Secret>, DiskError> {
    qcow.check_encryption(method)?;
    match method {
        CryptMethod::None => Ok(None),
        _ => Ok(Some(objects.passphrase("encrypt.key-secret", qcow.key_secret.as_deref())?)),
    }
}

/// Seconds after which metadata that was not used is dropped.
const CACHE_CLEAN_INTERVAL: u64 = 600;

/// Opens the image in `file` over the disks under it.
fn open_qcow2(
    files: QcowFiles,
    name: String,
    generic: &Generic,
    qcow: &QcowOptions,
    objects: &Objects,
    backing: Option<BackingDisks>,
) -> Result<Qcow2Disk, DiskError> {
    let file = &files.file;
    let header = read_header(file, holstein::format::DecodePurpose::Use)?;
    if generic.writable && header.incompatible.contains(IncompatibleFeatures::CORRUPT) {
        return Err(DiskError::new(
            libc::EACCES,
            "qcow2: Image is corrupt; cannot be opened read/write",
        ));
    }
    if qcow.cache_clean_interval.is_some_and(|seconds| u32::try_from(seconds).is_err()) {
        return Err(DiskError::invalid("Cache clean interval too big"));
    }
    let passphrase = passphrase(header.crypt_method, qcow, objects)?;
    let mut open = engine_options(generic, qcow);
    open = match &backing {
        Some(disks) => open.backing_chain(Arc::clone(disks.chain())),
        None => open.no_backing(),
    };
    if let Some(passphrase) = passphrase {
        open = open.passphrase(passphrase);
    }
    if let Some(data) = &files.data {
        open = open.data_file(Arc::clone(&data.storage));
    }
    let listener = file.debugger.clone();
    open = open.listener(listener.map(|debugger| debugger as Arc<dyn holstein::Listener>));
    let storage = Arc::clone(&file.storage);
    let engine = if generic.writable {
        Engine::Write(open.open_storage(storage).map_err(|error| engine_error(&error))?)
    } else {
        Engine::Read(open.open_storage_read_only(storage).map_err(|error| engine_error(&error))?)
    };
    let mut disk = Qcow2Disk::new(engine, header.geometry.cluster_size(), files, backing, name);
    let interval = qcow.cache_clean_interval.unwrap_or(CACHE_CLEAN_INTERVAL);
    if interval > 0 {
        disk.clean_caches_after(Duration::from_secs(interval));
    }
    Ok(disk)
}

/// Compares the driver's options with the header of the image.
///
/// # Errors
/// The image cannot be opened with them.
pub(crate) fn check_fit(
    generic: &Generic,
    qcow: &QcowOptions,
    header: &Header,
) -> Result<(), DiskError> {
    engine_options(generic, qcow).fit(header).map_err(|error| engine_error(&error))?;
    qcow.check_encryption(header.crypt_method)
}

/// The engine's options.
fn engine_options(generic: &Generic, qcow: &QcowOptions) -> OpenOptions {
    let mut open = OpenOptions::new()
        .pass_discard_request(qcow.pass_discard_request.unwrap_or(generic.discard))
        .pass_discard_snapshot(qcow.pass_discard_snapshot.unwrap_or(true))
        .pass_discard_other(qcow.pass_discard_other.unwrap_or(false));
    if let Some(keep) = qcow.discard_no_unref {
        open = open.discard_no_unref(keep);
    }
    if let Some(lazy) = qcow.lazy_refcounts {
        open = open.lazy_refcounts(lazy);
    }
    open = open.on_repair(|note| out::error_text(&format!("{note}\n")));
    if let Some(size) = qcow.cache_size {
        open = open.cache_size(size);
    }
    if let Some(size) = qcow.l2_cache_size {
        open = open.l2_cache_size(size);
    }
    if let Some(size) = qcow.l2_cache_entry_size {
        open = open.l2_cache_entry_size(size);
    }
    if let Some(size) = qcow.refcount_cache_size {
        open = open.refcount_cache_size(size);
    }
    let overlap: Option<OverlapCheck> = overlap_mask(&qcow.overlap_check);
    if let Some(mask) = overlap {
        open = open.overlap_check(mask);
    }
    open
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
        ignore_discard: generic.writable && !generic.discard,
        keep_start_raw: guessed_raw,
    };
    if options == PolicyOptions::default() { disk } else { Box::new(Policy::new(disk, options)) }
}
