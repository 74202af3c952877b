//! The passphrases of an image.

use std::time::Duration;

use holstein::luks::{
    CipherMode, CipherSpec, FileArea, Format, Header, KeyChange, Limits, LuksError,
};
use holstein::{CreateOptions, Error, ErrorKind, OpenOptions, ReadOnlyImage, Secret};

use crate::{Config, Feature, Files, Moment, Presence};

/// Passphrase `number` of any image.
#[must_use]
pub fn passphrase(number: u64) -> Secret {
    Secret::new(format!("passphrase-{number}").into_bytes())
}

/// A passphrase that may open an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its number.
    pub number: u64,
    /// Whether it does; the same after a cut, since changes are durable when they return.
    pub now: Presence,
}

impl Key {
    /// Those of a new image.
    #[must_use]
    pub fn of(config: Config) -> Vec<Self> {
        let first = Self { number: 0, now: Presence::Listed };
        if config.has(Feature::Luks) { vec![first] } else { Vec::new() }
    }
}

/// The most passphrases that images have.
const MOST: u64 = 4;

/// What makes a new image one that opens to passphrase 0, if it is to be encrypted. Deriving keys takes as
/// little work as is possible.
pub(crate) fn encrypted(create: CreateOptions, config: Config) -> CreateOptions {
    if config.has(Feature::Aes) {
        return create.legacy_aes(passphrase(0));
    }
    if config.has(Feature::Luks) {
        let cipher = CipherSpec { key: 16, mode: CipherMode::Cbc, ..CipherSpec::default() };
        let format = Format { cipher, iter_time: Duration::ZERO, ..Format::default() };
        return create.luks(format, passphrase(0));
    }
    create
}

/// A change that adds or erases passphrase `number`.
#[must_use]
pub fn key_change(number: u64, add: bool) -> KeyChange {
    let passphrase = passphrase(number);
    match add {
        true => KeyChange::Add { passphrase, slot: None, iter_time: Duration::ZERO },
        false => KeyChange::ErasePassphrase(passphrase),
    }
}

/// Opens with the first passphrase that fits, where the image has any.
pub(crate) fn with_passphrase<T>(
    config: Config,
    options: OpenOptions,
    open: impl Fn(&OpenOptions) -> Result<T, Error>,
) -> Result<T, Error> {
    if !config.is_encrypted() {
        return open(&options);
    }
    let mut result = open(&options.clone().passphrase(passphrase(0)));
    let wrong = |result: &Result<T, Error>| matches!(result, Err(error) if error.kind() == ErrorKind::WrongPassphrase);
    for number in 1..MOST {
        if !wrong(&result) {
            break;
        }
        result = open(&options.clone().passphrase(passphrase(number)));
    }
    result
}

/// Judges that each passphrase opens the image which has to, and none that was erased. That some passphrase
/// does is known: the image is open.
///
/// # Errors
/// What is wrong, as text.
pub(crate) fn judge_keys(
    files: &Files,
    image: &ReadOnlyImage,
    moment: &Moment,
) -> Result<(), String> {
    if moment.keys.len() < 2 {
        return Ok(());
    }
    let (at, len) = image.header().encryption_header().ok_or("the image has no LUKS header")?;
    let area = FileArea::part(&*files.own, at, len);
    let luks = Header::read(&area).map_err(|e| format!("the LUKS header: {e}"))?;
    for key in moment.keys.iter().filter(|key| key.now != Presence::Maybe) {
        let opens = match luks.unlock(&area, &passphrase(key.number), Limits::default()) {
            Ok(_) => true,
            Err(LuksError::Passphrase) => false,
            Err(error) => return Err(format!("passphrase {}: {error}", key.number)),
        };
        if opens != (key.now == Presence::Listed) {
            let number = key.number;
            return Err(format!("passphrase {number} opens the image: {opens}, and should not"));
        }
    }
    Ok(())
}
