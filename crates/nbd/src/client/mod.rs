//! The client: an export of a server as a disk.

mod address;
mod answer;
mod connection;
mod handshake;
mod line;
mod storage;
mod transfer;

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use thiserror::Error;

pub use address::{Address, AddressError, Target};
pub use storage::NbdStorage;
pub use transfer::Client;

use crate::numbers::{MAX_PAYLOAD, option, option_reply};
use crate::request::Framing;
use crate::security::Security;
use crate::socket::Socket;
use handshake::Talk;
use line::Line;

/// Why there is no connection to an export.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The server cannot be reached.
    #[error("Failed to connect to '{address}': {source}")]
    Connect {
        /// Where it should be.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// The server refused an option.
    #[error("{}", refusal(*.option, *.kind))]
    Refused {
        /// The option, by [`crate::numbers::option`].
        option: u32,
        /// Why, by [`crate::numbers::option_reply`].
        kind: u32,
        /// The server's own words, which may be none.
        text: String,
    },
    /// The server does not speak the protocol.
    #[error("Failed to negotiate with the server: {0}")]
    Protocol(&'static str),
    /// The connection failed.
    #[error("Failed to read data: {0}")]
    Io(#[from] io::Error),
    /// The connection failed while the server should answer an option.
    #[error("Failed to read option reply: {0}")]
    Reply(io::Error),
    /// The connection could not be made secure.
    #[error("{0}")]
    Security(io::Error),
}

/// What a refusal means, in the words of messages.
fn refusal(number: u32, kind: u32) -> String {
    let name = match number {
        option::EXPORT_NAME => "export name",
        option::LIST => "list",
        option::STARTTLS => "starttls",
        option::INFO => "info",
        option::GO => "go",
        option::STRUCTURED_REPLY => "structured reply",
        option::LIST_META_CONTEXT => "list meta context",
        option::SET_META_CONTEXT => "set meta context",
        option::EXTENDED_HEADERS => "extended headers",
        _ => "<unknown>",
    };
    match kind {
        option_reply::ERR_UNKNOWN => "Requested export not available".to_owned(),
        option_reply::ERR_UNSUP => format!("Unsupported option type {number} ({name})"),
        option_reply::ERR_POLICY => format!("Denied by server for option {number} ({name})"),
        option_reply::ERR_INVALID => format!("Invalid parameters for option {number} ({name})"),
        option_reply::ERR_PLATFORM => {
            format!("Server lacks support for option {number} ({name})")
        }
        option_reply::ERR_TLS_REQD => {
            format!("TLS negotiation required before option {number} ({name})")
        }
        option_reply::ERR_SHUTDOWN => {
            format!("Server shutting down before option {number} ({name})")
        }
        option_reply::ERR_BLOCK_SIZE_REQD => {
            format!("Server requires INFO_BLOCK_SIZE for option {number} ({name})")
        }
        _ => format!("Unknown error code when asking for option {number} ({name})"),
    }
}

/// What a server says about an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFacts {
    /// Bytes.
    pub size: u64,
    /// What can be done, by [`crate::numbers::transmission`].
    pub flags: u16,
    /// Words for people.
    pub description: Option<String>,
    /// Requests begin and end at multiples of it, in bytes; a power of two.
    pub minimum: u32,
    /// Requests of this size are fast, in bytes.
    pub preferred: u32,
    /// Bytes of a read or write, at most.
    pub maximum: u32,
    /// The number of the context that was asked for, where the server has it.
    pub context: Option<u32>,
    /// How requests and replies are framed.
    pub framing: Framing,
}

impl Default for ExportFacts {
    fn default() -> Self {
        Self {
            size: 0,
            flags: 0,
            description: None,
            minimum: 1,
            preferred: 4096,
            maximum: MAX_PAYLOAD,
            context: None,
            framing: Framing::Simple,
        }
    }
}

/// What a client wants of a connection besides the export.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// The metadata context that [`Client::extent_at`] tells about; without it that about holes.
    pub context: Option<String>,
    /// What makes the connection secure. With it nothing is asked of a server that cannot be.
    pub security: Option<Arc<dyn Security>>,
}

/// An export in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedExport {
    /// Its name.
    pub name: String,
    /// What is known of it; nothing where the server does not say.
    pub facts: Option<ExportFacts>,
    /// Its metadata contexts.
    pub contexts: Vec<String>,
}

/// Connects to a server.
fn connect(address: &Address) -> Result<Socket, ClientError> {
    let connected = match address {
        Address::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
        Address::Tcp { host, port } => (host.as_str(), *port)
            .to_socket_addrs()
            .and_then(|found| TcpStream::connect(&found.collect::<Vec<_>>()[..]))
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }),
    };
    connected.map_err(|source| ClientError::Connect { address: address.clone(), source })
}

/// Connects to a server and hears its first words, and makes the connection secure where that is wanted.
/// Returns whether the server pads old replies as well.
fn open(address: &Address, security: Option<&dyn Security>) -> Result<(Line, bool), ClientError> {
    let line = Line::bare(connect(address)?);
    let padded = handshake::begin(&line)?;
    match security {
        None => Ok((line, padded)),
        Some(security) => {
            let mut talk = Talk::new(&line, padded);
            let begun = talk.start_tls();
            talk.leave_if_refused(begun)?;
            Ok((line.secured(security)?, padded))
        }
    }
}

/// Lists the exports of a server, over a connection that is made secure by `security` if there is any.
///
/// # Errors
/// It cannot be reached, or does not want to say.
pub fn list(
    address: &Address,
    security: Option<&dyn Security>,
) -> Result<Vec<ListedExport>, ClientError> {
    let (line, padded) = open(address, security)?;
    let mut talk = Talk::new(&line, padded);
    talk.choose_framing()?;
    let mut listed = Vec::new();
    let exports = talk.list();
    for (name, words) in talk.leave_if_refused(exports)? {
        let mut facts = match talk.describe(option::INFO, &name) {
            Ok(facts) => Some(facts),
            Err(ClientError::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(facts) = &mut facts {
            facts.framing = talk.framing;
            let words = Some(words).filter(|words| !words.is_empty());
            facts.description = facts.description.take().or(words);
        }
        let contexts = match talk.contexts(&name) {
            Ok(contexts) => contexts,
            Err(ClientError::Refused { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        listed.push(ListedExport { name, facts, contexts });
    }
    talk.abort();
    line.close();
    Ok(listed)
}
