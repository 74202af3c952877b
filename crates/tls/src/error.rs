//! Why credentials cannot be used.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Which side of a connection credentials are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Clients come to it.
    Server,
    /// It goes to servers.
    Client,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// Why credentials cannot be used, in the words of QEMU's tools where they have any.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("Unable to access credentials {}: {source}", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There are no certificates of authorities in a file, or they are none.
    #[error("Unable to import CA certificate list {}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
    },
    /// There is no certificate in a file, or it is none.
    #[error("Unable to import {side} certificate {}: {reason}", path.display())]
    Certificate {
        /// Whose it should be.
        side: Side,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A key cannot be used with its certificate.
    #[error("Cannot load certificate '{}' & key '{}': {reason}", certificate.display(), key.display())]
    Key {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A list of certificates that do not count any more cannot be used.
    #[error("Cannot load CRL '{}': {reason}", path.display())]
    Revocations {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate says that it is not for this, in a sentence.
    #[error("{0}")]
    Unfit(String),
    /// The authorities do not vouch for the certificate beside them.
    #[error("Our own certificate {} failed validation against {}: {reason}", path.display(), authorities.display())]
    Untrusted {
        /// The file of the certificate.
        path: PathBuf,
        /// The file of the authorities.
        authorities: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Nobody of that name has a shared key.
    #[error("Username {name} not found in PSK file {}", path.display())]
    Username {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// A client's shared key is no key.
    #[error("Cannot set PSK client credentials: {reason}")]
    SharedKey {
        /// What is wrong.
        reason: &'static str,
    },
    /// What a priority asks for is not here.
    #[error("priority '{0}' is not available in this version")]
    Priority(String),
    /// The library that speaks TLS does not take them.
    #[error("the credentials cannot be used: {0}")]
    Refused(String),
}
