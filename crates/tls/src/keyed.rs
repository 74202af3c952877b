//! TLS with keys that both sides had before.
//!
//! TLS 1.3 alone, whose ciphers all authenticate what they cipher; each connection has a key agreement of its
//! own besides, so that who learns a shared key later reads nothing of what was said before.

use std::io::{self, IoSlice};
use std::task::Poll;

use s2n_tls::config::Config;
use s2n_tls::connection::Connection;
use s2n_tls::enums::{Blinding, PskHmac, Version};
use s2n_tls::error::{Error, ErrorType};
use s2n_tls::psk::Psk;
use s2n_tls::security::DEFAULT_TLS13;

use crate::engine::Engine;
use crate::outcome::{ABORTED, agreement_failed, cannot_read, cut_off};
use crate::shared_keys::SharedKey;
use crate::wire::Wire;

/// So many bytes are ciphered at once.
const AT_ONCE: usize = 128 << 10;

/// A connection whose sides know one another by a key.
pub(crate) struct Keyed {
    wire: Wire,
    handshaking: bool,
}

impl Keyed {
    /// A client's connection, by its key.
    ///
    /// # Errors
    /// The library does not take the key.
    pub(crate) fn client(key: &SharedKey) -> io::Result<Self> {
        Self::begin(Connection::new_client(), std::slice::from_ref(key))
    }

    /// A server's connection, for clients with one of the keys.
    ///
    /// # Errors
    /// The library does not take one of them.
    pub(crate) fn server(keys: &[SharedKey]) -> io::Result<Self> {
        Self::begin(Connection::new_server(), keys)
    }

    fn begin(connection: Connection, keys: &[SharedKey]) -> io::Result<Self> {
        let wire = prepare(connection, keys).map_err(|error| io::Error::other(error.message()))?;
        let mut engine = Self { wire, handshaking: true };
        engine.negotiate()?;
        Ok(engine)
    }

    /// Goes on with the agreement.
    fn negotiate(&mut self) -> io::Result<()> {
        match self.wire.negotiate() {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.handshaking = false;
                self.judge()
            }
            Poll::Ready(Err(error)) => Err(refused(&error)),
        }
    }

    /// A key was agreed on, and not something else that the library would have done.
    fn judge(&self) -> io::Result<()> {
        let facts = self.wire.facts();
        let by_key = facts.negotiated_psk_identity_length().is_ok_and(|len| len > 0);
        let version = facts.actual_protocol_version();
        if by_key && version.is_ok_and(|version| version == Version::TLS13) {
            return Ok(());
        }
        Err(agreement_failed("the peer did not use the shared key"))
    }
}

/// A connection with keys, and without certificates: who has no key is refused.
fn prepare(mut connection: Connection, keys: &[SharedKey]) -> Result<Wire, Error> {
    let mut config = Config::builder();
    config.with_system_certs(false)?;
    config.set_security_policy(&DEFAULT_TLS13)?;
    connection.set_config(config.build()?)?;
    // What a delay after an error would hide is a weakness of ciphers that are not used here.
    connection.set_blinding(Blinding::SelfService)?;
    for key in keys {
        let mut shared = Psk::builder()?;
        shared.set_identity(key.name())?.set_secret(key.bytes())?.set_hmac(PskHmac::SHA256)?;
        connection.append_psk(&shared.build()?)?;
    }
    Wire::new(connection)
}

/// Why there is no agreement.
fn refused(error: &Error) -> io::Error {
    match (error.kind(), error.name()) {
        (ErrorType::ConnectionClosed, _) => agreement_failed(ABORTED),
        // Nobody has the name, or the key under it is another: a peer is not told which.
        (_, "S2N_ERR_NO_VALID_SIGNATURE_SCHEME" | "S2N_ERR_BAD_PSK_BINDER") => {
            agreement_failed("An illegal parameter has been received.")
        }
        _ => agreement_failed(error.message()),
    }
}

impl Engine for Keyed {
    fn is_handshaking(&self) -> bool {
        self.handshaking
    }

    fn feed(&mut self, ciphered: &[u8]) -> io::Result<usize> {
        self.wire.feed(ciphered);
        if self.handshaking {
            self.negotiate()?;
        }
        Ok(ciphered.len())
    }

    fn end_of_input(&mut self) {
        self.wire.end();
    }

    fn has_output(&self) -> bool {
        self.wire.has_output()
    }

    fn collect(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        self.wire.collect(into);
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.wire.receive(into) {
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            Poll::Ready(Ok(read)) => Ok(read),
            Poll::Ready(Err(error)) if error.kind() == ErrorType::ConnectionClosed => {
                Err(cut_off())
            }
            Poll::Ready(Err(error)) => Err(cannot_read(&error.message())),
        }
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut written = 0;
        for part in parts {
            let mut rest = &part[..part.len().min(AT_ONCE - written)];
            while !rest.is_empty() {
                match self.wire.send(rest) {
                    Poll::Ready(Ok(sent)) => {
                        written += sent;
                        rest = rest.get(sent..).unwrap_or_default();
                    }
                    // The buffer takes all that there is.
                    Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
                    Poll::Ready(Err(error)) => return Err(io::Error::other(error.message())),
                }
            }
            if written == AT_ONCE {
                break;
            }
        }
        Ok(written)
    }

    fn close(&mut self) {
        // Who cannot be told will see that the connection ends.
        let _ = self.wire.close();
    }

    fn peer_certificate(&self) -> Option<&[u8]> {
        None
    }
}
