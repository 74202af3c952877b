//! Opening the images of a command line, with the words that go before a failure.

use super::{Args, Failure};
use crate::disk::Disk;
use crate::node::{CacheMode, ImageRef, Layer, OpenFlags, open_disk, open_layer};
use crate::output_form;
use crate::text::{SizeError, parse_size};

/// Opens an image as a disk.
pub(super) fn open_image(
    image: ImageRef,
    flags: &OpenFlags,
    args: &Args,
) -> Result<Box<dyn Disk>, Failure> {
    let prefix = format!("Could not open '{}': ", image.text);
    open_disk(image, flags, &args.objects).map_err(|error| Failure::Error(prefix, error, 1))
}

/// Opens the files of an image and finds its format.
pub(super) fn open_files(image: ImageRef, flags: &OpenFlags) -> Result<Layer, Failure> {
    let prefix = format!("Could not open '{}': ", image.text);
    open_layer(image, flags).map_err(|error| Failure::Error(prefix, error, 1))
}

/// The image that an operand names, with the command's `-f` and `--image-opts`.
pub(super) fn named(text: &str, args: &Args) -> Result<ImageRef, Failure> {
    named_as(text, args.last("format"), args)
}

/// The image that an operand names, with a format and the command's `--image-opts`.
pub(super) fn named_as(text: &str, format: Option<&str>, args: &Args) -> Result<ImageRef, Failure> {
    let image = ImageRef::of(text, format, args.has("image-opts"))?;
    if args.has("share") && image.options.refuses_share() {
        return Err(Failure::message("--force-share/-U conflicts with image options"));
    }
    Ok(image)
}

/// The cache mode of an option, or the default; `what` is what the message calls the option.
pub(super) fn cache_mode(
    args: &Args,
    option: &str,
    default: CacheMode,
    what: &str,
) -> Result<CacheMode, Failure> {
    match args.last(option) {
        None => Ok(default),
        Some(name) => CacheMode::parse(name)
            .ok_or_else(|| Failure::message(format!("Invalid {what}: {name}"))),
    }
}

/// Whether the output is JSON.
pub(super) fn json_output(args: &Args) -> Result<bool, Failure> {
    match args.last("output") {
        None | Some("human") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => Err(Failure::Usage(output_form::unknown(other))),
    }
}

/// The number of bytes that an option says; `what` is what messages call it.
pub(super) fn number(args: &Args, option: &str, what: &str) -> Result<Option<u64>, Failure> {
    args.last(option).map(|text| size(text, what)).transpose()
}

/// A number of bytes that a file can have; `what` is what messages call it.
pub(super) fn size(text: &str, what: &str) -> Result<u64, Failure> {
    size_within(text, what, 0, i64::MAX as u64)
}

/// A number of bytes between `least` and `most`; `what` is what messages call it.
pub(super) fn size_within(text: &str, what: &str, least: u64, most: u64) -> Result<u64, Failure> {
    match parse_size(text) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        Ok(_) | Err(SizeError::Range) => Err(out_of_range(what, least, most)),
        Err(SizeError::Invalid) => {
            Err(Failure::message(format!("Invalid {what} specified: '{text}'.")))
        }
    }
}

/// A number is well formed, and not one of those from `least` to `most`.
pub(super) fn out_of_range(what: &str, least: u64, most: u64) -> Failure {
    Failure::message(format!("Invalid {what} specified. Must be between {least} and {most}."))
}
