//! The file with the payload of an image that keeps it elsewhere.

use holstein::format::{Header, IncompatibleFeatures};

use super::file_node::LockKind;
use super::policy::check_named_file;
use super::{Driver, FileNode, Layer, Options};
use crate::disk::DiskError;

/// Opens the external data file of an image: the node that `given` describes, or else the file that the
/// header names. None for an image that has its payload itself.
///
/// A name in a header is that of a file and nothing else. A relative one starts at the current
/// directory, not at that of the image.
///
/// # Errors
/// It is not there, not named, not allowed, or is the image itself; or the image has no use for it.
pub(super) fn open_data_file(
    layer: &Layer,
    header: &Header,
    given: Option<Options>,
) -> Result<Option<FileNode>, DiskError> {
    let wanted = header.incompatible.contains(IncompatibleFeatures::DATA_FILE);
    let options = match given {
        Some(options) => options,
        None if !wanted => return Ok(None),
        None => named(layer, header.data_file().unwrap_or_default())?,
    };
    let flags = layer.generic.child_flags();
    let node = FileNode::open(options, &flags, 0, &mut |_| Ok(LockKind::Data))?;
    if !wanted {
        return Err(DiskError::invalid(
            "'data-file' can only be set for images with an external data file",
        ));
    }
    let image = layer.file.as_ref().and_then(|file| file.identity);
    if image.is_some() && node.identity == image {
        return Err(DiskError::invalid(format!("'{}' is its own data file", layer.name)));
    }
    Ok(Some(node))
}

/// The options of a file by the name that a header has for it.
fn named(layer: &Layer, name: &[u8]) -> Result<Options, DiskError> {
    if name.is_empty() {
        return Err(DiskError::invalid("'data-file' is required for this image"));
    }
    let name = std::str::from_utf8(name)
        .map_err(|_| DiskError::invalid("the name of the data file is not UTF-8"))?;
    check_named_file(&layer.name, name)?;
    let mut options = Options::default();
    options.set("driver", Driver::File.name());
    options.set("filename", name);
    Ok(options)
}
