//! The ciphers that headers name.

use std::fmt;

use holstein_crypto::{CipherMode, SectorCipher, VectorKind, aes_sectors};
use zeroize::Zeroizing;

use crate::{Hash, LuksError};

/// How the vector of a sector is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vector {
    /// From the low 32 bits of its number.
    Plain,
    /// From its number.
    Plain64,
    /// From its number, encrypted under a hash of the key.
    Essiv(Hash),
}

/// AES with a key of some length in some mode: what a volume is encrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CipherSpec {
    /// Bytes of the key of the cipher itself: 16, 24 or 32.
    pub key: usize,
    /// How blocks depend on each other.
    pub mode: CipherMode,
    /// How vectors are made.
    pub vector: Vector,
}

impl Default for CipherSpec {
    /// `aes-256` in `xts-plain64`.
    fn default() -> Self {
        Self { key: 32, mode: CipherMode::Xts, vector: Vector::Plain64 }
    }
}

impl CipherSpec {
    /// The cipher that a header names `name` and `mode`, whose master key has `key_bytes`.
    ///
    /// # Errors
    /// [`LuksError::Unsupported`]; [`LuksError::KeyLength`]; [`LuksError::EssivKey`].
    pub fn parse(name: &str, mode: &str, key_bytes: u32) -> Result<Self, LuksError> {
        let unsupported = |what, name: &str| LuksError::Unsupported { what, name: name.to_owned() };
        if name != "aes" {
            return Err(unsupported("cipher", name));
        }
        let mut words = mode.splitn(2, '-');
        let mode = match words.next() {
            Some("xts") => CipherMode::Xts,
            Some("cbc") => CipherMode::Cbc,
            _ => return Err(unsupported("cipher mode", mode)),
        };
        let vector = words.next().unwrap_or_default();
        let (name, hash) = vector.split_once(':').unwrap_or((vector, ""));
        let vector = match name {
            // A hash that these name is not looked at.
            "plain" => Vector::Plain,
            "plain64" => Vector::Plain64,
            "essiv" => Vector::Essiv(Hash::named(hash).ok_or_else(|| unsupported("hash", hash))?),
            _ => return Err(unsupported("IV generator", vector)),
        };
        let bytes = usize::try_from(key_bytes).unwrap_or(usize::MAX);
        let key = if mode == CipherMode::Xts { bytes / 2 } else { bytes };
        let spec = Self { key, mode, vector };
        if spec.key_bytes() != bytes || !matches!(key, 16 | 24 | 32) {
            return Err(LuksError::KeyLength {
                len: bytes,
                cipher: format!("aes-{}", spec.mode_text()),
            });
        }
        spec.check()?;
        Ok(spec)
    }

    /// Whether the parts go together.
    pub(crate) fn check(self) -> Result<(), LuksError> {
        match self.vector {
            Vector::Essiv(hash) if !matches!(hash.len(), 16 | 24 | 32) => {
                Err(LuksError::EssivKey { len: hash.len() })
            }
            _ if !matches!(self.key, 16 | 24 | 32) => {
                Err(LuksError::KeyLength { len: self.key, cipher: "aes".to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the master key: XTS takes two keys.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self.mode {
            CipherMode::Xts => 2 * self.key,
            CipherMode::Cbc => self.key,
        }
    }

    /// The mode as headers name it, such as `cbc-essiv:sha256`.
    #[must_use]
    pub fn mode_text(self) -> String {
        let mode = match self.mode {
            CipherMode::Xts => "xts",
            CipherMode::Cbc => "cbc",
        };
        match self.vector {
            Vector::Plain => format!("{mode}-plain"),
            Vector::Plain64 => format!("{mode}-plain64"),
            Vector::Essiv(hash) => format!("{mode}-essiv:{}", hash.name()),
        }
    }

    /// The cipher with a key, over sectors numbered by their places.
    pub(crate) fn cipher(self, key: &[u8]) -> Result<Box<dyn SectorCipher>, LuksError> {
        let mut digest = Zeroizing::new([0; 64]);
        let vector = match self.vector {
            Vector::Plain => VectorKind::Plain,
            Vector::Plain64 => VectorKind::Plain64,
            Vector::Essiv(hash) => {
                hash.digest(&[key], &mut digest[..]);
                VectorKind::Essiv(&digest[..hash.len()])
            }
        };
        aes_sectors(self.mode, key, vector)
            .map_err(|wrong| LuksError::KeyLength { len: wrong.0, cipher: self.to_string() })
    }
}

impl fmt::Display for CipherSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aes-{}-{}", self.key * 8, self.mode_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for key in [16, 24, 32] {
            for mode in [CipherMode::Xts, CipherMode::Cbc] {
                for vector in [Vector::Plain, Vector::Plain64, Vector::Essiv(Hash::Sha256)] {
                    let spec = CipherSpec { key, mode, vector };
                    let bytes = u32::try_from(spec.key_bytes()).expect("a few bytes");
                    let back = CipherSpec::parse("aes", &spec.mode_text(), bytes);
                    assert_eq!(back.expect("it is well formed"), spec);
                }
            }
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (name, mode, bytes) in [
            ("serpent", "xts-plain64", 64),
            ("aes", "ecb", 32),
            ("aes", "ctr-plain64", 32),
            ("aes", "xts-benbi", 64),
            ("aes", "xts", 64),
            ("aes", "cbc-essiv", 32),
            ("aes", "cbc-essiv:sha512", 32),
            ("aes", "cbc-essiv:sha1", 32),
            ("aes", "xts-plain64", 16),
            ("aes", "xts-plain64", 65),
            ("aes", "xts-plain64", 33),
            ("aes", "cbc-plain64", 64),
            ("aes", "cbc-plain64", 0),
            ("aes", "cbc-plain64", u32::MAX),
        ] {
            assert!(CipherSpec::parse(name, mode, bytes).is_err(), "{name} {mode} {bytes}");
        }
    }
}
