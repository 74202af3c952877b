//! The LUKS header inside of an image.

use std::sync::Arc;

use holstein_crypto::{Secret, SectorCipher};
use holstein_format::{CryptMethod, Header};
use holstein_luks::{FileArea, Limits};
use holstein_storage::Storage;

use crate::Error;

/// Where the header of an image says that its LUKS header lies.
fn area<'a>(storage: &'a dyn Storage, header: &Header) -> Option<FileArea<'a>> {
    let (at, len) = header.encryption_header()?;
    Some(FileArea::part(storage, at, len))
}

/// The LUKS header of the image in `storage`, which has `header`; none for an image without LUKS encryption.
///
/// It tells how the disk is encrypted and which key slots are in use. No passphrase is needed, and no key is
/// derived.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] where it contradicts itself or ends early;
/// [`crate::ErrorKind::Unsupported`] for another version than 1; I/O.
pub fn luks_header(
    storage: &dyn Storage,
    header: &Header,
) -> Result<Option<holstein_luks::Header>, Error> {
    match (header.crypt_method, area(storage, header)) {
        (CryptMethod::Luks, Some(area)) => Ok(Some(holstein_luks::Header::read(&area)?)),
        _ => Ok(None),
    }
}

/// The cipher of a LUKS image, unlocked by a passphrase.
pub(crate) fn unlock(
    storage: &dyn Storage,
    header: &Header,
    passphrase: &Secret,
    limits: Limits,
) -> Result<Arc<dyn SectorCipher>, Error> {
    // A header that says LUKS has an area, or it was not read.
    let area = area(storage, header).ok_or(holstein_luks::LuksError::Magic)?;
    let luks = holstein_luks::Header::read(&area)?;
    Ok(luks.unlock(&area, passphrase, limits)?.cipher()?)
}
