//! TLS for NBD connections, by the credentials that QEMU's tools take.
//!
//! [`ServerCredentials`] and [`ClientCredentials`] are loaded from a directory with certificates and their
//! keys, or with keys that both sides share, under fixed names. [`TlsServer`] and [`TlsClient`] make connections secure with them, as
//! [`holstein_nbd::Security`]. The protocol's library knows nothing of this crate.
//!
//! # Invariants
//! * A certificate of the peer is judged before a byte of the protocol is taken from it, unless the
//!   credentials say that peers are not verified. Sessions are never resumed: each connection is judged.
//! * No lock is held while a thread waits for bytes of the peer, but that of those who wait for them too.
//! * With shared keys no certificate counts, and nobody is let in who has no key.
//! * Private and shared keys are never shown.
//!
//! # Spec
//! TLS 1.2 and 1.3; with shared keys 1.3 (RFC 8446, 4.2.11). Certificates: RFC 5280; names in text: RFC 4514, in the order in which they are stored.

//!
//! # Unsafe code
//! One module: the functions by which the C library for shared keys moves bytes.

#![deny(unsafe_code)]

mod certificate;
mod certified;
mod client;
mod credentials;
mod der;
mod encrypted_key;
mod engine;
mod error;
mod files;
mod keyed;
mod name;
mod no_verifier;
mod outcome;
mod priority;
mod sanity;
mod server;
mod session;
mod shared_keys;
mod wire;

pub use client::{ClientCredentials, TlsClient};
pub use credentials::CredentialOptions;
pub use error::{CredentialsError, Side};
pub use server::{Authorize, ServerCredentials, TlsServer};
pub use shared_keys::SharedKeyOptions;
