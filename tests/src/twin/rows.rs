//! The list of kinds of images.

use holstein::Preallocation;
use holstein::format::Version;
use holstein::luks::{CipherMode, CipherSpec, Hash, Vector};

use super::Lower;
use super::row::{BackingFormat, BackingRow, BackingSize, DataRow, Encryption, Row};

impl Row {
    const fn new(name: &'static str, version: Version, cluster: u64, refcount_bits: u32) -> Self {
        Self {
            name,
            version,
            cluster,
            refcount_bits,
            lazy: false,
            extended: false,
            zstd: false,
            backing: None,
            data: None,
            encryption: None,
            preallocation: Preallocation::Off,
            no_unref: false,
            bitmaps: false,
            small_cache: false,
        }
    }

    const fn v2(name: &'static str, cluster: u64) -> Self {
        Self::new(name, Version::V2, cluster, 16)
    }

    const fn v3(name: &'static str, cluster: u64, refcount_bits: u32) -> Self {
        Self::new(name, Version::V3, cluster, refcount_bits)
    }

    const fn lazy(self) -> Self {
        Self { lazy: true, ..self }
    }

    const fn extended(self) -> Self {
        Self { extended: true, ..self }
    }

    const fn zstd(self) -> Self {
        Self { zstd: true, ..self }
    }

    const fn over(self, format: BackingFormat, size: BackingSize) -> Self {
        Self { backing: Some(BackingRow { format, size, file: Lower::First }), ..self }
    }

    const fn preallocated(self, preallocation: Preallocation) -> Self {
        Self { preallocation, ..self }
    }

    const fn no_unref(self) -> Self {
        Self { no_unref: true, ..self }
    }

    const fn beside(self, data: DataRow) -> Self {
        Self { data: Some(data), ..self }
    }

    const fn aes(self) -> Self {
        Self { encryption: Some(Encryption::Aes), ..self }
    }

    const fn luks(self, key: usize, mode: CipherMode, vector: Vector) -> Self {
        Self { encryption: Some(Encryption::Luks(CipherSpec { key, mode, vector })), ..self }
    }

    /// With the cipher that is taken if nothing is said.
    const fn xts(self) -> Self {
        self.luks(32, CipherMode::Xts, Vector::Plain64)
    }

    const fn bitmaps(self) -> Self {
        Self { bitmaps: true, ..self }
    }

