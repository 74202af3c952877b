//! Keys that a passphrase encrypts: PKCS #8 with PBES2, by AES in CBC under a key from PBKDF2.
//!
//! # Spec
//! RFC 8018, RFC 5958.

use aes::cipher::{Array, BlockModeDecrypt, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use holstein_crypto::Secret;
use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::der::{Elements, tag};

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
/// What identifiers of hashes begin with; one byte follows.
const HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2];
/// What identifiers of AES begin with; one byte follows.
const AES: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1];

/// Iterations that are made, at most: some seconds of work.
const MAX_ITERATIONS: u32 = 10_000_000;
/// Bytes of a block.
const BLOCK: usize = 16;

/// Why a key cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// It is encrypted in another way, or would take too much work.
    Unknown,
    /// The passphrase does not fit.
    Wrong,
}

/// How the key is derived and used.
struct Scheme<'a> {
    salt: &'a [u8],
    iterations: u32,
    /// By the last number of its identifier.
    hash: u8,
    /// By the last number of its identifier.
    cipher: u8,
    vector: &'a [u8; BLOCK],
}

/// Decrypts a key.
///
/// # Errors
/// It cannot be done, or not with this passphrase.
pub(crate) fn unlock(key: &[u8], passphrase: &[u8]) -> Result<Secret, Locked> {
    let (scheme, text) = parse(key).ok_or(Locked::Unknown)?;
    let mut plain = Secret::new(text.to_vec());
    let derive = |len| scheme.derive(passphrase, len);
    let (blocks, rest) = Array::slice_as_chunks_mut(plain.bytes_mut());
    if !rest.is_empty() {
        return Err(Locked::Unknown);
    }
    let vector = scheme.vector;
    macro_rules! decrypt {
        ($Aes:ty, $len:literal) => {{
            let key = derive($len)?;
            let key: &[u8; $len] = key.bytes().try_into().map_err(|_| Locked::Unknown)?;
            cbc::Decryptor::<$Aes>::new(key.into(), vector.into()).decrypt_blocks(blocks);
        }};
    }
    match scheme.cipher {
        2 => decrypt!(Aes128, 16),
        22 => decrypt!(Aes192, 24),
        42 => decrypt!(Aes256, 32),
        _ => return Err(Locked::Unknown),
    }
    let padding = plain.bytes().last().copied().ok_or(Locked::Unknown)?;
    let len = plain.bytes().len().checked_sub(usize::from(padding)).ok_or(Locked::Wrong)?;
    let (text, filler) = plain.bytes().split_at(len);
    let is_padded = (1..=BLOCK).contains(&filler.len()) && filler.iter().all(|b| *b == padding);
    // Padding may be right by chance; a key inside is not.
    if !is_padded || Elements::new(text).element(tag::SEQUENCE).is_none_or(|it| it.whole != text) {
        return Err(Locked::Wrong);
    }
    plain.truncate(len);
    Ok(plain)
}

impl Scheme<'_> {
    fn derive(&self, passphrase: &[u8], len: usize) -> Result<Secret, Locked> {
        let mut key = Secret::new(vec![0; len]);
        let (salt, iterations, out) = (self.salt, self.iterations, key.bytes_mut());
        match self.hash {
            7 => pbkdf2_hmac::<Sha1>(passphrase, salt, iterations, out),
            9 => pbkdf2_hmac::<Sha256>(passphrase, salt, iterations, out),
            10 => pbkdf2_hmac::<Sha384>(passphrase, salt, iterations, out),
            11 => pbkdf2_hmac::<Sha512>(passphrase, salt, iterations, out),
            _ => return Err(Locked::Unknown),
        }
        Ok(key)
    }
}

fn parse(key: &[u8]) -> Option<(Scheme<'_>, &[u8])> {
    let mut outer = Elements::new(key).enter(tag::SEQUENCE)?;
    let mut algorithm = outer.enter(tag::SEQUENCE)?;
    let text = outer.element(tag::OCTET_STRING)?.content;
    algorithm.element(tag::OBJECT).filter(|kind| kind.content == PBES2)?;
    let mut parts = algorithm.enter(tag::SEQUENCE)?;
    let (mut derivation, mut cipher) = (parts.enter(tag::SEQUENCE)?, parts.enter(tag::SEQUENCE)?);
    derivation.element(tag::OBJECT).filter(|kind| kind.content == PBKDF2)?;
    let mut derivation = derivation.enter(tag::SEQUENCE)?;
    let salt = derivation.element(tag::OCTET_STRING)?.content;
    let iterations = derivation.element(tag::INTEGER)?.content;
    let iterations = iterations
        .iter()
        .try_fold(0_u32, |number, byte| number.checked_mul(256)?.checked_add(u32::from(*byte)))
        .filter(|number| (1..=MAX_ITERATIONS).contains(number))?;
    // The length of the key is that of the cipher, whether it is said or not.
    derivation.element(tag::INTEGER);
    let hash = match derivation.enter(tag::SEQUENCE) {
        None => 7,
        Some(mut hash) => match hash.element(tag::OBJECT)?.content.strip_prefix(HMAC)? {
            [hash] => *hash,
            _ => return None,
        },
    };
    let [cipher_kind] = cipher.element(tag::OBJECT)?.content.strip_prefix(AES)? else {
        return None;
    };
    let vector = cipher.element(tag::OCTET_STRING)?.content.try_into().ok()?;
    Some((Scheme { salt, iterations, hash, cipher: *cipher_kind, vector }, text))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// One key: as it is; by OpenSSL with AES of 128, 192, 256 and 256 bits and SHA-1, 256, 512 and 384; by
    /// certtool; and with triple DES.
    fn keys() -> Vec<Vec<u8>> {
        let text = include_str!("../tests/data/locked_keys.pem").replace(" ENCRYPTED", "");
        PrivatePkcs8KeyDer::pem_slice_iter(text.as_bytes())
            .map(|key| key.expect("it is one").secret_pkcs8_der().to_vec())
            .collect()
    }

    #[test]
    fn keys_are_unlocked_by_their_passphrase() {
        let keys = keys();
        let [plain, locked @ .., triple_des] = &keys[..] else { panic!("there are seven") };
        assert_eq!(locked.len(), 5);
        for (nth, key) in locked.iter().enumerate() {
            let unlocked = unlock(key, b"sesame").expect("it is the passphrase");
            assert!(unlocked.bytes() == plain, "{nth}");
            for wrong in [&b""[..], b"Sesame", b"sesame "] {
                assert_eq!(unlock(key, wrong).err(), Some(Locked::Wrong), "{nth}");
            }
        }
        assert_eq!(unlock(triple_des, b"sesame").err(), Some(Locked::Unknown));
        assert_eq!(unlock(plain, b"sesame").err(), Some(Locked::Unknown));
    }

    #[test]
    fn what_was_changed_or_cut_is_no_key() {
        let keys = keys();
        let key = &keys[1];
        for len in 0..key.len() {
            assert!(unlock(&key[..len], b"sesame").is_err(), "{len}");
        }
        // Other iterations make another key, and none at all makes none.
        let at = key.windows(4).position(|part| part == [2, 2, 8, 0]).expect("2048 of them");
        let mut other = key.clone();
        other[at + 2] = 9;
        assert_eq!(unlock(&other, b"sesame").err(), Some(Locked::Wrong));
        other[at + 2..at + 4].fill(0);
        assert_eq!(unlock(&other, b"sesame").err(), Some(Locked::Unknown));
    }
}
