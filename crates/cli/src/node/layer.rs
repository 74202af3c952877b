//! The files of one image and its format, before anything of the format was read.

use super::blkdebug::{Debugging, split_name, stands_on_a_format};
use super::file_node::{LockKind, probed_lock};
use super::filter::open_filter;
use super::generic::check_names;
use super::protocol::parse_filename;
use super::qcow2_options::no_node;
use super::{Driver, FileNode, Generic, ImageRef, OpenFlags, Options, Probed, probe};
use crate::disk::DiskError;
use crate::out;
use crate::text::Json;

/// Nodes may stand on each other this deep.
pub(super) const MAX_DEPTH: usize = 32;

/// One image without its backing chain.
pub(crate) struct Layer {
    /// The driver, given or found by probing.
    pub(crate) driver: Driver,
    /// The driver was found by probing.
    pub(crate) probed: bool,
    /// It is said when a disk that is written to was only guessed to be raw.
    pub(crate) warns: bool,
    /// Options that every node has.
    pub(crate) generic: Generic,
    /// What is left of the options: those of the driver.
    pub(crate) options: Options,
    /// The node under the format; none under a driver that has bytes of its own.
    pub(crate) file: Option<FileNode>,
    /// The node with the payload, where the format has it elsewhere and it was opened.
    pub(crate) data: Option<FileNode>,
    /// The node under a filter.
    pub(crate) filtered: Option<Box<Layer>>,
    /// What a debugging filter does.
    pub(super) debugging: Option<Debugging>,
    /// The name by which the image is shown.
    pub(crate) name: String,
    /// How the command opens it.
    pub(crate) flags: OpenFlags,
}

/// Opens the files of an image and finds its format.
///
/// # Errors
/// A file cannot be opened or locked, the format is not one of this version, or options exclude each
/// other. The message does not repeat the image's name.
pub(crate) fn open_layer(image: ImageRef, flags: &OpenFlags) -> Result<Layer, DiskError> {
    let explicit = image.format.clone();
    let (filename, options) = image.into_parts()?;
    check_names(&options)?;
    open_named(filename, options, explicit, flags, 0)
}

/// Opens a node tree below another node.
pub(super) fn open_tree(
    options: Options,
    flags: &OpenFlags,
    depth: usize,
) -> Result<Layer, DiskError> {
    if depth > MAX_DEPTH {
        return Err(DiskError::invalid(format!("more than {MAX_DEPTH} nodes stand on each other")));
    }
    open_named(None, options, None, flags, depth)
}

/// Opens the nodes; the one on top is written to where the flags say so.
fn open_named(
    filename: Option<String>,
    options: Options,
    explicit: Option<String>,
    flags: &OpenFlags,
    depth: usize,
) -> Result<Layer, DiskError> {
    let layer = open_driver(filename, options, explicit, flags, depth)?;
    layer.generic.check_writer(flags)?;
    Ok(layer)
}

fn open_driver(
    filename: Option<String>,
    mut options: Options,
    explicit: Option<String>,
    flags: &OpenFlags,
    depth: usize,
) -> Result<Layer, DiskError> {
    let driver = options.take_text("driver")?;
    if let (Some(given), Some(found)) = (&explicit, &driver)
        && given != found
    {
        return Err(DiskError::invalid("Driver specified twice"));
    }
    let driver = driver.as_deref().map(Driver::named).transpose()?;
    let generic = Generic::take(&mut options, flags, depth == 0)?;
    match driver {
        Some(driver @ (Driver::NullCo | Driver::NullAio)) => {
            let own = format!("{}://", driver.name());
            if filename.is_some_and(|filename| filename != own) {
                return Err(DiskError::invalid(format!(
                    "The only allowed filename for this driver is '{own}'"
                )));
            }
            let tree = tree_of(driver.name(), &options, None);
            // How long requests take is no part of the name.
            let name = match options.has("size") || options.has("read-zeroes") {
                false => own,
                true => format!("json:{}", tree.compact()),
            };
            Ok(Layer { name, ..Layer::new(driver, generic, options, flags) })
        }
        Some(Driver::Blkdebug) if stands_on_a_format(&options)? => {
            open_filter(Driver::Blkdebug, filename, options, generic, flags, depth)
        }
        Some(
            driver @ (Driver::File
            | Driver::HostDevice
            | Driver::HostCdrom
            | Driver::Blkdebug
            | Driver::Nbd),
        ) => {
            // The file itself is the image: its options are all there are.
            let mut below = std::mem::take(&mut options);
            if let Some(filename) = filename {
                match driver {
                    Driver::Blkdebug => split_name(&filename, &mut below)?,
                    _ => parse_filename(&filename, true, &mut below)?,
                }
            }
            below.set("driver", driver.name());
            let flags_below = OpenFlags { share: generic.share, ..generic.child_flags() };
            let file = FileNode::open(below, &flags_below, depth, &mut |_| Ok(LockKind::Raw))?;
            let (name, file) = (file.name.clone(), Some(file));
            Ok(Layer { file, name, ..Layer::new(driver, generic, options, flags) })
        }
        Some(driver @ (Driver::Compress | Driver::CopyOnRead)) => {
            open_filter(driver, filename, options, generic, flags, depth)
        }
        format => open_format(filename, options, format, generic, flags, depth),
    }
}

