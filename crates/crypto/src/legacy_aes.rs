//! The first encryption of qcow2, `crypt_method` 1: AES-128-CBC over guest sectors.
//!
//! It is kept for old images. There is no salt, no derivation of the key and no way to see that a
//! passphrase is wrong; and who can write to the file can change what the guest reads.

use aes::Aes128;
use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit, consts::U16};
use zeroize::Zeroizing;

use crate::Secret;
use crate::sector_cipher::{Numbering, SECTOR, SectorCipher};

/// Bytes of the key.
const KEY: usize = 16;

/// AES-128-CBC whose vector is the guest sector's number, as a little-endian number of 16 bytes.
pub struct LegacyAes(Aes128);

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
        Self(Aes128::new((&*key).into()))
    }
}

/// The vector of a sector.
fn vector(sector: u64) -> Array<u8, U16> {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&sector.to_be_bytes());
    bytes.reverse();
    bytes.into()
}

impl SectorCipher for LegacyAes {
    fn numbering(&self) -> Numbering {
        Numbering::Guest
    }

    fn encrypt(&self, first: u64, sectors: &mut [u8]) {
        for (number, sector) in (first..).zip(sectors.chunks_exact_mut(SECTOR)) {
            let (blocks, _) = Array::slice_as_chunks_mut(sector);
            cbc::Encryptor::inner_iv_init(&self.0, &vector(number)).encrypt_blocks(blocks);
        }
    }

    fn decrypt(&self, first: u64, sectors: &mut [u8]) {
        for (number, sector) in (first..).zip(sectors.chunks_exact_mut(SECTOR)) {
            let (blocks, _) = Array::slice_as_chunks_mut(sector);
            cbc::Decryptor::inner_iv_init(&self.0, &vector(number)).decrypt_blocks(blocks);
        }
    }
}
