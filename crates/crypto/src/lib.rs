//! Encrypted payload: ciphers by sector, and the secrets they are made from.
//!
//! Only what guests store is encrypted, never a table. The unit is a sector of 512 bytes, encrypted by
//! itself with a number of its own, so that any sector can be read and written alone.
//!
//! ```
//! use holstein_crypto::{LegacyAes, SectorCipher, Secret};
//!
//! let cipher = LegacyAes::new(&Secret::new(b"hunter2".to_vec()));
//! let mut sectors = [7; 1024];
//! cipher.encrypt(40, &mut sectors);
//! assert_ne!(sectors[..512], sectors[512..]);
//! cipher.decrypt(40, &mut sectors);
//! assert_eq!(sectors, [7; 1024]);
//! ```
//!
//! # Invariants
//! * A secret is never shown, and overwritten when it is dropped; so are keys.
//! * No memory depends on anything that an image says.
//!
//! # Spec
//! "Encryption".

#![forbid(unsafe_code)]

mod aes_sectors;
mod cbc_sectors;
mod legacy_aes;
mod secret;
mod sector_cipher;
mod sector_io;
mod vectors;
mod wrapped_secret;
mod xts;

pub use aes_sectors::{CipherMode, KeyLength, aes_sectors};
pub use legacy_aes::LegacyAes;
pub use secret::Secret;
pub use sector_cipher::{Numbering, SECTOR, SectorCipher};
pub use sector_io::{encrypt_parts, read_sectors};
pub use vectors::VectorKind;
pub use wrapped_secret::UnwrapError;
