//! Credentials as they are asked for, and what both sides load alike.

use std::path::PathBuf;
use std::sync::Arc;

use holstein_crypto::Secret;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, SupportedProtocolVersion};

use crate::error::{CredentialsError, Side};
use crate::files::{AUTHORITIES, Files, Identity};
use crate::priority::versions;
use crate::sanity;

/// Which credentials to load, and what they are to be used for.
#[derive(Clone, Debug)]
pub struct CredentialOptions {
    /// The directory: `ca-cert.pem`; for a server `server-cert.pem`, `server-key.pem` and perhaps
    /// `ca-crl.pem`; for a client perhaps `client-cert.pem` and `client-key.pem`.
    pub dir: PathBuf,
    /// Ask the peer for a certificate and judge it. A server takes no client without one then; a client
    /// takes no server under another name.
    pub verify_peer: bool,
    /// Look at the certificates before they are used.
    pub sanity_check: bool,
    /// Versions of the protocol, as a priority of GnuTLS; without it all there are.
    pub priority: Option<String>,
    /// What the key is encrypted with, if it is.
    pub passphrase: Option<Secret>,
}

impl CredentialOptions {
    /// Those of a directory: peers are verified, and the certificates are looked at.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self { dir, verify_peer: true, sanity_check: true, priority: None, passphrase: None }
    }
}

/// What both sides load.
pub(crate) struct Loaded<'a> {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) authorities: Arc<RootCertStore>,
    /// One's own certificate and its key.
    pub(crate) identity: Option<(Identity, PrivateKeyDer<'static>)>,
    pub(crate) files: Files<'a>,
}

impl<'a> Loaded<'a> {
    pub(crate) fn from(
        options: &'a CredentialOptions,
        side: Side,
    ) -> Result<Self, CredentialsError> {
        let versions = versions(options.priority.as_deref())?;
        let files = Files::new(&options.dir, side);
        let path = files.path(AUTHORITIES);
        let certificates = files.authorities()?;
        let identity = files.identity()?;
        if options.sanity_check {
            if let Some(own) = &identity
                && let Some(certificate) = own.chain.first()
            {
                sanity::check_own(&own.certificate_path, certificate, side)?;
            }
            sanity::check_authorities(&path, &certificates)?;
        }
        let mut authorities = RootCertStore::empty();
        for certificate in certificates {
            let unusable = |_| CredentialsError::Authorities { path: path.clone() };
            authorities.add(certificate).map_err(unusable)?;
        }
        let (authorities, provider) =
            (Arc::new(authorities), Arc::new(aws_lc_rs::default_provider()));
        if options.sanity_check
            && let Some(own) = &identity
        {
            let trusted = sanity::check_trust(&own.chain, &authorities, &provider);
            trusted.map_err(|reason| CredentialsError::Untrusted {
                path: own.certificate_path.clone(),
                authorities: path.clone(),
                reason,
            })?;
        }
        let passphrase = options.passphrase.as_ref();
        let identity = identity.map(|own| own.key(passphrase).map(|key| (own, key))).transpose()?;
        Ok(Self { provider, versions, authorities, identity, files })
    }
}

/// The library does not take what was loaded.
pub(crate) fn refused(error: impl std::fmt::Display) -> CredentialsError {
    CredentialsError::Refused(error.to_string())
}

/// The library does not take a key with its certificate.
pub(crate) fn key_refused(own: &Identity, error: &rustls::Error) -> CredentialsError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            own.unusable("The certificate and the given key do not match.")
        }
        error => own.unusable(error.to_string()),
    }
}
