//! Secrets that another secret encrypts.

use aes::Aes256;
use aes::cipher::{Array, BlockModeDecrypt, KeyIvInit};

use crate::Secret;

/// Bytes of a block, and of the vector.
const BLOCK: usize = 16;
/// Bytes of the key.
const KEY: usize = 32;

/// Why a secret cannot be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnwrapError {
    /// The key has not 32 bytes.
    Key,
    /// The vector has so many bytes and not 16.
    Vector(usize),
    /// So many bytes are no whole blocks.
    Length(usize),
    /// The last byte, which counts the bytes of padding in the last block, says this.
    Padding(u8),
}

impl std::fmt::Display for UnwrapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key => write!(f, "key should be {KEY} bytes in length"),
            Self::Vector(len) => write!(f, "IV should be {BLOCK} bytes in length not {len}"),
            Self::Length(len) => {
                write!(f, "length {len} must be a multiple of block size {BLOCK}")
            }
            Self::Padding(bytes) => {
                write!(f, "incorrect number of padding bytes ({bytes}) found on decrypted data")
            }
        }
    }
}

impl std::error::Error for UnwrapError {}

impl Secret {
    /// Decrypts this secret: AES-256-CBC over whole blocks, of which the last byte says how many bytes at the
    /// end are none of it.
    ///
    /// * `key`: 32 bytes.
    /// * `vector`: 16 bytes.
    ///
    /// # Errors
    /// What has the wrong length. A key that is wrong shows by chance alone.
    pub fn unwrap_with(mut self, key: &Self, vector: &[u8]) -> Result<Self, UnwrapError> {
        let key: &[u8; KEY] = key.bytes().try_into().map_err(|_| UnwrapError::Key)?;
        let vector: &[u8; BLOCK] =
            vector.try_into().map_err(|_| UnwrapError::Vector(vector.len()))?;
        let len = self.bytes().len();
        let (blocks, rest) = Array::slice_as_chunks_mut(self.bytes_mut());
        if !rest.is_empty() {
            return Err(UnwrapError::Length(len));
        }
        cbc::Decryptor::<Aes256>::new(key.into(), vector.into()).decrypt_blocks(blocks);
        let padding = self.bytes().last().copied().unwrap_or(0);
        match usize::from(padding) {
            bytes if bytes <= BLOCK => self.truncate(len - bytes),
            _ => return Err(UnwrapError::Padding(padding)),
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From SP 800-38A, F.2.6: CBC-AES256, the first block.
    const TEXT: u128 = 0x6bc1_bee2_2e40_9f96_e93d_7e11_7393_172a;
    const CIPHER: u128 = 0xf58c_4c04_d6e5_f1ba_779e_abfb_5f7b_fbd6;

    fn key() -> Secret {
        let parts: [u128; 2] =
            [0x603d_eb10_15ca_71be_2b73_aef0_857d_7781, 0x1f35_2c07_3b61_08d7_2d98_10a3_0914_dff4];
        Secret::new(parts.into_iter().flat_map(u128::to_be_bytes).collect())
    }

    fn unwrap(cipher: &[u8], key: &Secret, vector: &[u8]) -> Result<Secret, UnwrapError> {
        Secret::new(cipher.to_vec()).unwrap_with(key, vector)
    }

    #[test]
    fn the_published_vector_comes_out_and_padding_goes() {
        let vector: [u8; 16] = std::array::from_fn(|n| n as u8);
        let cipher = CIPHER.to_be_bytes();
        // Its last byte is no count.
        let error = UnwrapError::Padding(TEXT.to_be_bytes()[15]);
        assert_eq!(unwrap(&cipher, &key(), &vector), Err(error));
        // A change of the vector is one of the text.
        for (last, len) in [(0, 16), (1, 15), (7, 9), (16, 0)] {
            let mut vector = vector;
            vector[15] ^= TEXT.to_be_bytes()[15] ^ last;
            let text = unwrap(&cipher, &key(), &vector).expect("padded");
            let mut expected = TEXT.to_be_bytes();
            expected[15] = last;
            assert_eq!(text.bytes(), &expected[..len], "{last}");
        }
    }

    #[test]
    fn what_has_the_wrong_length_is_refused() {
        let short = Secret::new(vec![0; 31]);
        assert_eq!(unwrap(&[0; 16], &short, &[0; 16]), Err(UnwrapError::Key));
        assert_eq!(unwrap(&[0; 16], &key(), &[0; 15]), Err(UnwrapError::Vector(15)));
        assert_eq!(unwrap(&[0; 17], &key(), &[0; 16]), Err(UnwrapError::Length(17)));
        assert_eq!(unwrap(&[], &key(), &[0; 16]), Ok(Secret::default()));
    }
}
