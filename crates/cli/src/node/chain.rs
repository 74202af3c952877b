//! The files of an image and of all that is under it, opened by a loop.

use super::data_file::open_data_file;
use super::open::{check_fit, passphrase};
use super::policy::check_named_file;
use super::protocol::{has_protocol, strip_file_protocol};
use super::{
    CacheMode, ChainMembers, Driver, Generic, ImageRef, Layer, OpenFlags, Options, QcowOptions,
    backing_name, open_layer, read_header,
};
use crate::disk::{BackingDisks, Disk, DiskError};
use crate::objects::Objects;

/// One image of a chain, whose files are open.
pub(crate) struct Link {
    /// The files and the format.
    pub(crate) layer: Layer,
    /// How to open it again; none for the image on top.
    pub(crate) image: Option<ImageRef>,
    /// The name of the backing file, as it is stored in the image above.
    pub(crate) stored: Option<String>,
}

/// An image and its backing files, the image first.
pub(crate) struct OpenChain {
    /// The images; there is at least one.
    pub(crate) links: Vec<Link>,
}

impl OpenChain {
    /// Follows the names of backing files from an image to the end, as far as its flags and options
    /// say.
    ///
    /// # Errors
    /// A file cannot be opened, or is there already; the message says under which images it is.
    pub(crate) fn collect(top: Layer, objects: &Objects) -> Result<Self, DiskError> {
        let mut members = ChainMembers::default();
        let mut links = vec![Link { layer: top, image: None, stored: None }];
        loop {
            match next(&mut links, &mut members, objects) {
                Ok(Some(link)) => links.push(link),
                Ok(None) => return Ok(Self { links }),
                Err(Failed { error, of_link }) => {
                    return Err(below(error, links.len() - usize::from(of_link)));
                }
            }
        }
    }

    /// Makes disks of all, each alone, and puts the first over the others.
    ///
    /// # Errors
    /// An image is wrong; the message says under which images it is.
    pub(crate) fn into_disk(self, objects: &Objects) -> Result<Box<dyn Disk>, DiskError> {
        let (top, below) = self.into_disks(objects)?;
        let below = if below.is_empty() { None } else { Some(BackingDisks::new(below)) };
        top.over(objects, below)
    }

    /// As [`Self::into_disk`]; an image with nothing under it is over an empty chain, and not without
    /// one.
    ///
    /// # Errors
    /// As for [`Self::into_disk`].
    pub(crate) fn into_overlay(self, objects: &Objects) -> Result<Box<dyn Disk>, DiskError> {
        let (top, below) = self.into_disks(objects)?;
        top.over(objects, Some(BackingDisks::new(below)))
    }

    /// All of them as what is under another image.
    ///
    /// # Errors
    /// As for [`Self::into_disk`].
    pub(crate) fn into_backing(self, objects: &Objects) -> Result<BackingDisks, DiskError> {
        let (top, mut below) = self.into_disks(objects)?;
        below.insert(0, top.over(objects, None)?);
        Ok(BackingDisks::new(below))
    }

    /// The first image as it is, and disks of the others.
    fn into_disks(self, objects: &Objects) -> Result<(Layer, Vec<Box<dyn Disk>>), DiskError> {
        let mut disks = Vec::new();
        let mut links = self.links.into_iter().enumerate();
        let top = links.next().ok_or_else(|| DiskError::invalid("a chain has an image on top"))?;
        for (index, link) in links {
            let disk = link.layer.over(objects, None);
            disks.push(disk.map_err(|error| below(error, index))?);
        }
        Ok((top.1.layer, disks))
    }

    /// Which image of the chain a name means, the one on top not among them: by what is stored in the
    /// image above, or by the file to which it leads from there.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let pairs = self.links.iter().zip(self.links.iter().skip(1));
        let means = |(above, link): (&Link, &Link)| {
            let stored = link.stored.as_deref();
            let full = link.image.as_ref().and_then(|image| image.filename.as_deref());
            if has_protocol(name) || stored.is_some_and(has_protocol) {
                return stored == Some(name) || full == Some(name);
            }
            let real = |path: &str| std::fs::canonicalize(strip_file_protocol(path)).ok();
            let wanted = backing_name(&above.layer.name, name).ok().and_then(|name| real(&name));
            wanted.is_some() && wanted == full.and_then(real)
        };
        pairs.map(means).position(|means| means).map(|index| index + 1)
    }
}

