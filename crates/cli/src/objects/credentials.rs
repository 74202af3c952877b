//! TLS credentials.

use std::sync::{Mutex, PoisonError};

use holstein_tls::{
    ClientCredentials, CredentialOptions, CredentialsError, ServerCredentials, SharedKeyOptions,
};

use super::Objects;
use super::properties::{Properties, bad_value};
use crate::disk::DiskError;

/// Credentials of one side.
#[derive(Clone, Debug)]
pub(crate) enum Credentials {
    /// For a server.
    Server(ServerCredentials),
    /// For a client.
    Client(ClientCredentials),
}

/// Which credentials are meant.
pub(super) struct Description {
    kind: Kind,
    server: bool,
}

/// What the sides know one another by.
enum Kind {
    /// Certificates, and the name of the secret that their key is encrypted with.
    Certified(CredentialOptions, Option<String>),
    /// Keys that both have.
    Keyed(SharedKeyOptions),
}

const NO_DIR: &str = "Missing 'dir' property value";

impl Description {
    /// Takes the properties of `tls-creds-x509`.
    ///
    /// # Errors
    /// One of them is missing, unknown or wrong.
    pub(super) fn take(properties: &mut Properties) -> Result<Self, DiskError> {
        let dir = properties.text("dir")?;
        let server = is_server(properties)?;
        let (verify, check) = (properties.flag("verify-peer")?, properties.flag("sanity-check")?);
        let (priority, password) = (properties.text("priority")?, properties.text("passwordid")?);
        properties.end()?;
        let dir = dir.ok_or_else(|| DiskError::invalid(NO_DIR))?;
        let options = CredentialOptions {
            verify_peer: verify.unwrap_or(true),
            sanity_check: check.unwrap_or(true),
            priority,
            ..CredentialOptions::new(dir)
        };
        Ok(Self { kind: Kind::Certified(options, password), server })
    }

    /// Takes the properties of `tls-creds-psk`.
    ///
    /// # Errors
    /// One of them is missing, unknown or wrong.
    pub(super) fn take_keyed(properties: &mut Properties) -> Result<Self, DiskError> {
        let dir = properties.text("dir")?;
        let server = is_server(properties)?;
        let verify = properties.flag("verify-peer")?;
        let (priority, username) = (properties.text("priority")?, properties.text("username")?);
        properties.end()?;
        if verify == Some(false) {
            let text = "verify-peer=off means nothing with shared keys: who has none is no peer";
            return Err(DiskError::invalid(text));
        }
        let dir = dir.ok_or_else(|| DiskError::invalid(NO_DIR))?;
        let options = SharedKeyOptions { username, priority, ..SharedKeyOptions::new(dir) };
        Ok(Self { kind: Kind::Keyed(options), server })
    }

    /// Loads the credentials.
    ///
    /// # Errors
    /// They cannot be read, or are not for this.
    pub(super) fn load(self, others: &Objects) -> Result<Credentials, DiskError> {
        let loaded = match self.kind {
            Kind::Certified(mut options, password) => {
                if password.is_some() {
                    let secret = others.passphrase("passwordid", password.as_deref())?;
                    options.passphrase = Some(secret);
                }
                if self.server {
                    ServerCredentials::load(&options).map(Credentials::Server)
                } else {
                    ClientCredentials::load(&options).map(Credentials::Client)
                }
            }
            Kind::Keyed(options) if self.server => {
                ServerCredentials::load_shared_keys(&options).map(Credentials::Server)
            }
            Kind::Keyed(options) => {
                ClientCredentials::load_shared_key(&options).map(Credentials::Client)
            }
        };
        loaded.map_err(in_words)
    }
}

/// Takes the side that credentials are for; without a word it is the client's.
fn is_server(properties: &mut Properties) -> Result<bool, DiskError> {
    match properties.text("endpoint")?.as_deref() {
        None | Some("client") => Ok(false),
        Some("server") => Ok(true),
        Some(other) => Err(bad_value("endpoint", other)),
    }
}

fn in_words(error: CredentialsError) -> DiskError {
    match error {
        CredentialsError::Access { path, source } => DiskError::from(source)
            .prefixed(format_args!("Unable to access credentials {}: ", path.display())),
        error => DiskError::invalid(error.to_string()),
    }
}

/// What the nodes of this program may use: objects by their names, with the credentials of those that are
/// any. Objects belong to the program, and nodes name them in their options.
static KNOWN: Mutex<Vec<(String, Option<Credentials>)>> = Mutex::new(Vec::new());

/// Lets nodes find an object. Of several with one name the last counts.
pub(super) fn publish(id: &str, credentials: Option<&Credentials>) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|(other, _)| other != id);
    known.push((id.to_owned(), credentials.cloned()));
}

/// The credentials of a node that is a client.
///
/// # Errors
/// There are none of that name, or they are not for a client.
pub(crate) fn client_credentials(id: &str) -> Result<ClientCredentials, DiskError> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.iter().find(|(other, _)| other == id);
    for_client(id, found.map(|(_, credentials)| credentials.as_ref()))
}

/// Credentials that have to be a client's; without the outer option nothing has that name.
///
/// # Errors
/// They are not.
pub(super) fn for_client(
    id: &str,
    found: Option<Option<&Credentials>>,
) -> Result<ClientCredentials, DiskError> {
    match some(id, found)? {
        Credentials::Client(credentials) => Ok(credentials.clone()),
        Credentials::Server(_) => {
            Err(DiskError::invalid("Expected TLS credentials for a client endpoint"))
        }
    }
}

/// Credentials that have to be a server's; without the outer option nothing has that name.
///
/// # Errors
/// They are not.
pub(super) fn for_server(
    id: &str,
    found: Option<Option<&Credentials>>,
) -> Result<ServerCredentials, DiskError> {
    match some(id, found)? {
        Credentials::Server(credentials) => Ok(credentials.clone()),
        Credentials::Client(_) => {
            Err(DiskError::invalid("Expected TLS credentials for a server endpoint"))
        }
    }
}

fn some<'a>(
    id: &str,
    found: Option<Option<&'a Credentials>>,
) -> Result<&'a Credentials, DiskError> {
    match found {
        Some(Some(credentials)) => Ok(credentials),
        Some(None) => {
            Err(DiskError::invalid(format!("Object with id '{id}' is not TLS credentials")))
        }
        None => Err(DiskError::invalid(format!("No TLS credentials with id '{id}'"))),
    }
}
