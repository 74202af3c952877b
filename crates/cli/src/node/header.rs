//! The header of a qcow2 image, read without anything else of it.

use holstein_format::{DecodePurpose, FormatError, Header};
use holstein_units::HostOffset;

use super::{Driver, FileNode, Layer};
use crate::disk::DiskError;
use holstein_units::SECTOR;

/// Bytes that are read at first; most headers fit.
const FIRST_READ: usize = 4096;
/// The largest cluster.
const MAX_CLUSTER: u64 = 2 << 20;

/// Reads and judges the header.
///
/// # Errors
/// The words of the reference for what is wrong with it.
pub(crate) fn read_header(file: &FileNode, purpose: DecodePurpose) -> Result<Header, DiskError> {
    let len = file.len()?;
    let read = |bytes: usize| -> Result<Vec<u8>, DiskError> {
        let mut start = vec![0; bytes];
        let read = file
            .storage
            .read_at(HostOffset::new(0), &mut start)
            .map_err(|error| DiskError::from(error).prefixed("Could not read qcow2 header: "))?;
        start.truncate(read);
        Ok(start)
    };
    let start = read(FIRST_READ)?;
    match Header::decode(&start, len, purpose) {
        Err(FormatError::NeedsMore { .. }) => {
            let cluster = Header::cluster_size_hint(&start).unwrap_or(MAX_CLUSTER);
            let bytes = usize::try_from(cluster.min(MAX_CLUSTER)).unwrap_or(FIRST_READ);
            Header::decode(&read(bytes)?, len, purpose)
        }
        decoded => decoded,
    }
    .map_err(|error| {
        let errno = match &error {
            FormatError::UnknownFeatures { .. } | FormatError::UnsupportedVersion { .. } => {
                libc::ENOTSUP
            }
            _ => libc::EINVAL,
        };
        DiskError::new(errno, error.qemu_message())
    })
}

impl Layer {
    /// The length of the disk, from the header or the file; nothing else is read.
    ///
    /// # Errors
    /// The header is wrong.
    pub(crate) fn virtual_size(&self) -> Result<u64, DiskError> {
        match (&self.file, self.driver) {
            (Some(file), Driver::Qcow2) => Ok(read_header(file, DecodePurpose::Use)?.size),
            (Some(file), Driver::Luks) => Ok(super::volume_facts(file)?.0),
            (Some(file), _) => {
                let len = file.len()?.next_multiple_of(SECTOR);
                Ok(len)
            }
            (None, _) => match &self.filtered {
                Some(below) => below.virtual_size(),
                None => Err(DiskError::unsupported("the node has no file")),
            },
        }
    }
}
