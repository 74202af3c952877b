//! The server: exports, and a session for each connection.

mod accept;
mod export;
mod handshake;
mod serve;
mod transmission;
mod vigil;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use accept::{AcceptOptions, Waker, accept};
pub use export::{BlockSizes, Export, ExportSettings, Extent, Zeroes};
pub use handshake::{Handshake, Negotiated, Opening, negotiate};
pub use transmission::transmit;

use crate::security::{FAREWELL, Link, Security, Through};
use crate::socket::{Socket, Timed};
use export::Exported;
use vigil::Vigil;

/// Why a session ended other than by the client's wish.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The connection ended in the middle of something, or failed.
    #[error("the connection failed: {0}")]
    Io(io::Error),
    /// The client left in the middle of something.
    #[error("the client left in the middle of something")]
    Cut,
    /// The client did not speak the protocol.
    #[error("the client sent {0}")]
    Protocol(&'static str),
    /// The client asked for an export that is not there, in the way that has no answer for it.
    #[error("export '{0}' not present")]
    NoExport(String),
    /// The handshake took too long.
    #[error("the handshake took too long")]
    Slow,
    /// The client asked for an export before the connection was secure, in the way that has no answer
    /// for it.
    #[error("Option 0x1 not permitted before TLS")]
    Insecure,
    /// The connection could not be made secure.
    #[error("{0}")]
    Security(io::Error),
}

impl From<io::Error> for SessionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Self::Cut,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Slow,
            _ => Self::Io(error),
        }
    }
}

/// Exports for clients.
#[derive(Clone, Default)]
pub struct Server {
    exports: Vec<Exported>,
    handshake_limit: Option<Duration>,
    security: Option<Arc<dyn Security>>,
}

impl Server {
    /// A server without exports.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an export; one of the same name is hidden by the first.
    #[must_use]
    pub fn export(mut self, disk: Arc<dyn Export>, settings: ExportSettings) -> Self {
        self.exports.push(Exported::new(disk, settings));
        self
    }

    /// How long a client may take to choose an export; `None` is for ever.
    #[must_use]
    pub fn handshake_limit(mut self, limit: Option<Duration>) -> Self {
        self.handshake_limit = limit;
        self
    }

    /// What makes connections secure; a client then has to begin that before it can ask for anything.
    #[must_use]
    pub fn security(mut self, security: Option<Arc<dyn Security>>) -> Self {
        self.security = security;
        self
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        self.exports.iter().position(|export| export.settings.name.as_bytes() == name)
    }

    /// Speaks with one client until it leaves; `chosen` is called once it has chosen an export.
    ///
    /// Blocks, and uses threads of its own while requests overlap. Shutting the socket down from another
    /// thread ends the session, after the requests that are being served.
    ///
    /// # Errors
    /// The client did not end the session itself.
    pub fn serve(&self, socket: &Socket, chosen: &mut dyn FnMut()) -> Result<(), SessionError> {
        let deadline = self.handshake_limit.map(|limit| Instant::now() + limit);
        match negotiate(self, &mut Timed::new(socket, deadline))? {
            Negotiated::Left => Ok(()),
            Negotiated::Secure(opening) => self.serve_secure(&opening, socket, deadline, chosen),
            Negotiated::Go(handshake) => {
                socket.set_timeout(None)?;
                chosen();
                transmit(self, &handshake, Vigil::new(socket), socket, &|| socket.shutdown())
            }
        }
    }

    /// The rest of a session whose client wants the connection to be secure.
    fn serve_secure(
        &self,
        opening: &Opening,
        socket: &Socket,
        deadline: Option<Instant>,
        chosen: &mut dyn FnMut(),
    ) -> Result<(), SessionError> {
        let security = self.security.as_ref().ok_or(SessionError::Insecure)?;
        let link = Arc::new(Link::new(socket.try_clone()?));
        link.set_deadline(deadline)?;
        let channel = security.secure(Arc::clone(&link)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => SessionError::Slow,
            _ => SessionError::Security(error),
        })?;
        let mut stream = Through(&*channel);
        let ended = match opening.go_on(self, &mut stream)? {
            Negotiated::Go(handshake) => {
                link.set_deadline(None)?;
                chosen();
                transmit(self, &handshake, stream, stream, &|| socket.shutdown())
            }
            Negotiated::Left | Negotiated::Secure(_) => Ok(()),
        };
        // A client that does not listen is not waited for.
        link.set_deadline(Some(Instant::now() + FAREWELL))?;
        channel.close();
        ended
    }
}
