//! Files with certificates and keys, in PEM.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use holstein_crypto::Secret;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};

use zeroize::Zeroizing;

use crate::encrypted_key::{Locked, unlock};
use crate::error::{CredentialsError, Side};

/// Certificates of authorities.
pub(crate) const AUTHORITIES: &str = "ca-cert.pem";
/// Certificates that do not count any more.
pub(crate) const REVOCATIONS: &str = "ca-crl.pem";

/// How a key begins that a passphrase encrypts.
const LOCKED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
/// What says the same in an older form.
const OLD_LOCK: &str = "Proc-Type: 4,ENCRYPTED";
/// A file with more bytes is none with certificates in it.
const MAX_FILE: u64 = 8 << 20;

/// The files of one directory.
pub(crate) struct Files<'a> {
    dir: &'a Path,
    side: Side,
}

/// A certificate, those that vouch for it, and its key.
pub(crate) struct Identity {
    /// The certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The key, as the text of its file; nobody else sees it.
    key: Zeroizing<Vec<u8>>,
    /// Where the certificate is.
    pub(crate) certificate_path: PathBuf,
    key_path: PathBuf,
}

impl<'a> Files<'a> {
    pub(crate) fn new(dir: &'a Path, side: Side) -> Self {
        Self { dir, side }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The certificates of authorities, at least one.
    pub(crate) fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
        let path = self.path(AUTHORITIES);
        let text = read(&path)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(CredentialsError::Authorities { path }),
        }
    }

    /// The lists of certificates that do not count any more; the file may be missing.
    pub(crate) fn revocations(
        &self,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, CredentialsError> {
        let path = self.path(REVOCATIONS);
        let Some(text) = read_if_there(&path)? else { return Ok(Vec::new()) };
        let found: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_slice_iter(&text).collect();
        let reason = match found {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => in_words(&pem::Error::NoItemsFound),
            Err(error) => in_words(&error),
        };
        Err(CredentialsError::Revocations { path, reason: reason.to_owned() })
    }

    /// The certificate of this side with its key, which a client may not have.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, CredentialsError> {
        let certificate_path = self.path(&format!("{}-cert.pem", self.side));
        let key_path = self.path(&format!("{}-key.pem", self.side));
        let (certificate, key) = match self.side {
            Side::Server => (read(&certificate_path)?, read(&key_path)?),
            Side::Client => {
                let both = (read_if_there(&certificate_path)?, read_if_there(&key_path)?);
                let (Some(certificate), Some(key)) = both else { return Ok(None) };
                (certificate, key)
            }
        };
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
        let reason = match found {
            Ok(chain) if !chain.is_empty() => {
                return Ok(Some(Identity { chain, key, certificate_path, key_path }));
            }
            Ok(_) => in_words(&pem::Error::NoItemsFound),
            Err(error) => in_words(&error),
        };
        Err(CredentialsError::Certificate { side: self.side, path: certificate_path, reason })
    }
}

impl Identity {
    /// The key; `passphrase` counts where it is encrypted.
    pub(crate) fn key(
        &self,
        passphrase: Option<&Secret>,
    ) -> Result<PrivateKeyDer<'static>, CredentialsError> {
        if contains(&self.key, OLD_LOCK) {
            let reason = "keys encrypted in this old way are not available in this version";
            return Err(self.unusable(reason));
        }
        if contains(&self.key, LOCKED) {
            return self.locked_key(passphrase);
        }
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound => self.unusable("The requested data were not available."),
            error => self.unusable(in_words(&error)),
        })
    }

    fn locked_key(
        &self,
        passphrase: Option<&Secret>,
    ) -> Result<PrivateKeyDer<'static>, CredentialsError> {
        // What reads keys knows them by the name that they have without a lock.
        let text = Zeroizing::new(String::from_utf8_lossy(&self.key).into_owned());
        let text = Zeroizing::new(text.replace(" ENCRYPTED PRIVATE KEY", " PRIVATE KEY"));
        let locked = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| self.unusable(in_words(&error)))?;
        let passphrase = passphrase.map(Secret::bytes).unwrap_or_default();
        match unlock(locked.secret_pkcs8_der(), passphrase) {
            Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.bytes().to_vec()).into()),
            Err(Locked::Wrong) => Err(self.unusable("Decryption has failed.")),
            Err(Locked::Unknown) => {
                let reason = "keys encrypted in this way are not available in this version";
                Err(self.unusable(reason))
            }
        }
    }

    /// The key does not go with the certificate.
    pub(crate) fn unusable(&self, reason: impl Into<String>) -> CredentialsError {
        CredentialsError::Key {
            certificate: self.certificate_path.clone(),
            key: self.key_path.clone(),
            reason: reason.into(),
        }
    }
}

fn contains(text: &[u8], words: &str) -> bool {
    text.windows(words.len()).any(|part| part == words.as_bytes())
}

fn in_words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::NoItemsFound => "Base64 unexpected header error.",
        _ => "Base64 decoding error.",
    }
}

pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
    let mut text = Zeroizing::new(Vec::new());
    let opened = File::open(path).and_then(|file| {
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        // With room for all of it nothing is left behind where it moves.
        let len = file.metadata()?.len().min(MAX_FILE) + 1;
        text.reserve(usize::try_from(len).unwrap_or_default());
        file.take(MAX_FILE + 1).read_to_end(&mut text)?;
        let is_sane = text.len() as u64 <= MAX_FILE;
        if is_sane { Ok(()) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    });
    match opened {
        Ok(()) => Ok(text),
        Err(source) => Err(CredentialsError::Access { path: path.to_owned(), source }),
    }
}

fn read_if_there(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, CredentialsError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(CredentialsError::Access { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
