//! AES over sectors, in the modes that disks use.

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes192, Aes256};

use crate::SectorCipher;
use crate::cbc_sectors::Cbc;
use crate::vectors::{VectorKind, Vectors};
use crate::xts::Xts;

/// How the blocks of a sector depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CipherMode {
    /// XTS, which takes two keys.
    Xts,
    /// Chaining.
    Cbc,
}

/// A key has a length that the cipher does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLength(pub usize);

impl std::fmt::Display for KeyLength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the cipher takes no key of {} bytes", self.0)
    }
}

impl std::error::Error for KeyLength {}

/// AES in a mode, whose sectors have the numbers of their places in the file.
///
/// * `key`: 16, 24 or 32 bytes; in XTS two of these, one behind the other.
///
/// # Errors
/// [`KeyLength`] for other lengths.
pub fn aes_sectors(
    mode: CipherMode,
    key: &[u8],
    vectors: VectorKind<'_>,
) -> Result<Box<dyn SectorCipher>, KeyLength> {
    let size = if mode == CipherMode::Xts { key.len() / 2 } else { key.len() };
    match size {
        16 => sectors::<Aes128>(mode, key, vectors),
        24 => sectors::<Aes192>(mode, key, vectors),
        _ => sectors::<Aes256>(mode, key, vectors),
    }
}

fn sectors<C>(
    mode: CipherMode,
    key: &[u8],
    vectors: VectorKind<'_>,
) -> Result<Box<dyn SectorCipher>, KeyLength>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
    C: Send + Sync + 'static,
{
    let wrong = |_| KeyLength(key.len());
    let vectors = Vectors::new(vectors)?;
    if mode == CipherMode::Cbc {
        let cipher = C::new_from_slice(key).map_err(wrong)?;
        return Ok(Box::new(Cbc { cipher, vectors }));
    }
    let (data, tweak) = key.split_at(key.len() / 2);
    let data = C::new_from_slice(data).map_err(wrong)?;
    let tweak = C::new_from_slice(tweak).map_err(wrong)?;
    Ok(Box::new(Xts { data, tweak, vectors }))
}
