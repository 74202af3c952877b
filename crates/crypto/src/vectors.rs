//! The vector of a sector, made from its number.

use aes::cipher::consts::U16;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};

use crate::aes_sectors::KeyLength;

/// A block of the cipher.
pub(crate) type Block = Array<u8, U16>;

/// How the vector of a sector is made from its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VectorKind<'a> {
    /// The low 32 bits of the number, with the low byte first.
    Plain,
    /// The number, with the low byte first.
    Plain64,
    /// The same, encrypted under a key of 16, 24 or 32 bytes.
    Essiv(&'a [u8]),
}

/// The same with its key in place.
pub(crate) enum Vectors {
    Plain,
    Plain64,
    Essiv128(Aes128),
    Essiv192(Aes192),
    Essiv256(Aes256),
}

impl Vectors {
    pub(crate) fn new(kind: VectorKind<'_>) -> Result<Self, KeyLength> {
        let VectorKind::Essiv(key) = kind else {
            return Ok(if kind == VectorKind::Plain { Self::Plain } else { Self::Plain64 });
        };
        let wrong = |_| KeyLength(key.len());
        match key.len() {
            16 => Aes128::new_from_slice(key).map(Self::Essiv128).map_err(wrong),
            24 => Aes192::new_from_slice(key).map(Self::Essiv192).map_err(wrong),
            _ => Aes256::new_from_slice(key).map(Self::Essiv256).map_err(wrong),
        }
    }

    /// The vectors of sectors in a row.
    pub(crate) fn fill(&self, first: u64, out: &mut [Block]) {
        for (number, block) in (first..).zip(&mut *out) {
            let shown = if matches!(self, Self::Plain) { number & 0xffff_ffff } else { number };
            *block = store(u128::from(shown));
        }
        match self {
            Self::Plain | Self::Plain64 => {}
            Self::Essiv128(cipher) => cipher.encrypt_blocks(out),
            Self::Essiv192(cipher) => cipher.encrypt_blocks(out),
            Self::Essiv256(cipher) => cipher.encrypt_blocks(out),
        }
    }
}

/// A block as a number with the low byte first.
#[inline]
pub(crate) fn load(block: &Block) -> u128 {
    u128::from_be_bytes(block.0).swap_bytes()
}

/// The block of a number with the low byte first.
#[inline]
pub(crate) fn store(number: u128) -> Block {
    Array(number.swap_bytes().to_be_bytes())
}