/// Why a chain does not go on: at the last image, or on the way from it to the next.
struct Failed {
    error: DiskError,
    of_link: bool,
}

impl From<DiskError> for Failed {
    fn from(error: DiskError) -> Self {
        Self { error, of_link: true }
    }
}

/// The image under the last one, if there is one.
fn next(
    links: &mut [Link],
    members: &mut ChainMembers,
    objects: &Objects,
) -> Result<Option<Link>, Failed> {
    let Some(Link { layer, .. }) = links.last_mut() else { return Ok(None) };
    let Some(file) = &layer.file else { return Ok(None) };
    members.add(&layer.name, file.identity)?;
    if layer.driver != Driver::Qcow2 {
        return Ok(None);
    }
    let qcow = QcowOptions::take(&mut layer.options.clone())?;
    let header = read_header(file, holstein::format::DecodePurpose::Use)?;
    // What is wrong with this image comes before what is wrong with the next.
    check_fit(&layer.generic, &qcow, &header)?;
    passphrase(header.crypt_method, &qcow, objects)?;
    layer.data = open_data_file(layer, &header, qcow.data_file)?;
    if !layer.flags.backing || qcow.no_backing {
        return Ok(None);
    }
    let stored = header.backing_file.as_deref().map(String::from_utf8_lossy);
    if stored.is_none() && qcow.backing.is_none() {
        return Ok(None);
    }
    let recorded = header.backing_format().map(String::from_utf8_lossy);
    let below = backing_image(layer.place(), stored.as_deref(), recorded.as_deref(), &qcow.backing);
    let opened = below.and_then(|image| {
        let layer = open_layer(image.clone(), &flags_below(&layer.generic))?;
        Ok(Link { layer, image: Some(image), stored: stored.map(|stored| stored.into_owned()) })
    });
    opened.map(Some).map_err(|error| Failed { error, of_link: false })
}

/// How a backing file is opened.
fn flags_below(generic: &Generic) -> OpenFlags {
    let cache = CacheMode { write_through: false, ..generic.cache };
    let auto_read_only = generic.auto_read_only;
    OpenFlags { share: generic.share, auto_read_only, cache, ..OpenFlags::READ }
}

/// Says how far below the image on top an error is; names are in the errors of files alone.
fn below(error: DiskError, images: usize) -> DiskError {
    (0..images).fold(error, |error, _| error.prefixed("Could not open backing file: "))
}

/// The image under another one: what is stored, with what the options put in its place.
fn backing_image(
    image: &str,
    stored: Option<&str>,
    recorded_format: Option<&str>,
    replaced: &Option<Options>,
) -> Result<ImageRef, DiskError> {
    let Some(options) = replaced else {
        let stored = stored.unwrap_or_default();
        let full = backing_name(image, stored)?;
        check_named_file(image, &full)?;
        return Ok(ImageRef::named(&full, recorded_format));
    };
    let mut options = options.clone();
    let stored = stored.filter(|_| !options.has("file.filename"));
    let format = if options.has("driver") { None } else { recorded_format };
    let Some(stored) = stored else {
        if let Some(format) = format {
            options.set("driver", format);
        }
        let text = "backing".to_owned();
        return Ok(ImageRef { filename: None, options, format: None, text });
    };
    if let Some(format) = format {
        Driver::named(format)?;
    }
    // Only some options are given: they go to the file that is stored.
    if options.has("file") {
        return Err(DiskError::invalid(
            "Cannot reference an existing block device with additional options or a new filename",
        ));
    }
    let full = backing_name(image, stored)?;
    check_named_file(image, &full)?;
    let mut image = ImageRef::named(&full, format);
    image.options = options;
    Ok(image)
}
