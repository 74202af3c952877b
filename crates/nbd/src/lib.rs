//! Network block devices.
//!
//! [`Server`] offers exports to clients, one blocking session a connection: [`Export`] is what it
//! needs of a disk. [`accept`] takes connections and gives each a thread. [`Client`] is the other side, and
//! [`NbdStorage`] an export as storage under an image format. [`Security`] is what makes connections secure;
//! an implementation is not in here.
//!
//! # Invariants
//! * What comes over the wire is hostile: memory for a session is bounded whatever the client says, and
//!   a client that makes no sense loses its connection and nothing else.
//! * A server is as hostile to a client: a reply that was not asked for ends the connection, and what is
//!   read is never longer than what was asked for.
//! * A client that does not read its replies delays nobody but itself.
//! * No lock is held while an export works.
//! * A side that was told to be secure says and believes nothing of an export before the connection is.
//!
//! # Spec
//! The NBD protocol with fixed newstyle negotiation, structured replies and extended headers.

#![forbid(unsafe_code)]

mod buffers;
mod client;
mod context;
mod errno;
mod input;
pub mod numbers;
mod option_data;
mod reply;
mod request;
mod security;
mod server;
mod socket;
mod wire;

pub use client::{
    Address, AddressError, Client, ClientError, ConnectOptions, ExportFacts, ListedExport,
    NbdStorage, Target, list,
};
pub use context::Context;
pub use errno::Errno;
pub use option_data::{ContextQuery, InfoQuery, OptionError};
pub use request::{Framing, Request};
pub use security::{Channel, Link, Security};
pub use server::{
    AcceptOptions, BlockSizes, Export, ExportSettings, Extent, Handshake, Negotiated, Opening,
    Server, SessionError, Waker, Zeroes, accept, negotiate, transmit,
};
pub use socket::{Listener, Socket};
