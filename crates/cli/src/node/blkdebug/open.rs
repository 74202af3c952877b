//! Opening the node and what is under it.

use std::sync::Arc;

use holstein_storage::Storage;

use super::gate::Gate;
use super::limits::Limits;
use super::storage::DebugStorage;
use super::{DebugDisk, Debugger, config, rules};
use crate::disk::{Disk, DiskError};
use crate::node::file_node::LockKind;
use crate::node::filter::name_below;
use crate::node::keep_space::under_options;
use crate::node::{Driver, FileNode, Generic, OpenFlags, Options};
use crate::text::Json;

/// Options that only say what the node stands on.
const PLAIN: [&str; 2] = ["config", "x-image"];

/// Puts the parts of a name `blkdebug:CONFIG:IMAGE` into options. Without the prefix all of the
/// name is the image.
///
/// # Errors
/// The second colon is missing.
pub(crate) fn split_name(name: &str, options: &mut Options) -> Result<(), DiskError> {
    let Some(rest) = name.strip_prefix("blkdebug:") else {
        options.set("x-image", name);
        return Ok(());
    };
    let (config, image) = rest
        .split_once(':')
        .ok_or_else(|| DiskError::invalid("blkdebug requires both config file and image path"))?;
    if !config.is_empty() {
        options.set("config", config);
    }
    options.set("x-image", image);
    Ok(())
}

/// What a debugging node does, and how it was described.
pub(crate) struct Debugging {
    gate: Gate,
    debugger: Arc<Debugger>,
    config: Option<String>,
    given: Options,
}

impl Debugging {
    /// Takes all out of the options but the node below; `given` is what there was with it.
    ///
    /// # Errors
    /// An option, a limit or a rule is wrong.
    fn take(options: &mut Options, given: Options) -> Result<Self, DiskError> {
        let config = options.take_text("config")?;
        let mut all = match &config {
            Some(path) => config::read(path)?,
            None => Vec::new(),
        };
        all.extend(rules::take(options)?);
        let limits = Limits::take(options)?;
        if let Some(unknown) = options.first_key() {
            return Err(DiskError::invalid(format!(
                "Block protocol 'blkdebug' doesn't support the option '{unknown}'"
            )));
        }
        let debugger = Arc::new(Debugger::new(all));
        let gate = Gate::new(Arc::clone(&debugger), limits);
        Ok(Self { gate, debugger, config, given })
    }

    /// The node in its canonical form over the one below.
    pub(crate) fn tree(&self, below: Json) -> Json {
        let mut tree = Json::map([("image", below), ("driver", Driver::Blkdebug.name().into())]);
        for (key, value) in self.given.entries() {
            if key != "x-image" && !key.starts_with("image.") {
                tree.push(key, value.clone());
            }
        }
        tree
    }

    /// The name over a node that its name alone describes, if it says all.
    pub(crate) fn plain_name(&self, below: &str) -> Option<String> {
        let says = |key: &str| PLAIN.contains(&key) || key.starts_with("image.");
        let says_all = self.given.entries().iter().all(|(key, _)| says(key));
        let config = self.config.as_deref().unwrap_or_default();
        says_all.then(|| format!("blkdebug:{config}:{below}"))
    }

    /// Puts the node over a disk; it is shown as `name`.
    pub(crate) fn over(self, disk: Box<dyn Disk>, name: String) -> Box<dyn Disk> {
        Box::new(DebugDisk::new(disk, self.gate, self.debugger, name))
    }
}

/// Whether a debugging node with these options stands on a format or a filter, and not on bytes.
///
/// # Errors
/// A driver is unknown.
pub(crate) fn stands_on_a_format(options: &Options) -> Result<bool, DiskError> {
    let mut image = options.clone().take_node("image");
    loop {
        match image.take_text("driver")?.as_deref().map(Driver::named).transpose()? {
            Some(Driver::Blkdebug) => image = image.take_node("image"),
            driver => return Ok(driver.is_some_and(|driver| !driver.is_protocol())),
        }
    }
}

/// The parts of a debugging node: what it does, and the options of the node below.
///
/// # Errors
/// An option or a rule is wrong.
pub(crate) fn take(options: &mut Options) -> Result<(Debugging, Options), DiskError> {
    let given = options.clone();
    let image = take_image(options)?;
    Ok((Debugging::take(options, given)?, image))
}

/// Opens a debugging node over bytes.
///
/// # Errors
/// An option or a rule is wrong, or the node below cannot be opened.
pub(crate) fn open(
    mut options: Options,
    flags: &OpenFlags,
    depth: usize,
    lock: &mut dyn FnMut(&[u8]) -> Result<LockKind, DiskError>,
) -> Result<FileNode, DiskError> {
    let generic = Generic::take(&mut options, flags, false)?;
    generic.check_below()?;
    let (debugging, image) = take(&mut options)?;
    let child = FileNode::open(image, &generic.child_flags(), depth + 1, lock)?;
    generic.check_writer(flags)?;
    let tree = debugging.tree(child.shown_tree());
    let plain = if child.plain_name { debugging.plain_name(&child.name) } else { None };
    let plain_name = plain.is_some();
    let name = plain.unwrap_or_else(|| format!("json:{}", tree.compact()));
    let Debugging { gate, debugger, .. } = debugging;
    let below = Arc::clone(&child.storage);
    let storage: Arc<dyn Storage> = Arc::new(DebugStorage::new(below, gate));
    let storage = under_options(storage, &generic);
    Ok(FileNode::debugging(storage, name, plain_name, tree, child, debugger))
}

/// The options of the node below.
fn take_image(options: &mut Options) -> Result<Options, DiskError> {
    let filename = options.take_text("x-image")?;
    if let Some(node) = options.take_text("image")? {
        return Err(DiskError::invalid(format!(
            "Cannot find device='{node}' nor node-name='{node}'"
        )));
    }
    let mut image = options.take_node("image");
    let Some(filename) = filename else {
        return match image.is_empty() {
            true => Err(DiskError::invalid("A block device must be specified for \"image\"")),
            false => Ok(image),
        };
    };
    if image.has("filename") {
        return Err(DiskError::invalid(
            "Can't specify 'file' and 'filename' options at the same time",
        ));
    }
    name_below(&filename, &mut image)?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_two_parts() {
        let split = |name: &str| {
            let mut options = Options::default();
            split_name(name, &mut options).map_err(|error| error.to_string())?;
            Ok((options.take_text("config"), options.take_text("x-image")))
        };
        let text = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(split("blkdebug:c:a:b"), Ok((text("c"), text("a:b"))));
        assert_eq!(split("blkdebug::a"), Ok((Ok(None), text("a"))));
        assert_eq!(split("a"), Ok((Ok(None), text("a"))));
        let error = "blkdebug requires both config file and image path".to_owned();
        assert_eq!(split("blkdebug:a"), Err::<(_, Result<_, DiskError>), _>(error));
    }
}
