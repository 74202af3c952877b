//! LUKS version 1: headers, key slots, and whole volumes.
//!
//! A volume has one *master key*, under which its payload is encrypted. Each of eight *key slots* can hold
//! it once more, spread over 4000 stripes and encrypted under a key that is derived from a passphrase. The
//! header says how; it is all that can be read without a passphrase.
//!
//! A header lies at the start of a [`Volume`], or in an area inside of an image: [`KeyArea`] is either.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use holstein_crypto::Secret;
//! use holstein_luks::{Format, Limits, Volume};
//! use holstein_storage::{MemStorage, Storage};
//! use holstein_units::HostOffset;
//!
//! let passphrase = Secret::new(b"hunter2".to_vec());
//! let file = Arc::new(MemStorage::new());
//! let format = Format { iter_time: Duration::from_millis(1), ..Format::default() };
//! let volume = Volume::create(file.clone(), &format, &passphrase, 1 << 20)?;
//! volume.write_at(HostOffset::new(700), b"hello")?;
//! let volume = Volume::open(file, &passphrase, Limits::default())?;
//! let mut back = [0; 5];
//! volume.read_at(HostOffset::new(700), &mut back)?;
//! assert_eq!(&back, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//! * A decoded header needs no second check: stripes, key length and places of slots are within bounds.
//! * The work that a header may ask for is bounded by [`Limits`]; memory by 256 KiB.
//! * Keys and passphrases are overwritten when they are dropped.
//! * A change of slots leaves, at any moment, each other slot as it was; see [`KeyChange`].
//!
//! # Spec
//! "Encryption", method 2.

#![forbid(unsafe_code)]

mod anti_forensic;
mod cipher_spec;
mod create;
mod derive;
mod error;
mod hash;
mod header;
mod header_codec;
mod key_area;
mod key_change;
mod key_material;
mod random;
mod unlock;
mod volume;

pub use cipher_spec::{CipherSpec, Vector};
pub use create::{Format, Formatted};
pub use derive::Limits;
pub use error::LuksError;
pub use hash::Hash;
pub use header::{Header, KeySlot, SLOTS};
pub use holstein_crypto::CipherMode;
pub use key_area::{FileArea, KeyArea};
pub use key_change::KeyChange;
pub use unlock::MasterKey;
pub use volume::Volume;
