//! Names of backing files: where they lead, and which are followed.

use std::collections::HashSet;

use holstein_storage::FileIdentity;

use super::Options;
use super::protocol::{has_protocol, parse_filename};
use crate::disk::DiskError;

/// A chain has at most this many images.
const MAX_CHAIN: usize = 200;

/// The name under which a backing file is found: relative names start at the directory of the image
/// that stores them.
///
/// # Errors
/// The image has no directory.
pub(crate) fn backing_name(image: &str, stored: &str) -> Result<String, DiskError> {
    if stored.is_empty() || has_protocol(stored) || stored.starts_with('/') {
        return Ok(stored.to_owned());
    }
    if image.is_empty() || image.starts_with("json:") {
        return Err(DiskError::invalid(format!(
            "Cannot use relative backing file names for '{image}'"
        )));
    }
    let directory = image.rfind('/').map_or("", |slash| &image[..=slash]);
    Ok(format!("{directory}{stored}"))
}

/// Refuses to make images under protocols that are unknown, not available in this version, or that
/// have nothing in which an image could be made.
///
/// # Errors
/// As for opening the name.
pub(crate) fn check_protocol(filename: &str) -> Result<(), DiskError> {
    let mut options = Options::default();
    parse_filename(filename, false, &mut options)?;
    match options.take_text("driver")? {
        Some(driver) if !matches!(driver.as_str(), "file" | "host_device" | "host_cdrom") => {
            Err(DiskError::unsupported(format!(
                "Protocol driver '{driver}' does not support image creation"
            )))
        }
        _ => Ok(()),
    }
}

/// Images of one chain, so that no image is its own backing file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    seen: HashSet<FileIdentity>,
    len: usize,
}

impl Chain {
    /// Adds an image.
    ///
    /// # Errors
    /// It is in the chain already, or the chain is too long.
    pub(crate) fn add(
        &mut self,
        name: &str,
        identity: Option<FileIdentity>,
    ) -> Result<(), DiskError> {
        self.len += 1;
        if self.len > MAX_CHAIN {
            return Err(DiskError::invalid(format!(
                "Backing file '{name}' makes a chain of more than {MAX_CHAIN} images."
            )));
        }
        match identity {
            Some(identity) if !self.seen.insert(identity) => {
                Err(DiskError::invalid(format!("Backing file '{name}' creates an infinite loop.")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_names_start_at_the_image() {
        let name = |image, stored| backing_name(image, stored).map_err(|e| e.to_string());
        assert_eq!(name("sub/o.qcow2", "../b"), Ok("sub/../b".to_owned()));
        assert_eq!(name("o.qcow2", "b"), Ok("b".to_owned()));
        assert_eq!(name("sub/o.qcow2", "/b"), Ok("/b".to_owned()));
        assert_eq!(name("sub/o.qcow2", "file:b"), Ok("file:b".to_owned()));
        assert!(name("json:{}", "b").is_err());
    }

    #[test]
    fn a_chain_ends() {
        let mut chain = Chain::default();
        let identity = |ino| Some(FileIdentity { dev: 1, ino });
        chain.add("a", identity(1)).expect("it is the first");
        assert!(chain.add("b", identity(1)).is_err());
        let last = (2..).find(|ino| chain.add("c", identity(*ino)).is_err());
        assert!(last.is_some_and(|ino| ino < 210));
    }
}
