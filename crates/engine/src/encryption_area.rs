//! The clusters that hold the LUKS header and its key material.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use holstein_format::{CryptMethod, Header, HeaderExtension};
use holstein_guard::{Intent, Region};

use holstein_units::{HostOffset, HostRange};

use crate::EngineError;
use crate::disk::Disk;
use crate::read::usize_of;

/// Bytes of an area that can hold something: the format's own are a little over 2 MiB, and longer ones only
/// say so.
const MOST: u64 = 16 << 20;

/// The area of an open disk, while nobody else changes the structure of the image.
pub struct EncryptionArea<'a> {
    disk: &'a Disk,
    _alone: MutexGuard<'a, ()>,
    start: HostOffset,
    bytes: u64,
}

impl std::fmt::Debug for EncryptionArea<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptionArea").field("start", &self.start).finish_non_exhaustive()
    }
}

impl EncryptionArea<'_> {
    /// Bytes of the area that the file has.
    ///
    /// # Errors
    /// [`EngineError::Guard`].
    pub fn len(&self) -> Result<u64, EngineError> {
        Ok(self.disk.file.len()?.saturating_sub(self.start.get()).min(self.bytes))
    }

    /// Whether it has none.
    ///
    /// # Errors
    /// As for [`Self::len`].
    pub fn is_empty(&self) -> Result<bool, EngineError> {
        Ok(self.len()? == 0)
    }

    /// Fills `into` from byte `at` of the area on.
    ///
    /// # Errors
    /// [`EngineError::Guard`], where the file ends as well.
    pub fn read_at(&self, at: u64, into: &mut [u8]) -> Result<(), EngineError> {
        Ok(self.disk.file.read(self.start + at, into)?)
    }

    /// Writes `from` at byte `at` of the area; all of it is within.
    ///
    /// # Errors
    /// [`EngineError::Guard`]; [`EngineError::ReadOnly`] and others that say why the disk takes no writes.
    pub fn write_at(&self, at: u64, from: &[u8]) -> Result<(), EngineError> {
        self.disk.guarded(|| {
            let intent = Intent::Metadata(Region::EncryptionHeader);
            let range = HostRange { start: self.start + at, len: from.len() as u64 };
            Ok(self.disk.file.clear(intent, range)?.write(from)?)
        })
    }

    /// Returns when all that was written is durable.
    ///
    /// # Errors
    /// [`EngineError::Guard`].
    pub fn barrier(&self) -> Result<(), EngineError> {
        Ok(self.disk.file.barrier()?)
    }
}

impl Disk {
    /// The clusters of the LUKS header, to be read and changed; none for a disk without.
    pub fn encryption_area(&self) -> Option<EncryptionArea<'_>> {
        let _alone = self.restructure();
        let (start, bytes) = self.read_header().encryption_header()?;
        Some(EncryptionArea { disk: self, _alone, start, bytes: bytes.min(MOST) })
    }

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
