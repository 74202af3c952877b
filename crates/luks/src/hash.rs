//! Hashes that headers name.

use pbkdf2::pbkdf2_hmac;
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// A hash, for deriving keys and spreading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-1.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// RIPEMD-160.
    Ripemd160,
}

/// Does `$work` with `$Digest` as the type that makes digests of `$hash`.
macro_rules! each_hash {
    ($hash:expr, $Digest:ident => $work:expr) => {
        each_hash!(@of [Sha1 Sha224 Sha256 Sha384 Sha512 Ripemd160] $hash, $Digest => $work)
    };
    (@of [$($name:ident)*] $hash:expr, $Digest:ident => $work:expr) => {
        match $hash {
            $(Hash::$name => {
                type $Digest = $name;
                $work
            })*
        }
    };
}

impl Hash {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512, Self::Ripemd160];

    /// The hash of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.name() == name)
    }

    /// The name in headers and options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Ripemd160 => "ripemd160",
        }
    }

    /// Bytes of a digest.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha1 | Self::Ripemd160 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Whether a digest has no bytes, which none has.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Fills `out` with the start of the digest of the parts.
    pub(crate) fn digest(self, parts: &[&[u8]], out: &mut [u8]) {
        each_hash!(self, D => {
            let mut hasher = D::new();
            parts.iter().for_each(|part| hasher.update(part));
            let digest = hasher.finalize();
            let len = out.len().min(digest.len());
            out[..len].copy_from_slice(&digest[..len]);
        });
    }

    /// Fills `out` with a key made of a passphrase (PBKDF2).
    pub(crate) fn derive(self, secret: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) {
        each_hash!(self, D => pbkdf2_hmac::<D>(secret, salt, iterations, out));
    }
}
