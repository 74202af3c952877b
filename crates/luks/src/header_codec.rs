//! The header as bytes.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::LuksError;
use crate::header::{Header, KeySlot, SLOTS};

const MAGIC: [u8; 6] = *b"LUKS\xba\xbe";
const VERSION: u16 = 1;
const ACTIVE: u32 = 0x00ac_71f3;
const INACTIVE: u32 = 0x0000_dead;

/// On disk: a key slot.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawSlot {
    state: U32,
    iterations: U32,
    salt: [u8; 32],
    start: U32,
    stripes: U32,
}

/// On disk: the header.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 6],
    version: U16,
    cipher_name: [u8; 32],
    cipher_mode: [u8; 32],
    hash: [u8; 32],
    payload: U32,
    key_bytes: U32,
    digest: [u8; 20],
    digest_salt: [u8; 32],
    digest_iterations: U32,
    uuid: [u8; 40],
    slots: [RawSlot; SLOTS],
}

/// Bytes of a header.
pub(crate) const BYTES: usize = size_of::<RawHeader>();
/// Bytes of a slot in it.
const SLOT_BYTES: usize = size_of::<RawSlot>();

const _: () = assert!(BYTES == 592 && SLOT_BYTES == 48);

/// The text before the first NUL.
fn text(field: &'static str, bytes: &[u8]) -> Result<String, LuksError> {
    let wrong = || LuksError::Text { field };
    let end = bytes.iter().position(|byte| *byte == 0).ok_or_else(wrong)?;
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| wrong())
}

/// A text with NULs behind it.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    // The last byte is a NUL whatever the text is.
    for (byte, from) in bytes[..N - 1].iter_mut().zip(text.bytes()) {
        *byte = from;
    }
    bytes
}

impl Header {
    /// Reads a header from the first bytes of its area.
    ///
    /// # Errors
    /// What is wrong with it; ciphers and hashes that are not known are not.
    pub fn decode(bytes: &[u8]) -> Result<Self, LuksError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(LuksError::Magic);
        }
        let (raw, _) = RawHeader::ref_from_prefix(bytes)
            .map_err(|_| LuksError::Short { have: bytes.len() as u64, need: BYTES as u64 })?;
        if raw.version.get() != VERSION {
            return Err(LuksError::Version { version: raw.version.get() });
        }
        let mut slots =
            [KeySlot { active: false, iterations: 0, salt: [0; 32], start: 0, stripes: 0 }; SLOTS];
        for (index, (slot, raw)) in slots.iter_mut().zip(&raw.slots).enumerate() {
            *slot = KeySlot {
                active: match raw.state.get() {
                    ACTIVE => true,
                    INACTIVE => false,
                    value => {
                        return Err(LuksError::SlotField { slot: index, field: "state", value });
                    }
                },
                iterations: raw.iterations.get(),
                salt: raw.salt,
                start: raw.start.get(),
                stripes: raw.stripes.get(),
            };
        }
        let header = Self {
            cipher_name: text("cipher name", &raw.cipher_name)?,
            cipher_mode: text("cipher mode", &raw.cipher_mode)?,
            hash_name: text("hash spec", &raw.hash)?,
            payload: raw.payload.get(),
            key_bytes: raw.key_bytes.get(),
            digest: raw.digest,
            digest_salt: raw.digest_salt,
            digest_iterations: raw.digest_iterations.get(),
            uuid: text("uuid", &raw.uuid)?,
            slots,
        };
        header.validate()?;
        Ok(header)
    }

    /// The bytes of the header. Texts that do not fit are cut.
    #[must_use]
    pub fn encode(&self) -> [u8; BYTES] {
        let raw = RawHeader {
            magic: MAGIC,
            version: VERSION.into(),
            cipher_name: padded(&self.cipher_name),
            cipher_mode: padded(&self.cipher_mode),
            hash: padded(&self.hash_name),
            payload: self.payload.into(),
            key_bytes: self.key_bytes.into(),
            digest: self.digest,
            digest_salt: self.digest_salt,
            digest_iterations: self.digest_iterations.into(),
            uuid: padded(&self.uuid),
            slots: self.slots.map(|slot| raw_slot(&slot)),
        };
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Where a slot is in the header, and its bytes.
    pub(crate) fn encode_slot(&self, index: usize) -> (u64, [u8; SLOT_BYTES]) {
        let mut bytes = [0; SLOT_BYTES];
        bytes.copy_from_slice(raw_slot(&self.slots[index]).as_bytes());
        ((BYTES - (SLOTS - index) * SLOT_BYTES) as u64, bytes)
    }
}

fn raw_slot(slot: &KeySlot) -> RawSlot {
    RawSlot {
        state: if slot.active { ACTIVE } else { INACTIVE }.into(),
        iterations: slot.iterations.into(),
        salt: slot.salt,
        start: slot.start.into(),
        stripes: slot.stripes.into(),
    }
}
