//! Nodes that stand on one other node and change how its requests are made.

use super::blkdebug::{self, split_name};
use super::layer::{Layer, open_tree};
use super::protocol::parse_filename;
use super::qcow2_options::no_node;
use super::{Driver, Generic, OpenFlags, Options};
use crate::disk::DiskError;

/// Opens a filter over the node of its option `file`, or `image` of a debugging one, which `filename` may
/// name.
///
/// # Errors
/// The node below cannot be opened, or is not one that the filter can stand on.
pub(super) fn open_filter(
    driver: Driver,
    filename: Option<String>,
    mut options: Options,
    generic: Generic,
    flags: &OpenFlags,
    depth: usize,
) -> Result<Layer, DiskError> {
    let (mut below, debugging) = match driver {
        Driver::Blkdebug => {
            if let Some(filename) = filename {
                split_name(&filename, &mut options)?;
            }
            let (debugging, below) = blkdebug::take(&mut options)?;
            (below, Some(debugging))
        }
        _ => (take_file(filename, &mut options)?, None),
    };
    if !below.has("driver") {
        // Nothing is probed under a filter.
        below.set("driver", Driver::File.name());
    }
    let below = open_tree(below, &generic.child_flags(), depth + 1)?;
    match driver {
        Driver::Compress if !matches!(below.driver, Driver::Qcow2 | Driver::CopyOnRead) => {
            return Err(DiskError::unsupported(format!(
                "Compression is not supported for underlying format: {}",
                below.driver.name()
            )));
        }
        Driver::CopyOnRead if !generic.writable || !below.generic.writable => {
            return Err(DiskError::new(libc::EACCES, "Block node is read-only"));
        }
        _ => {}
    }
    if let Some(key) = options.first_key() {
        return Err(DiskError::invalid(format!(
            "Block format '{}' does not support the option '{key}'",
            driver.name()
        )));
    }
    let layer = Layer::new(driver, generic, options, flags);
    let mut layer = Layer { filtered: Some(Box::new(below)), debugging, ..layer };
    layer.name = layer.shown_name();
    Ok(layer)
}

/// The options of the node `file`, which `filename` may name.
fn take_file(filename: Option<String>, options: &mut Options) -> Result<Options, DiskError> {
    if let Some(node) = options.take_text("file")? {
        return Err(no_node(&node));
    }
    let mut below = options.take_node("file");
    if let Some(filename) = filename {
        name_below(&filename, &mut below)?;
    }
    if below.is_empty() {
        return Err(DiskError::invalid("A block device must be specified for \"file\""));
    }
    Ok(below)
}

/// Puts the name of an image into its options; without a driver there the name is that of the file under
/// a format that is still to be found.
///
/// # Errors
/// As for [`name_below`].
pub(super) fn name_tree(filename: &str, options: &mut Options) -> Result<(), DiskError> {
    if options.has("driver") {
        return name_below(filename, options);
    }
    let mut file = options.take_node("file");
    parse_filename(filename, file.has("driver"), &mut file)?;
    put_file(file, options);
    Ok(())
}

/// Puts the options of a node back under the name `file`.
fn put_file(file: Options, options: &mut Options) {
    for (key, value) in file.entries() {
        options.set(&format!("file.{key}"), value.clone());
    }
}

/// Puts the name that a filter was given into the options of the node under it.
///
/// # Errors
/// The name's prefix contradicts the options.
pub(super) fn name_below(filename: &str, below: &mut Options) -> Result<(), DiskError> {
    let driver = below.clone().take_text("driver")?;
    match driver.as_deref().map(Driver::named).transpose()? {
        // A format, or another filter, stands on a node of that name.
        Some(driver) if !driver.is_protocol() => {
            let mut file = below.take_node("file");
            match driver {
                Driver::Compress | Driver::CopyOnRead => name_below(filename, &mut file)?,
                _ => parse_filename(filename, file.has("driver"), &mut file)?,
            }
            put_file(file, below);
            Ok(())
        }
        Some(Driver::Blkdebug) => split_name(filename, below),
        driver => parse_filename(filename, driver.is_some(), below),
    }
}
