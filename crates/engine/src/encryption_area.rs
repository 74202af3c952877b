//! The clusters that hold the LUKS header and its key material.

use holstein_format::Header;
use holstein_guard::Region;

use crate::disk::Disk;

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
}
