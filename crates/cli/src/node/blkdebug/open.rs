//! Opening the node and what is under it.

use std::sync::Arc;

use holstein_storage::Storage;

use super::limits::Limits;
use super::storage::DebugStorage;
use super::{Debugger, config, rules};
use crate::disk::DiskError;
use crate::node::file_node::LockKind;
use crate::node::filter::name_below;
use crate::node::keep_space::under_options;
use crate::node::{FileNode, Generic, OpenFlags, Options};
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

/// Opens a debugging node.
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
    let given = options.clone();
    let config = options.take_text("config")?;
    let image = take_image(&mut options)?;
    let mut all = match &config {
        Some(path) => config::read(path)?,
        None => Vec::new(),
    };
    all.extend(rules::take(&mut options)?);
    let limits = Limits::take(&mut options)?;
    if let Some(unknown) = options.first_key() {
        return Err(DiskError::invalid(format!(
            "Block protocol 'blkdebug' doesn't support the option '{unknown}'"
        )));
    }
    let child = FileNode::open(image, &generic.child_flags(), depth + 1, lock)?;
    generic.check_writer(flags)?;
    let debugger = Arc::new(Debugger::new(all));
    let below = Arc::clone(&child.storage);
    let storage: Arc<dyn Storage> =
        Arc::new(DebugStorage::new(below, Arc::clone(&debugger), limits));
    Ok(named(given, config, child, under_options(storage, &generic), debugger))
}

/// The node with the name by which it is shown: the plain form if it says all, else a `json:` name.
fn named(
    given: Options,
    config: Option<String>,
    child: FileNode,
    storage: Arc<dyn Storage>,
    debugger: Arc<Debugger>,
) -> FileNode {
    let says_all = given
        .entries()
        .iter()
        .all(|(key, _)| PLAIN.contains(&key.as_str()) || key.starts_with("image."));
    let mut tree = Json::map([("image", child.shown_tree()), ("driver", "blkdebug".into())]);
    for (key, value) in given.entries() {
        if key != "x-image" && !key.starts_with("image.") {
            tree.push(key, value.clone());
        }
    }
    let plain_name = says_all && child.plain_name;
    let name = if plain_name {
        format!("blkdebug:{}:{}", config.unwrap_or_default(), child.name)
    } else {
        format!("json:{}", tree.compact())
    };
    FileNode::debugging(storage, name, plain_name, tree, child, debugger)
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
