//! New headers.

use std::time::Duration;

use holstein_crypto::Secret;
use zeroize::Zeroizing;

use crate::derive::iterations_for;
use crate::header::{ALIGN, Header, KeySlot, SECTOR, SLOTS, STRIPES, material_sectors};
use crate::key_material::Kind;
use crate::{CipherSpec, Hash, LuksError, MasterKey, random};

/// What a new volume is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The cipher of payload and key material.
    pub cipher: CipherSpec,
    /// The hash for derivations.
    pub hash: Hash,
    /// How long deriving a key from the passphrase takes on this machine.
    pub iter_time: Duration,
}

impl Default for Format {
    /// `aes-256` in `xts-plain64`, `sha256`, two seconds.
    fn default() -> Self {
        Self {
            cipher: CipherSpec::default(),
            hash: Hash::Sha256,
            iter_time: Duration::from_millis(2000),
        }
    }
}

/// A new header with its key material.
#[derive(Debug)]
pub struct Formatted {
    /// All bytes up to the payload.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The key of the payload.
    pub key: MasterKey,
}

impl Format {
    /// Sectors from one slot to the next.
    fn slot_sectors(&self) -> u32 {
        let key = u32::try_from(self.cipher.key_bytes()).unwrap_or(u32::MAX);
        let sectors = material_sectors(key).next_multiple_of(ALIGN.into());
        u32::try_from(sectors).unwrap_or(u32::MAX)
    }

    /// Sectors up to the payload.
    fn payload(&self) -> u32 {
        ALIGN + self.slot_sectors() * u32::try_from(SLOTS).expect("eight")
    }

    /// Bytes of a header with all of its key material.
    ///
    /// # Errors
    /// As for [`Self::format`], where the parts do not go together.
    pub fn area_bytes(&self) -> Result<u64, LuksError> {
        self.cipher.check()?;
        Ok(u64::from(self.payload()) * SECTOR)
    }

    /// Makes a header whose first slot opens to the passphrase, under a new master key.
    ///
    /// # Errors
    /// [`LuksError::KeyLength`], [`LuksError::EssivKey`] and [`LuksError::IterTime`] for what does not go
    /// together; [`LuksError::Random`].
    pub fn format(&self, passphrase: &Secret) -> Result<Formatted, LuksError> {
        let bytes = usize::try_from(self.area_bytes()?).expect("two megabytes at most");
        let kind = Kind { cipher: self.cipher, hash: self.hash };
        let mut key = Secret::new(vec![0; self.cipher.key_bytes()]);
        random::fill(key.bytes_mut())?;
        // The digest is computed once for each slot that is tried.
        let digest_time = self.iter_time / 8;
        let mut header = Header {
            cipher_name: "aes".to_owned(),
            cipher_mode: self.cipher.mode_text(),
            hash_name: self.hash.name().to_owned(),
            payload: self.payload(),
            key_bytes: u32::try_from(self.cipher.key_bytes()).expect("a key has a few bytes"),
            digest: [0; 20],
            digest_salt: random::bytes()?,
            digest_iterations: iterations_for(self.hash, 20, digest_time)?,
            uuid: random::uuid()?,
            slots: std::array::from_fn(|index| KeySlot {
                active: false,
                iterations: 0,
                salt: [0; 32],
                start: ALIGN + self.slot_sectors() * u32::try_from(index).expect("below eight"),
                stripes: STRIPES,
            }),
        };
        let (salt, iterations) = (&header.digest_salt, header.digest_iterations);
        self.hash.derive(key.bytes(), salt, iterations, &mut header.digest);
        header.slots[0].active = true;
        header.slots[0].salt = random::bytes()?;
        header.slots[0].iterations =
            iterations_for(self.hash, self.cipher.key_bytes(), self.iter_time)?;
        let material = kind.seal(&header.slots[0], key.bytes(), passphrase)?;
        let mut area = Zeroizing::new(vec![0; bytes]);
        area[..Header::BYTES].copy_from_slice(&header.encode());
        let start = usize::try_from(header.slot_offset(&header.slots[0])).expect("a small number");
        area[start..start + material.len()].copy_from_slice(&material);
        Ok(Formatted { bytes: area, key: MasterKey { key, spec: self.cipher } })
    }
}
