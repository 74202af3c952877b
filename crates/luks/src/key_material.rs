//! What a key slot holds: the master key, spread and encrypted.

use holstein_crypto::Secret;
use zeroize::Zeroizing;

use crate::anti_forensic::{merge, split, spread_bytes};
use crate::derive::Budget;
use crate::header::{SECTOR, material_sectors};
use crate::key_area::{self, KeyArea};
use crate::{CipherSpec, Hash, Header, KeySlot, LuksError};

/// What key material is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) cipher: CipherSpec,
    pub(crate) hash: Hash,
}

impl Kind {
    /// That of a header.
    pub(crate) fn of(header: &Header) -> Result<Self, LuksError> {
        Ok(Self { cipher: header.cipher()?, hash: header.hash()? })
    }

    /// A buffer for the material of one slot: whole sectors.
    pub(crate) fn buffer(self) -> Zeroizing<Vec<u8>> {
        let key_bytes = u32::try_from(self.cipher.key_bytes()).expect("a key has a few bytes");
        let bytes = usize::try_from(material_sectors(key_bytes) * SECTOR);
        Zeroizing::new(vec![0; bytes.expect("a quarter of a megabyte at most")])
    }

    /// The material of a slot that opens to `passphrase`.
    pub(crate) fn seal(
        self,
        slot: &KeySlot,
        key: &[u8],
        passphrase: &Secret,
    ) -> Result<Zeroizing<Vec<u8>>, LuksError> {
        let mut slot_key = Zeroizing::new(vec![0; key.len()]);
        self.hash.derive(passphrase.bytes(), &slot.salt, slot.iterations, &mut slot_key);
        let mut material = self.buffer();
        split(self.hash, key, &mut material[..spread_bytes(key.len())])?;
        self.cipher.cipher(&slot_key)?.encrypt(0, &mut material);
        Ok(material)
    }

    /// What a slot holds under `passphrase`: the master key, or anything.
    pub(crate) fn open(
        self,
        slot: &KeySlot,
        area: &dyn KeyArea,
        passphrase: &Secret,
        budget: &mut Budget,
    ) -> Result<Secret, LuksError> {
        let len = self.cipher.key_bytes();
        let mut slot_key = Zeroizing::new(vec![0; len]);
        let (salt, iterations) = (&slot.salt, slot.iterations);
        budget.derive(self.hash, passphrase.bytes(), salt, iterations, &mut slot_key)?;
        let mut material = self.buffer();
        key_area::read(area, u64::from(slot.start) * SECTOR, &mut material)?;
        self.cipher.cipher(&slot_key)?.decrypt(0, &mut material);
        let mut key = Secret::new(vec![0; len]);
        merge(self.hash, &material[..spread_bytes(len)], key.bytes_mut());
        Ok(key)
    }
}
