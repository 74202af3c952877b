//! The server's side.

use std::fmt;
use std::io;
use std::sync::Arc;

use holstein_nbd::{Channel, Link, Security};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection};

use crate::certificate::Certificate;
use crate::certified::Certified;
use crate::credentials::{CredentialOptions, Loaded, key_refused, refused};
use crate::engine::Engine;
use crate::error::{CredentialsError, Side};
use crate::files::REVOCATIONS;
use crate::keyed::Keyed;
use crate::name;
use crate::outcome::failed;
use crate::session::Session;
use crate::shared_keys::{KeyFile, SharedKeyOptions};

/// Decides by the distinguished name of its certificate whether a client may come in.
pub type Authorize = dyn Fn(&str) -> bool + Send + Sync;

/// What a server shows to clients, and how it judges theirs.
#[derive(Clone)]
pub struct ServerCredentials {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// Certificates.
    Certified { config: Arc<ServerConfig>, verifies: bool },
    /// Keys that clients have too.
    Keyed(KeyFile),
}

impl ServerCredentials {
    /// Loads credentials.
    ///
    /// # Errors
    /// A file is missing or not what it should be, or the certificates are not for this.
    pub fn load(options: &CredentialOptions) -> Result<Self, CredentialsError> {
        let loaded = Loaded::from(options, Side::Server)?;
        let (own, key) = loaded.identity.ok_or_else(|| refused("a server has a certificate"))?;
        let lists = loaded.files.revocations()?;
        let provider = loaded.provider;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&loaded.versions)
            .map_err(refused)?;
        let builder = if options.verify_peer {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(loaded.authorities, provider)
                    .with_crls(lists)
                    .allow_unknown_revocation_status()
                    .build();
            let path = loaded.files.path(REVOCATIONS);
            let unusable = |error: rustls::server::VerifierBuilderError| {
                CredentialsError::Revocations { path, reason: error.to_string() }
            };
            builder.with_client_cert_verifier(verifier.map_err(unusable)?)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder
            .with_single_cert(own.chain.clone(), key)
            .map_err(|error| key_refused(&own, &error))?;
        // A client that comes back is judged again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let config = Arc::new(config);
        Ok(Self { kind: Kind::Certified { config, verifies: options.verify_peer } })
    }

    /// Finds the file of the keys that clients have. It is read again for each client.
    ///
    /// # Errors
    /// It cannot be read, or has too many keys.
    pub fn load_shared_keys(options: &SharedKeyOptions) -> Result<Self, CredentialsError> {
        Ok(Self { kind: Kind::Keyed(KeyFile::find(options)?) })
    }

    /// Whether clients have to show a certificate, and so a name in it.
    #[must_use]
    pub fn verifies_certificates(&self) -> bool {
        matches!(self.kind, Kind::Certified { verifies: true, .. })
    }
}

impl fmt::Debug for ServerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Certified { verifies: true, .. } => "certificates",
            Kind::Certified { verifies: false, .. } => "certificates for anybody",
            Kind::Keyed(_) => "shared keys",
        };
        f.debug_tuple("ServerCredentials").field(&kind).finish()
    }
}

/// Makes connections of clients secure.
#[derive(Clone)]
pub struct TlsServer {
    credentials: ServerCredentials,
    authorize: Option<Arc<Authorize>>,
}

impl TlsServer {
    /// Lets in who has a certificate that counts, or anybody where none is asked for.
    #[must_use]
    pub fn new(credentials: ServerCredentials) -> Self {
        Self { credentials, authorize: None }
    }

    /// Lets in of those only who may come in by their name. Nobody may who has none.
    #[must_use]
    pub fn authorize(mut self, authorize: Arc<Authorize>) -> Self {
        self.authorize = Some(authorize);
        self
    }

    fn judge(&self, session: &Session) -> io::Result<()> {
        let Some(authorize) = &self.authorize else { return Ok(()) };
        let name = session.peer_certificate(|certificate| {
            Certificate::parse(certificate).and_then(|parsed| name::text_of(parsed.subject))
        });
        match name.flatten() {
            Some(name) if authorize(&name) => Ok(()),
            Some(name) => Err(denied(format!("TLS x509 authz check for {name} is denied"))),
            None => Err(denied("TLS x509 authz check is denied: there is no name".to_owned())),
        }
    }
}

fn denied(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorizes = self.authorize.is_some();
        f.debug_struct("TlsServer").field("authorizes", &authorizes).finish_non_exhaustive()
    }
}

impl Security for TlsServer {
    fn secure(&self, link: Arc<Link>) -> io::Result<Arc<dyn Channel>> {
        let engine: Box<dyn Engine> = match &self.credentials.kind {
            Kind::Certified { config, .. } => {
                let connection = ServerConnection::new(Arc::clone(config));
                Box::new(Certified::new(connection.map_err(|error| failed(&error, None))?, None))
            }
            Kind::Keyed(file) => {
                let keys = file.keys().map_err(io::Error::other)?;
                Box::new(Keyed::server(&keys)?)
            }
        };
        let session = Session::begin(engine, link)?;
        self.judge(&session)?;
        Ok(Arc::new(session))
    }
}
