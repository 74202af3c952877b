//! Why a volume cannot be used.

use std::io;
use std::sync::Arc;

/// What is wrong with a header, a passphrase or a change of key slots.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LuksError {
    /// The bytes do not begin as a header.
    #[error("volume is not in LUKS format")]
    Magic,
    /// Only version 1 is known.
    #[error("LUKS version {version} is not supported")]
    Version {
        /// What the header says.
        version: u16,
    },
    /// The header ends before its last field, or the area before a slot's material.
    #[error("LUKS header ends at byte {have}, before byte {need}")]
    Short {
        /// Bytes there are.
        have: u64,
        /// Bytes there should be.
        need: u64,
    },
    /// A text fills its field.
    #[error("LUKS header {field} field is not NUL terminated")]
    Text {
        /// Which one.
        field: &'static str,
    },
    /// A number that no header has.
    #[error("LUKS header {field} is {value}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What it says.
        value: u32,
    },
    /// A field of a key slot that no slot has.
    #[error("keyslot {slot} {field} is {value:#x}")]
    SlotField {
        /// Index of the slot.
        slot: usize,
        /// Which field.
        field: &'static str,
        /// What it says.
        value: u32,
    },
    /// Two parts of the volume lie over each other.
    #[error("keyslot {slot} is overlapping with {other}")]
    Overlap {
        /// Index of the slot.
        slot: usize,
        /// What it lies over.
        other: String,
    },
    /// A cipher, mode, vector or hash that is not known here.
    #[error("{what} '{name}' is not supported")]
    Unsupported {
        /// What kind of thing.
        what: &'static str,
        /// What the header or the caller calls it.
        name: String,
    },
    /// The digest of the vector's hash is no key of the cipher.
    #[error("no AES cipher with key size {len} available")]
    EssivKey {
        /// Bytes of the digest.
        len: usize,
    },
    /// Key and cipher do not go together.
    #[error("a master key of {len} bytes does not fit {cipher}")]
    KeyLength {
        /// Bytes of the key.
        len: usize,
        /// The cipher.
        cipher: String,
    },
    /// Deriving the keys would take longer than is allowed.
    #[error("key derivation of {iterations} iterations is past the limit")]
    TooMuchWork {
        /// What the header asks for.
        iterations: u64,
    },
    /// No slot opens.
    #[error("invalid password, cannot unlock any keyslot")]
    Passphrase,
    /// There is no such slot.
    #[error("invalid keyslot {slot} specified, must be between 0 and 7")]
    NoSlot {
        /// What was asked for.
        slot: usize,
    },
    /// A slot that is in use is not written over without force.
    #[error("refusing to overwrite active keyslot {slot} - please erase it first")]
    SlotActive {
        /// Index of the slot.
        slot: usize,
    },
    /// No slot is free.
    #[error("can't add a keyslot - all keyslots are in use")]
    NoFreeSlot,
    /// An empty slot cannot be erased.
    #[error("given keyslot {slot} is already erased (inactive) ")]
    SlotInactive {
        /// Index of the slot.
        slot: usize,
    },
    /// The slot does not hold the passphrase that was given.
    #[error("given keyslot {slot} doesn't contain the given old password for erase operation")]
    SlotPassphrase {
        /// Index of the slot.
        slot: usize,
    },
    /// No slot holds the passphrase that was given.
    #[error("no keyslots match given (old) password for erase operation")]
    NoMatch,
    /// Erasing the only slot loses the volume.
    #[error(
        "attempt to erase the only active keyslot {slot} which will erase all the data in the image \
         irreversibly - refusing operation"
    )]
    LastSlot {
        /// Index of the slot.
        slot: usize,
    },
    /// Erasing every slot loses the volume.
    #[error(
        "all the active keyslots match the (old) password that was given and erasing them will erase \
         all the data in the image irreversibly - refusing operation"
    )]
    AllSlots,
    /// A derivation would take more work than the default limits allow.
    #[error("iteration time {millis} ms is not supported")]
    IterTime {
        /// What was asked for.
        millis: u64,
    },
    /// The system has no random bytes.
    #[error("random bytes: {0}")]
    Random(String),
    /// The area cannot be read or written.
    #[error("LUKS header area: {0}")]
    Io(Arc<io::Error>),
}

impl From<io::Error> for LuksError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
