//! The file of shared keys: one a line, `NAME:KEY` with the key in hexadecimal digits.
//!
//! A name that begins with `#` is in hexadecimal digits too; so are written those that have characters which
//! would be read as something else.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::credentials::refused;
use crate::error::CredentialsError;
use crate::files::read;
use crate::priority;

/// The name of the file.
const FILE: &str = "keys.psk";
/// The name of a client that was given none.
const USERNAME: &str = "qemu";
/// Shorter keys could be guessed, and TLS 1.3 does not take them.
const MIN_KEY: usize = 16;
/// Longer keys and names are none.
const MAX_KEY: usize = 4096;
const MAX_NAME: usize = 1024;
/// A file with more keys is refused: each connection is given all of them.
const MAX_KEYS: usize = 1000;

/// Which keys to load, and what they are to be used for.
#[derive(Clone, Debug)]
pub struct SharedKeyOptions {
    /// The directory of the file `keys.psk`.
    pub dir: PathBuf,
    /// Whose key a client uses; without it that of `qemu`.
    pub username: Option<String>,
    /// Versions of the protocol, as a priority of GnuTLS; TLS 1.3 has to be among them.
    pub priority: Option<String>,
}

impl SharedKeyOptions {
    /// Those of a directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), username: None, priority: None }
    }

    fn check_priority(&self) -> Result<(), CredentialsError> {
        let versions = priority::versions(self.priority.as_deref())?;
        if versions.contains(&&rustls::version::TLS13) {
            return Ok(());
        }
        Err(CredentialsError::Priority(self.priority.clone().unwrap_or_default()))
    }
}

/// A key under its name. The key is never shown.
#[derive(Clone)]
pub(crate) struct SharedKey {
    name: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl SharedKey {
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.key
    }

    /// The key of a client.
    pub(crate) fn of_client(options: &SharedKeyOptions) -> Result<Self, CredentialsError> {
        options.check_priority()?;
        let path = options.dir.join(FILE);
        let text = read(&path)?;
        let username = options.username.as_deref().unwrap_or(USERNAME);
        let digits = text
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(username.as_bytes())?.strip_prefix(b":"));
        let Some(digits) = digits else {
            return Err(CredentialsError::Username { name: username.to_owned(), path });
        };
        let unusable = |reason| CredentialsError::SharedKey { reason };
        let key = from_hex(digits).ok_or_else(|| unusable("Error in parsing."))?;
        if username.is_empty() || username.len() > MAX_NAME || !is_sane(&key) {
            return Err(unusable("The request is invalid."));
        }
        Ok(Self { name: username.as_bytes().to_vec(), key })
    }
}

/// The file of a server's keys. It is read for each connection: who is added to it may come in at once, and
/// who is taken out of it may not any more.
#[derive(Clone, Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    pub(crate) fn find(options: &SharedKeyOptions) -> Result<Self, CredentialsError> {
        if options.username.is_some() {
            let text = "username should not be set when endpoint=server";
            return Err(CredentialsError::Unfit(text.to_owned()));
        }
        options.check_priority()?;
        let path = options.dir.join(FILE);
        keys_of(&path)?;
        Ok(Self { path })
    }

    /// The keys that count now.
    pub(crate) fn keys(&self) -> Result<Vec<SharedKey>, CredentialsError> {
        keys_of(&self.path)
    }
}

/// The keys of a file. Lines that are none are passed over, and of several under one name the first counts.
fn keys_of(path: &Path) -> Result<Vec<SharedKey>, CredentialsError> {
    let text = read(path)?;
    let mut keys: Vec<SharedKey> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(found) = key_of(line) else { continue };
        if keys.iter().any(|known| known.name == found.name) {
            continue;
        }
        if keys.len() == MAX_KEYS {
            let text = format!("{} has more than {MAX_KEYS} keys", path.display());
            return Err(refused(text));
        }
        keys.push(found);
    }
    Ok(keys)
}

fn key_of(line: &[u8]) -> Option<SharedKey> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, digits) = (&line[..colon], &line[colon + 1..]);
    let name = match name.strip_prefix(b"#") {
        Some(digits) => from_hex(digits)?.to_vec(),
        None => name.to_vec(),
    };
    let key = from_hex(digits.strip_suffix(b"\r").unwrap_or(digits))?;
    let good = !name.is_empty() && name.len() <= MAX_NAME && is_sane(&key);
    good.then_some(SharedKey { name, key })
}

fn is_sane(key: &[u8]) -> bool {
    (MIN_KEY..=MAX_KEY).contains(&key.len())
}

/// The bytes of hexadecimal digits.
fn from_hex(digits: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if digits.len() / 2 > MAX_KEY {
        return None;
    }
    hex::decode(digits).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeFF";

    #[test]
    fn lines_are_names_and_keys_or_nothing() {
        let found = key_of(format!("alice:{KEY}").as_bytes()).expect("a key");
        assert_eq!(found.name(), b"alice");
        assert_eq!(found.bytes()[..3], [0, 0x11, 0x22]);
        assert_eq!(found.bytes()[15], 0xff);
        let coded = key_of(format!("#613a62:{KEY}\r").as_bytes()).expect("a key");
        assert_eq!(coded.name(), b"a:b");
        let long = "0".repeat(2 * MAX_KEY + 2);
        for bad in [
            String::new(),
            "alice".to_owned(),
            "alice:".to_owned(),
            "alice:0011".to_owned(),
            format!("alice:{KEY}0"),
            format!("alice:{KEY}xy"),
            format!("alice: {KEY}"),
            format!(":{KEY}"),
            format!("#:{KEY}"),
            format!("#6:{KEY}"),
            format!("{}:{KEY}", "n".repeat(MAX_NAME + 1)),
            format!("alice:{long}"),
        ] {
            assert!(key_of(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
