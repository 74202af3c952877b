//! Names of backing files: where they lead, and which are followed.

use holstein::chain::{Members, MembersError, NameError, resolve_backing_name};
use holstein_storage::FileIdentity;

use super::Options;
use super::protocol::parse_filename;
use crate::disk::DiskError;

/// The name under which a backing file is found: relative names start at the directory of the image
/// that stores them.
///
/// # Errors
/// The image has no directory.
pub(crate) fn backing_name(image: &str, stored: &str) -> Result<String, DiskError> {
    match resolve_backing_name(image.as_bytes(), stored.as_bytes()) {
        Ok(name) => Ok(String::from_utf8_lossy(&name).into_owned()),
        Err(NameError::NoDirectory | _) => {
            Err(DiskError::invalid(format!("Cannot use relative backing file names for '{image}'")))
        }
    }
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
        Some(driver)
            if !matches!(driver.as_str(), "file" | "host_device" | "host_cdrom" | "nbd") =>
        {
            Err(DiskError::unsupported(format!(
                "Protocol driver '{driver}' does not support image creation"
            )))
        }
        _ => Ok(()),
    }
}

/// Images of one chain, so that no image is its own backing file.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChainMembers(Members);

impl ChainMembers {
    /// Adds an image.
    ///
    /// # Errors
    /// It is in the chain already, or the chain is too long.
    pub(crate) fn add(
        &mut self,
        name: &str,
        identity: Option<FileIdentity>,
    ) -> Result<(), DiskError> {
        self.0.add(identity).map_err(|error| match error {
            MembersError::Loop => {
                DiskError::invalid(format!("Backing file '{name}' creates an infinite loop."))
            }
            other => DiskError::invalid(format!("Backing file '{name}': {other}")),
        })
    }
}
