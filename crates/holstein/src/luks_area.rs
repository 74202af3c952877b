//! The LUKS header inside of an image.

use std::io;
use std::sync::Arc;

use holstein_crypto::{Secret, SectorCipher};
use holstein_engine::{EncryptionArea, EngineError};
use holstein_format::{CryptMethod, Header};
use holstein_guard::planted::{Bug, is_planted};
use holstein_luks::{FileArea, KeyArea, KeyChange, Limits, MasterKey};
use holstein_storage::Storage;

use crate::error::Cause;
use crate::{Error, Image};

/// What opens the payload of an image: the cipher where it is encrypted, and the key that LUKS has for it with
/// how much work changing its slots may ask for.
pub(crate) type Unlocked = (Option<Arc<dyn SectorCipher>>, Option<(MasterKey, Limits)>);

/// By the key of a LUKS header.
pub(crate) fn by_key(key: MasterKey, limits: Limits) -> Result<Unlocked, Error> {
    Ok((Some(key.cipher()?), Some((key, limits))))
}

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

/// A LUKS image, unlocked by a passphrase.
pub(crate) fn unlock(
    storage: &dyn Storage,
    header: &Header,
    passphrase: &Secret,
    limits: Limits,
) -> Result<Unlocked, Error> {
    // A header that says LUKS has an area, or it was not read.
    let area = area(storage, header).ok_or(holstein_luks::LuksError::Magic)?;
    let luks = holstein_luks::Header::read(&area)?;
    by_key(luks.unlock(&area, passphrase, limits)?, limits)
}

/// The area of an open image.
struct OpenArea<'a>(EncryptionArea<'a>);

fn failed(error: EngineError) -> io::Error {
    let number = error.io().and_then(io::Error::raw_os_error);
    number.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}

impl KeyArea for OpenArea<'_> {
    fn len(&self) -> io::Result<u64> {
        self.0.len().map_err(failed)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(at, into).map_err(failed)
    }

    fn write_at(&self, at: u64, from: &[u8]) -> io::Result<()> {
        self.0.write_at(at, from).map_err(failed)
    }

    fn barrier(&self) -> io::Result<()> {
        if is_planted(Bug::KeysNotFlushed) {
            return Ok(());
        }
        self.0.barrier().map_err(failed)
    }
}

impl Image {
    /// Adds or erases passphrases of an image under LUKS, durably. The disk stays open whatever becomes of
    /// the one that opened it.
    ///
    /// * `force`: a key slot in use may be written over, and the last one erased, after which nobody opens
    ///   the image again.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use holstein::{CreateOptions, OpenOptions, Secret, luks, storage::MemStorage};
    ///
    /// let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    /// let format = luks::Format { iter_time: Duration::ZERO, ..luks::Format::default() };
    /// let file = Arc::new(MemStorage::new());
    /// let image = CreateOptions::new(1 << 20).luks(format, secret("old")).create_on(file.clone())?;
    /// let add = luks::KeyChange::Add {
    ///     passphrase: secret("new"),
    ///     slot: None,
    ///     iter_time: Duration::ZERO,
    /// };
    /// image.change_keys(&add, false)?;
    /// image.change_keys(&luks::KeyChange::ErasePassphrase(secret("old")), false)?;
    /// image.close()?;
    /// OpenOptions::new().passphrase(secret("new")).open_storage_read_only(file.clone())?;
    /// assert!(OpenOptions::new().passphrase(secret("old")).open_storage_read_only(file).is_err());
    /// # Ok::<(), holstein::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for an image that is not under LUKS, and for a change that breaks a
    /// rule, with nothing written; I/O. After a crash every slot that is not part of the change is as it was.
    pub fn change_keys(&self, change: &KeyChange, force: bool) -> Result<(), Error> {
        let (Some((key, limits)), Some(area)) = (self.key(), self.disk().encryption_area()) else {
            return Err(Cause::Invalid("the image is not encrypted under LUKS".to_owned()).into());
        };
        Ok(change.apply_with_key(&OpenArea(area), key, force, *limits)?)
    }
}