    const fn small_cache(self) -> Self {
        Self { small_cache: true, ..self }
    }

    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        use BackingFormat::{Qcow2, Raw};
        use BackingSize::{Equal, Longer, Shorter};
        use DataRow::{Mapped, Raw as Plain};
        const K: u64 = 1 << 10;
        const ESSIV: Vector = Vector::Essiv(Hash::Sha256);
        vec![
            Self::v2("v2-512", 512),
            Self::v2("v2-64k", 64 * K),
            Self::v2("v2-4k-qcow2", 4 * K).over(Qcow2, Equal),
            Self::v2("v2-64k-raw-shorter", 64 * K).over(Raw, Shorter),
            Self::v2("v2-1k-metadata", K).preallocated(Preallocation::Metadata),
            Self::v3("v3-512-1", 512, 1),
            Self::v3("v3-1k-2", K, 2),
            Self::v3("v3-2k-4", 2 * K, 4),
            Self::v3("v3-4k-8", 4 * K, 8),
            Self::v3("v3-512-16", 512, 16),
            Self::v3("v3-8k-32", 8 * K, 32),
            Self::v3("v3-512-64", 512, 64),
            Self::v3("v3-64k-16", 64 * K, 16),
            Self::v3("v3-2m-16", 2048 * K, 16),
            Self::v3("v3-2m-1", 2048 * K, 1),
            Self::v3("v3-512-lazy", 512, 16).lazy(),
            Self::v3("v3-64k-lazy", 64 * K, 16).lazy(),
            Self::v3("v3-4k-qcow2", 4 * K, 16).over(Qcow2, Equal),
            Self::v3("v3-512-qcow2-longer", 512, 16).over(Qcow2, Longer),
            Self::v3("v3-64k-raw", 64 * K, 16).over(Raw, Equal),
            Self::v3("v3-64k-qcow2-shorter", 64 * K, 8).over(Qcow2, Shorter),
            Self::v3("v3-1k-lazy-raw-longer", K, 4).lazy().over(Raw, Longer),
            Self::v3("v3-4k-metadata", 4 * K, 16).preallocated(Preallocation::Metadata),
            Self::v3("v3-64k-falloc", 64 * K, 16).preallocated(Preallocation::Falloc),
            Self::v3("v3-512-full", 512, 16).preallocated(Preallocation::Full),
            Self::v3("v3-16k-no-unref", 16 * K, 16).no_unref(),
            Self::v3("v3-512-no-unref-qcow2", 512, 16).no_unref().over(Qcow2, Equal),
            Self::v3("v3-16k-extended", 16 * K, 16).extended(),
            Self::v3("v3-64k-extended", 64 * K, 16).extended(),
            Self::v3("v3-2m-extended", 2048 * K, 16).extended(),
            Self::v3("v3-16k-extended-qcow2", 16 * K, 1).extended().over(Qcow2, Equal),
            Self::v3("v3-32k-extended-raw-shorter", 32 * K, 16).extended().over(Raw, Shorter),
            Self::v3("v3-16k-extended-lazy-zstd", 16 * K, 8).extended().lazy().zstd(),
            Self::v3("v3-16k-extended-no-unref", 16 * K, 16).extended().no_unref(),
            Self::v3("v3-64k-extended-metadata", 64 * K, 16)
                .extended()
                .preallocated(Preallocation::Metadata),
            Self::v3("v3-512-zstd", 512, 16).zstd(),
            Self::v3("v3-64k-zstd-qcow2", 64 * K, 16).zstd().over(Qcow2, Longer),
            Self::v3("v3-1k-small-cache", K, 16).small_cache(),
            Self::v3("v3-64k-small-cache-raw", 64 * K, 16).small_cache().over(Raw, Shorter),
            Self::v3("v3-512-data", 512, 16).beside(Mapped),
            Self::v3("v3-4k-data-8", 4 * K, 8).beside(Mapped),
            Self::v3("v3-64k-data", 64 * K, 16).beside(Mapped),
            Self::v3("v3-2m-data-1", 2048 * K, 1).beside(Mapped),
            Self::v3("v3-4k-data-lazy-qcow2", 4 * K, 16).beside(Mapped).lazy().over(Qcow2, Longer),
            Self::v3("v3-64k-data-raw-shorter", 64 * K, 16).beside(Mapped).over(Raw, Shorter),
            Self::v3("v3-4k-data-metadata", 4 * K, 16)
                .beside(Mapped)
                .preallocated(Preallocation::Metadata),
            Self::v3("v3-64k-data-full", 64 * K, 16)
                .beside(Mapped)
                .preallocated(Preallocation::Full),
            Self::v3("v3-16k-data-extended", 16 * K, 16).beside(Mapped).extended(),
            Self::v3("v3-16k-data-no-unref", 16 * K, 16).beside(Mapped).no_unref(),
            Self::v3("v3-512-plain", 512, 16).beside(Plain),
            Self::v3("v3-4k-plain-lazy", 4 * K, 64).beside(Plain).lazy(),
            Self::v3("v3-64k-plain", 64 * K, 16).beside(Plain),
            Self::v3("v3-1k-plain-falloc", K, 16).beside(Plain).preallocated(Preallocation::Falloc),
            Self::v3("v3-16k-plain-extended", 16 * K, 16).beside(Plain).extended(),
            Self::v2("v2-4k-aes", 4 * K).aes(),
            Self::v3("v3-64k-aes", 64 * K, 16).aes(),
            Self::v3("v3-512-aes-qcow2-longer", 512, 16).aes().over(Qcow2, Longer),
            Self::v3("v3-16k-aes-extended", 16 * K, 16).aes().extended(),
            Self::v2("v2-4k-luks", 4 * K).xts(),
            Self::v3("v3-64k-luks", 64 * K, 16).xts(),
            Self::v3("v3-4k-luks-128", 4 * K, 16).luks(16, CipherMode::Xts, Vector::Plain64),
            Self::v3("v3-64k-luks-128-cbc-essiv", 64 * K, 16).luks(16, CipherMode::Cbc, ESSIV),
            Self::v3("v3-8k-luks-cbc", 8 * K, 64).luks(32, CipherMode::Cbc, Vector::Plain64),
            Self::v3("v3-512-luks-essiv", 512, 16).luks(32, CipherMode::Xts, ESSIV),
            Self::v3("v3-16k-luks-extended", 16 * K, 16).xts().extended(),
            Self::v3("v3-32k-luks-extended-raw", 32 * K, 16).xts().extended().over(Raw, Shorter),
            Self::v3("v3-64k-luks-qcow2-longer", 64 * K, 8).xts().over(Qcow2, Longer),
            Self::v3("v3-4k-luks-lazy-qcow2", 4 * K, 16).xts().lazy().over(Qcow2, Equal),
            Self::v3("v3-16k-luks-no-unref-zstd", 16 * K, 16).xts().no_unref().zstd(),
            Self::v3("v3-4k-luks-data", 4 * K, 16).xts().beside(Mapped),
            Self::v3("v3-512-bitmaps", 512, 16).bitmaps(),
            Self::v3("v3-4k-bitmaps-8", 4 * K, 8).bitmaps(),
            Self::v3("v3-64k-bitmaps-lazy", 64 * K, 16).bitmaps().lazy(),
            Self::v3("v3-2m-bitmaps", 2048 * K, 16).bitmaps(),
            Self::v3("v3-16k-bitmaps-extended", 16 * K, 16).bitmaps().extended(),
            Self::v3("v3-4k-bitmaps-qcow2", 4 * K, 16).bitmaps().over(Qcow2, Longer),
            Self::v3("v3-64k-bitmaps-data", 64 * K, 16).bitmaps().beside(Mapped),
            Self::v3("v3-4k-bitmaps-luks", 4 * K, 16).bitmaps().xts(),
            Self::v3("v3-2m-luks-small-cache", 2048 * K, 1).xts().small_cache(),
        ]
    }

    /// The one with this name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn by_name(name: &str) -> Result<Self, String> {
        let all = Self::all();
        all.iter().find(|row| row.name == name).copied().ok_or_else(|| {
            let names = all.iter().map(|row| row.name).collect::<Vec<_>>();
            format!("{name:?} is no configuration: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own() {
        let all = Row::all();
        assert!(all.len() >= 79);
        for row in &all {
            assert_eq!(Row::by_name(row.name), Ok(*row));
        }
        assert!(Row::by_name("v4").is_err());
    }
}
