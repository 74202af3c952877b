//! TLS as the command line asks for it.

use std::sync::Arc;

use holstein_tls::{ClientCredentials, TlsClient, TlsServer};

use super::command_line::Place;
use super::{Failure, Outcome};
use crate::objects::Objects;

/// The options about TLS.
#[derive(Debug, Default)]
pub(super) struct Tls {
    /// The name of the credentials.
    pub(super) credentials: Option<String>,
    /// The name of the rules about who may come in.
    pub(super) authorization: Option<String>,
    /// The name that a server has to have.
    pub(super) host: Option<String>,
}

/// TLS for a client that does not know yet where the server is.
pub(super) struct Client {
    credentials: ClientCredentials,
    host: Option<String>,
}

impl Client {
    /// For the server at a place; one on a path has no name but one that was given.
    pub(super) fn to(self, place: &Place) -> TlsClient {
        let host = self.host.or_else(|| match place {
            Place::Port(host, _) => Some(host.clone()),
            Place::Path(_) | Place::Inherited => None,
        });
        TlsClient::new(self.credentials, host)
    }
}

fn failed(error: crate::disk::DiskError) -> Failure {
    Failure::prefixed("Failed to get TLS creds: ", error)
}

impl Tls {
    /// Refuses what means nothing without credentials.
    fn check(&self) -> Outcome<()> {
        for (given, option) in
            [(&self.authorization, "--tls-authz"), (&self.host, "--tls-hostname")]
        {
            if given.is_some() && self.credentials.is_none() {
                let text = format!("{option} is not permitted without --tls-creds");
                return Err(Failure::message(text));
            }
        }
        Ok(())
    }

    /// What makes connections of clients secure.
    ///
    /// # Errors
    /// The options or the objects do not go together.
    pub(super) fn server(&self, objects: &Objects) -> Outcome<Option<TlsServer>> {
        self.check()?;
        let Some(id) = &self.credentials else { return Ok(None) };
        if self.host.is_some() {
            return Err(Failure::message("TLS hostname is only supported with export list"));
        }
        let credentials = objects.server_credentials(id).map_err(failed)?;
        let verifies = credentials.verifies_certificates();
        let server = TlsServer::new(credentials);
        let Some(id) = &self.authorization else { return Ok(Some(server)) };
        let rules = objects.authorization(id)?.clone();
        if !verifies {
            // A name that nobody verified says nothing, and with a shared key there is none.
            let text = "--tls-authz needs TLS credentials by certificates with verify-peer=on";
            return Err(Failure::message(text));
        }
        Ok(Some(server.authorize(Arc::new(move |name| rules.allows(name)))))
    }

    /// What makes a connection to a server secure.
    ///
    /// # Errors
    /// As for [`Tls::server`].
    pub(super) fn client(self, objects: &Objects) -> Outcome<Option<Client>> {
        self.check()?;
        let Some(id) = self.credentials else { return Ok(None) };
        if self.authorization.is_some() {
            return Err(Failure::message("TLS authorization is incompatible with export list"));
        }
        let credentials = objects.client_credentials(&id).map_err(failed)?;
        Ok(Some(Client { credentials, host: self.host }))
    }
}
