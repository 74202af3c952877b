//! The clusters that hold the LUKS header and its key material.

use std::sync::atomic::Ordering;

use holstein_format::{CryptMethod, Header, HeaderExtension};
use holstein_guard::{Intent, Region};

use crate::EngineError;
use crate::disk::Disk;
use crate::read::usize_of;

/// Bytes of an area that can hold something: the format's own are a little over 2 MiB, and longer ones only
/// say so.
const MOST: u64 = 16 << 20;

impl Disk {
    /// Notes the area, so that no write of anything else lands on it.
    pub(crate) fn protect_encryption_area(&self, header: &Header) {
        if let Some((at, bytes)) = header.encryption_header() {
            self.protect(Region::EncryptionHeader, at, bytes.min(MOST));
        }
    }

    /// Makes a disk without data one under LUKS: gives its header with all key material a place.
    ///
    /// The disk is stale afterwards; what opens it again brings the cipher along.
    ///
    /// # Errors
    /// As for [`Disk::update_header`].
    pub fn add_encryption_area(&self, bytes: &[u8]) -> Result<(), EngineError> {
        let _alone = self.restructure();
        self.check_writable()?;
        let length = bytes.len() as u64;
        let count = self.geometry.clusters_for(length);
        let mut whole = bytes.to_vec();
        whole.resize(usize_of(count * self.geometry.cluster_size()), 0);
        let mut area = self.set_aside(length)?;
        let offset = area.at();
        self.file.write(Intent::Metadata(Region::EncryptionHeader), offset, &whole)?;
        let run = self.sequencer.lock();
        self.update_header_in(&run, |header| {
            header.crypt_method = CryptMethod::Luks;
            let is_name = |extension: &HeaderExtension| {
                matches!(
                    extension,
                    HeaderExtension::BackingFormat(_) | HeaderExtension::DataFile(_)
                )
            };
            let place = header.extensions.iter().take_while(|extension| is_name(extension)).count();
            let extension = HeaderExtension::EncryptionHeader { offset, length };
            header.extensions.insert(place, extension);
        })?;
        area.keep();
        self.drain(&run)?;
        self.stale.store(true, Ordering::Release);
        Ok(())
    }
}