/// Opens an image whose format stands on a file.
fn open_format(
    filename: Option<String>,
    mut options: Options,
    format: Option<Driver>,
    generic: Generic,
    flags: &OpenFlags,
    depth: usize,
) -> Result<Layer, DiskError> {
    if options.entries().iter().any(|(key, value)| key == "backing" && *value == Json::str("")) {
        out::error_line(
            "warning: Use of \"backing\": \"\" is deprecated; use \"backing\": null instead",
        );
    }
    if let Some(node) = options.take_text("file")? {
        return Err(no_node(&node));
    }
    let mut below = options.take_node("file");
    if let Some(filename) = &filename {
        parse_filename(filename, below.has("driver"), &mut below)?;
    }
    if below.is_empty() {
        return Err(DiskError::invalid(match format {
            Some(_) => "A block device must be specified for \"file\"",
            None => "Must specify either driver or file",
        }));
    }
    let file = FileNode::open(below, &generic.child_flags(), depth, &mut |start| {
        Ok(match format {
            Some(Driver::Raw) => LockKind::Raw,
            Some(_) => LockKind::Format,
            None => probed_lock(start),
        })
    })?;
    let (driver, probed) = match format {
        Some(driver) => (driver, false),
        None => (probed_driver(&file)?, true),
    };
    let layer = Layer::new(driver, generic, options, flags);
    let mut layer = Layer { probed, file: Some(file), ..layer };
    layer.name = layer.shown_name();
    Ok(layer)
}

/// The driver for the format that the file begins as.
fn probed_driver(file: &FileNode) -> Result<Driver, DiskError> {
    match probe(&file.start()?) {
        Probed::Raw => Ok(Driver::Raw),
        Probed::Qcow2 => Ok(Driver::Qcow2),
        Probed::Other(name) => Driver::named(name),
    }
}

impl Layer {
    /// A layer of its options, without what is under it.
    pub(super) fn new(
        driver: Driver,
        generic: Generic,
        options: Options,
        flags: &OpenFlags,
    ) -> Self {
        Self {
            driver,
            probed: false,
            warns: true,
            generic,
            options,
            file: None,
            data: None,
            filtered: None,
            debugging: None,
            name: String::new(),
            flags: *flags,
        }
    }

    /// The path if it says all, otherwise a `json:` name.
    pub(super) fn shown_name(&self) -> String {
        if let (Some(debugging), Some(below)) = (&self.debugging, &self.filtered)
            && !below.name.starts_with("json:")
            && let Some(name) = debugging.plain_name(&below.name)
        {
            return name;
        }
        let file = self.file.as_ref();
        match file.filter(|file| file.plain_name) {
            Some(file) if !self.has_strong_options() => file.name.clone(),
            _ => format!("json:{}", self.tree().compact()),
        }
    }

    /// The name at which relative names begin: that of the file, where the image has only options.
    pub(crate) fn place(&self) -> &str {
        let path = self.file.as_ref().filter(|_| self.name.starts_with("json:"));
        path.and_then(FileNode::path).unwrap_or(&self.name)
    }

    /// Whether an option changes what the data is.
    fn has_strong_options(&self) -> bool {
        let strong = |key: &str| match self.driver {
            Driver::Raw => matches!(key, "offset" | "size"),
            Driver::Luks => key == "key-secret",
            _ => key.starts_with("encrypt."),
        };
        self.options.entries().iter().any(|(key, _)| strong(key))
    }

    /// The node tree in its canonical form.
    pub(super) fn tree(&self) -> Json {
        let file = match (&self.filtered, &self.debugging) {
            (Some(below), Some(debugging)) => return debugging.tree(below.tree()),
            (Some(below), None) => Some(below.tree()),
            (None, _) => self.file.as_ref().map(FileNode::shown_tree),
        };
        tree_of(self.driver.name(), &self.options, file)
    }
}

/// A node with the options that belong into its name. The order is that of the reference's tables.
fn tree_of(driver: &str, options: &Options, file: Option<Json>) -> Json {
    let mut tree = Json::Map(Vec::new());
    let put = |tree: &mut Json, names: &[&str]| {
        for (key, value) in options.entries() {
            if names.contains(&key.as_str()) {
                tree.push(key, value.clone());
            }
        }
    };
    put(&mut tree, &["offset", "encrypt.key-secret", "read-zeroes"]);
    tree.push("driver", driver);
    put(&mut tree, &["size"]);
    if let Some(file) = file {
        tree.push("file", file);
    }
    put(&mut tree, &["key-secret"]);
    tree
}
