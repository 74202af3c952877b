//! The client's side.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use holstein_nbd::{Channel, Link, Security};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error};

use crate::certified::Certified;
use crate::credentials::{CredentialOptions, Loaded, key_refused, refused};
use crate::engine::Engine;
use crate::error::{CredentialsError, Side};
use crate::keyed::Keyed;
use crate::no_verifier::AnyServer;
use crate::outcome::failed;
use crate::session::Session;
use crate::shared_keys::{SharedKey, SharedKeyOptions};

/// How a client judges servers, and what it shows to them.
#[derive(Clone)]
pub struct ClientCredentials {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// Certificates.
    Certified { config: Arc<ClientConfig>, verifies: bool },
    /// A key that the server has too.
    Keyed(Arc<SharedKey>),
}

impl ClientCredentials {
    /// Loads credentials.
    ///
    /// # Errors
    /// A file is missing or not what it should be, or the certificates are not for this.
    pub fn load(options: &CredentialOptions) -> Result<Self, CredentialsError> {
        let loaded = Loaded::from(options, Side::Client)?;
        let provider = loaded.provider;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&loaded.versions)
            .map_err(refused)?;
        let builder = if options.verify_peer {
            builder.with_root_certificates(loaded.authorities)
        } else {
            let any = Arc::new(AnyServer(provider));
            builder.dangerous().with_custom_certificate_verifier(any)
        };
        let mut config = match loaded.identity {
            None => builder.with_no_client_auth(),
            Some((own, key)) => builder
                .with_client_auth_cert(own.chain.clone(), key)
                .map_err(|error| key_refused(&own, &error))?,
        };
        // A server that is met again is judged again.
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        Ok(Self { kind: Kind::Certified { config, verifies: options.verify_peer } })
    }

    /// Loads a key that the server has too.
    ///
    /// # Errors
    /// The file cannot be read, or has no good key under the name.
    pub fn load_shared_key(options: &SharedKeyOptions) -> Result<Self, CredentialsError> {
        let key = SharedKey::of_client(options)?;
        Ok(Self { kind: Kind::Keyed(Arc::new(key)) })
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Certified { verifies: true, .. } => "certificates",
            Kind::Certified { verifies: false, .. } => "certificates of anybody",
            Kind::Keyed(_) => "a shared key",
        };
        f.debug_tuple("ClientCredentials").field(&kind).finish()
    }
}

/// Makes connections to servers secure.
#[derive(Clone, Debug)]
pub struct TlsClient {
    credentials: ClientCredentials,
    host: Option<String>,
}

impl TlsClient {
    /// For a server that has to be `host`, a name or a number, by its certificate. Without it a server can
    /// only be met if it is not verified, or has a shared key.
    #[must_use]
    pub fn new(credentials: ClientCredentials, host: Option<String>) -> Self {
        Self { credentials, host }
    }

    /// The name to ask for, and to find in the certificate.
    fn server_name(&self, verifies: bool) -> io::Result<ServerName<'static>> {
        let unnamed = ServerName::from(IpAddr::from([0, 0, 0, 0]));
        match &self.host {
            None if verifies => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "No hostname for certificate validation",
            )),
            None => Ok(unnamed),
            Some(host) => match ServerName::try_from(host.clone()) {
                Ok(name) => Ok(name),
                Err(_) if !verifies => Ok(unnamed),
                // No certificate is for what is no name.
                Err(_) => Err(self.failed(&CertificateError::NotValidForName.into())),
            },
        }
    }

    fn failed(&self, error: &Error) -> io::Error {
        failed(error, self.host.as_deref())
    }
}

impl Security for TlsClient {
    fn secure(&self, link: Arc<Link>) -> io::Result<Arc<dyn Channel>> {
        let engine: Box<dyn Engine> = match &self.credentials.kind {
            Kind::Certified { config, verifies } => {
                let name = self.server_name(*verifies)?;
                let connection = ClientConnection::new(Arc::clone(config), name)
                    .map_err(|error| self.failed(&error))?;
                Box::new(Certified::new(connection, self.host.clone()))
            }
            Kind::Keyed(key) => Box::new(Keyed::client(key)?),
        };
        Ok(Arc::new(Session::begin(engine, link)?))
    }
}
