//! The header as values.

use crate::{CipherSpec, Hash, LuksError};

/// Key slots of a header.
pub const SLOTS: usize = 8;
/// Bytes of a sector, in which places are counted.
pub(crate) const SECTOR: u64 = holstein_units::SECTOR;
/// Stripes over which a key is spread.
pub(crate) const STRIPES: u32 = 4000;
/// Places of slots are multiples of this many sectors, and so is the first one.
pub(crate) const ALIGN: u32 = 8;
/// The longest master key: two keys of AES-256.
pub(crate) const MAX_KEY: u32 = 64;

/// A key slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySlot {
    /// Whether it holds the master key.
    pub active: bool,
    /// Iterations of the derivation; above 0 where it is active.
    pub iterations: u32,
    /// Salt of the derivation.
    pub salt: [u8; 32],
    /// Where its material begins, in sectors from the start of the header.
    pub start: u32,
    /// Stripes of its material.
    pub stripes: u32,
}

/// A header that was found to be in order.
///
/// Ciphers and hashes may be others than those known here: [`Self::cipher`] and [`Self::hash`] say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name of the cipher, such as `aes`.
    pub cipher_name: String,
    /// Its mode and vector, such as `xts-plain64`.
    pub cipher_mode: String,
    /// Name of the hash for derivations.
    pub hash_name: String,
    /// Where the payload of a volume begins, in sectors.
    pub payload: u32,
    /// Bytes of the master key.
    pub key_bytes: u32,
    /// By which the master key is known.
    pub digest: [u8; 20],
    /// Salt of the digest.
    pub digest_salt: [u8; 32],
    /// Iterations of the digest.
    pub digest_iterations: u32,
    /// What the volume is called.
    pub uuid: String,
    /// The key slots.
    pub slots: [KeySlot; SLOTS],
}

impl Header {
    /// Bytes of a header, from its start.
    pub const BYTES: usize = crate::header_codec::BYTES;

    /// The cipher.
    ///
    /// # Errors
    /// As for [`CipherSpec::parse`].
    pub fn cipher(&self) -> Result<CipherSpec, LuksError> {
        CipherSpec::parse(&self.cipher_name, &self.cipher_mode, self.key_bytes)
    }

    /// The hash for derivations.
    ///
    /// # Errors
    /// [`LuksError::Unsupported`].
    pub fn hash(&self) -> Result<Hash, LuksError> {
        let unsupported = || LuksError::Unsupported { what: "hash", name: self.hash_name.clone() };
        Hash::named(&self.hash_name).ok_or_else(unsupported)
    }

    /// Byte at which a slot's material begins.
    #[must_use]
    pub fn slot_offset(&self, slot: &KeySlot) -> u64 {
        u64::from(slot.start) * SECTOR
    }

    /// Byte at which the payload of a volume begins.
    #[must_use]
    pub fn payload_offset(&self) -> u64 {
        u64::from(self.payload) * SECTOR
    }

    /// Whether everything is within its bounds.
    pub(crate) fn validate(&self) -> Result<(), LuksError> {
        let field = |field, value| Err(LuksError::Field { field, value });
        if !(1..=MAX_KEY).contains(&self.key_bytes) {
            return field("key length", self.key_bytes);
        }
        if self.digest_iterations == 0 {
            return field("key iteration count", 0);
        }
        if self.payload < ALIGN {
            return field("payload offset", self.payload);
        }
        for (index, slot) in self.slots.iter().enumerate() {
            self.validate_slot(index, slot)?;
        }
        Ok(())
    }

    fn validate_slot(&self, index: usize, slot: &KeySlot) -> Result<(), LuksError> {
        let field = |field, value| Err(LuksError::SlotField { slot: index, field, value });
        let overlap =
            |other: &str| Err(LuksError::Overlap { slot: index, other: other.to_owned() });
        if slot.stripes != STRIPES {
            return field("stripes", slot.stripes);
        }
        if slot.active && slot.iterations == 0 {
            return field("iterations", 0);
        }
        if slot.start < ALIGN {
            return overlap("the LUKS header");
        }
        let sectors = material_sectors(self.key_bytes);
        let end = u64::from(slot.start) + sectors;
        if end > u64::from(self.payload) {
            return overlap("the encrypted payload");
        }
        for (other, earlier) in self.slots[..index].iter().enumerate() {
            let start = u64::from(earlier.start);
            if start < end && u64::from(slot.start) < start + sectors {
                return overlap(&format!("keyslot {other}"));
            }
        }
        Ok(())
    }
}

/// Sectors of a slot's material.
pub(crate) fn material_sectors(key_bytes: u32) -> u64 {
    (u64::from(key_bytes) * u64::from(STRIPES)).div_ceil(SECTOR)
}
