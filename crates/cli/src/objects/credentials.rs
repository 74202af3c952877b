//! TLS credentials.

use std::sync::{Mutex, PoisonError};

use holstein_tls::{ClientCredentials, CredentialOptions, CredentialsError, ServerCredentials};

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
    options: CredentialOptions,
    server: bool,
    password: Option<String>,
}

impl Description {
    /// Takes the properties of `tls-creds-x509`.
    ///
    /// # Errors
    /// One of them is missing, unknown or wrong.
    pub(super) fn take(properties: &mut Properties) -> Result<Self, DiskError> {
        let dir = properties.text("dir")?;
        let server = match properties.text("endpoint")?.as_deref() {
            None | Some("client") => false,
            Some("server") => true,
            Some(other) => return Err(bad_value("endpoint", other)),
        };
        let (verify, check) = (properties.flag("verify-peer")?, properties.flag("sanity-check")?);
        let (priority, password) = (properties.text("priority")?, properties.text("passwordid")?);
        properties.end()?;
        let dir = dir.ok_or_else(|| DiskError::invalid("Missing 'dir' property value"))?;
        let options = CredentialOptions {
            verify_peer: verify.unwrap_or(true),
            sanity_check: check.unwrap_or(true),
            priority,
            ..CredentialOptions::new(dir)
        };
        Ok(Self { options, server, password })
    }

    /// Loads the credentials.
    ///
    /// # Errors
    /// They cannot be read, or are not for this.
    pub(super) fn load(mut self, others: &Objects) -> Result<Credentials, DiskError> {
        if self.password.is_some() {
            let secret = others.passphrase("passwordid", self.password.as_deref())?;
            self.options.passphrase = Some(secret);
        }
        if self.server {
            ServerCredentials::load(&self.options).map(Credentials::Server).map_err(in_words)
        } else {
            ClientCredentials::load(&self.options).map(Credentials::Client).map_err(in_words)
        }
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
