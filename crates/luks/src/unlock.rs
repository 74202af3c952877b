//! From a passphrase to the master key.

use std::sync::Arc;

use holstein_crypto::{Secret, SectorCipher};
use subtle::ConstantTimeEq;

use crate::derive::Budget;
use crate::key_area::KeyArea;
use crate::key_material::Kind;
use crate::{CipherSpec, Header, Limits, LuksError};

/// The key of a volume's payload.
#[derive(Clone, Debug)]
pub struct MasterKey {
    pub(crate) key: Secret,
    pub(crate) spec: CipherSpec,
}

impl MasterKey {
    /// The cipher of the payload. Its sectors are numbered by their places.
    ///
    /// # Errors
    /// [`LuksError::KeyLength`], which a key that was unlocked does not have.
    pub fn cipher(&self) -> Result<Arc<dyn SectorCipher>, LuksError> {
        Ok(Arc::from(self.spec.cipher(self.key.bytes())?))
    }
}

impl Header {
    /// Finds the master key: the active slots are tried one after the other.
    ///
    /// # Errors
    /// [`LuksError::Passphrase`]; [`LuksError::TooMuchWork`] where a slot asks for more than is allowed and
    /// none before it opens; ciphers and hashes that are not known; I/O.
    pub fn unlock(
        &self,
        area: &dyn KeyArea,
        passphrase: &Secret,
        limits: Limits,
    ) -> Result<MasterKey, LuksError> {
        let mut budget = Budget::new(limits);
        for index in 0..self.slots.len() {
            if let Some(key) = self.try_slot(index, area, passphrase, &mut budget)? {
                return Ok(key);
            }
        }
        Err(LuksError::Passphrase)
    }

    /// The master key, if the slot is active and opens to the passphrase.
    pub(crate) fn try_slot(
        &self,
        index: usize,
        area: &dyn KeyArea,
        passphrase: &Secret,
        budget: &mut Budget,
    ) -> Result<Option<MasterKey>, LuksError> {
        let slot = &self.slots[index];
        if !slot.active {
            return Ok(None);
        }
        let kind = Kind::of(self)?;
        let key = kind.open(slot, area, passphrase, budget)?;
        let mut digest = [0; 20];
        let (salt, iterations) = (&self.digest_salt, self.digest_iterations);
        budget.derive(kind.hash, key.bytes(), salt, iterations, &mut digest)?;
        let same = bool::from(digest.ct_eq(&self.digest));
        Ok(same.then_some(MasterKey { key, spec: kind.cipher }))
    }
}
