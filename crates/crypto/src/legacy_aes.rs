//! The first encryption of qcow2, `crypt_method` 1: AES-128-CBC over guest sectors.
//!
//! It is kept for old images. There is no salt, no derivation of the key and no way to see that a
//! passphrase is wrong; and who can write to the file can change what the guest reads.

use aes::Aes128;
use aes::cipher::KeyInit;
use zeroize::Zeroizing;

use crate::Secret;
use crate::cbc_sectors::Cbc;
use crate::sector_cipher::{Numbering, SectorCipher};
use crate::vectors::Vectors;

/// Bytes of the key.
const KEY: usize = 16;

/// AES-128-CBC whose vector is the guest sector's number, as a little-endian number of 16 bytes.
pub struct LegacyAes(Cbc<Aes128>);

impl std::fmt::Debug for LegacyAes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LegacyAes(..)")
    }
}

impl LegacyAes {
    /// The cipher of a passphrase, of which 16 bytes count, and none from a zero byte on; a shorter one
    /// is filled up with zeros.
    #[must_use]
    pub fn new(passphrase: &Secret) -> Self {
        let bytes = passphrase.bytes();
        let count = bytes.iter().take(KEY).take_while(|byte| **byte != 0).count();
        let mut key = Zeroizing::new([0; KEY]);
        key[..count].copy_from_slice(&bytes[..count]);
        Self(Cbc { cipher: Aes128::new((&*key).into()), vectors: Vectors::Plain64 })
    }
}

impl SectorCipher for LegacyAes {
    fn numbering(&self) -> Numbering {
        Numbering::Guest
    }

    fn encrypt(&self, first: u64, sectors: &mut [u8]) {
        self.0.encrypt(first, sectors);
    }

    fn decrypt(&self, first: u64, sectors: &mut [u8]) {
        self.0.decrypt(first, sectors);
    }
}
