//! Adding and erasing passphrases.
//!
//! ```text
//!   add:     material -> barrier -> what the slot has behind its first sector -> barrier -> the rest -> barrier
//!   erase:   material overwritten -> barrier -> the slot -> barrier
//!   replace: add to a spare slot | erase | add | erase the spare one
//! ```
//!
//! So a slot is listed as active only while its material is whole, or about to go: after a cut in the
//! middle of erasing, a slot may be left that opens to nothing.

use std::time::Duration;

use holstein_crypto::Secret;

use crate::derive::{Budget, iterations_for};
use crate::header::SECTOR;
use crate::key_area::{self, KeyArea};
use crate::key_material::Kind;
use crate::{Header, Limits, LuksError, MasterKey, SLOTS, random};

/// A change of the passphrases that open a volume.
#[derive(Clone, Debug)]
pub enum KeyChange {
    /// A passphrase is added.
    Add {
        /// The new passphrase.
        passphrase: Secret,
        /// The slot to put it in; the first that is free where none is named.
        slot: Option<usize>,
        /// How long deriving the key is to take.
        iter_time: Duration,
    },
    /// A slot is erased, if it opens to the passphrase where one is given.
    EraseSlot {
        /// Index of the slot.
        slot: usize,
        /// What it has to open to.
        passphrase: Option<Secret>,
    },
    /// All slots that open to the passphrase are erased.
    ErasePassphrase(Secret),
}

impl KeyChange {
    /// Makes the change, durably.
    ///
    /// * `current`: the passphrase that opens the volume; only adding needs it.
    /// * `force`: a slot in use may be written over, and the last one erased.
    ///
    /// Nothing is written where the change is refused. After a cut in the middle every other slot is as it
    /// was, and so is the last one unless it was to be erased.
    ///
    /// # Errors
    /// Which rule the change breaks; [`LuksError::Passphrase`] if `current` is wrong; I/O.
    pub fn apply(
        &self,
        area: &dyn KeyArea,
        current: &Secret,
        force: bool,
        limits: Limits,
    ) -> Result<(), LuksError> {
        self.apply_by(area, |header| header.unlock(area, current, limits), force, limits)
    }

    /// As [`Self::apply`], for who has unlocked the volume before.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub fn apply_with_key(
        &self,
        area: &dyn KeyArea,
        key: &MasterKey,
        force: bool,
        limits: Limits,
    ) -> Result<(), LuksError> {
        self.apply_by(area, |_| Ok(key.clone()), force, limits)
    }

    fn apply_by(
        &self,
        area: &dyn KeyArea,
        unlock: impl FnOnce(&Header) -> Result<MasterKey, LuksError>,
        force: bool,
        limits: Limits,
    ) -> Result<(), LuksError> {
        let header = Header::read(area)?;
        let mut slots = Slots { kind: Kind::of(&header)?, header, area };
        match self {
            Self::Add { passphrase, slot, iter_time } => {
                let slot = slots.place(*slot, force)?;
                let key = unlock(&slots.header)?;
                slots.put(slot, &key, passphrase, *iter_time)
            }
            Self::EraseSlot { slot, passphrase } => {
                let slot = *slot;
                if !slots.slot(slot)?.active && !force {
                    return Err(LuksError::SlotInactive { slot });
                }
                let budget = &mut Budget::new(limits);
                if let Some(passphrase) = passphrase
                    && slots.header.try_slot(slot, area, passphrase, budget)?.is_none()
                {
                    return Err(LuksError::SlotPassphrase { slot });
                }
                if slots.active() == 1 && slots.slot(slot)?.active && !force {
                    return Err(LuksError::LastSlot { slot });
                }
                slots.erase(slot)
            }
            Self::ErasePassphrase(passphrase) => {
                let mut budget = Budget::new(limits);
                let mut found = Vec::new();
                for slot in 0..SLOTS {
                    if slots.header.try_slot(slot, area, passphrase, &mut budget)?.is_some() {
                        found.push(slot);
                    }
                }
                match found.len() {
                    0 => return Err(LuksError::NoMatch),
                    all if all == slots.active() && !force => return Err(LuksError::AllSlots),
                    _ => {}
                }
                found.into_iter().try_for_each(|slot| slots.erase(slot))
            }
        }
    }
}

/// The slots of an area that is being changed.
struct Slots<'a> {
    header: Header,
    kind: Kind,
    area: &'a dyn KeyArea,
}

impl Slots<'_> {
    fn slot(&self, slot: usize) -> Result<&crate::KeySlot, LuksError> {
        self.header.slots.get(slot).ok_or(LuksError::NoSlot { slot })
    }

    fn active(&self) -> usize {
        self.header.slots.iter().filter(|slot| slot.active).count()
    }

    fn free(&self) -> Option<usize> {
        self.header.slots.iter().position(|slot| !slot.active)
    }

    /// Where a new passphrase goes.
    fn place(&self, asked: Option<usize>, force: bool) -> Result<usize, LuksError> {
        let Some(slot) = asked else { return self.free().ok_or(LuksError::NoFreeSlot) };
        match self.slot(slot)?.active {
            true if !force => Err(LuksError::SlotActive { slot }),
            _ => Ok(slot),
        }
    }

    /// Puts a passphrase into a slot, which may be in use.
    fn put(
        &mut self,
        slot: usize,
        key: &MasterKey,
        passphrase: &Secret,
        iter_time: Duration,
    ) -> Result<(), LuksError> {
        let len = self.kind.cipher.key_bytes();
        let iterations = iterations_for(self.kind.hash, len, iter_time)?;
        if !self.header.slots[slot].active {
            return self.fill(slot, key, passphrase, iterations);
        }
        // Where no other slot opens the volume, one does meanwhile.
        let spare = self.free().filter(|_| self.active() == 1);
        if let Some(spare) = spare {
            self.fill(spare, key, passphrase, iterations)?;
        }
        self.erase(slot)?;
        self.fill(slot, key, passphrase, iterations)?;
        spare.map_or(Ok(()), |spare| self.erase(spare))
    }

    /// Puts a passphrase into a slot that is not in use.
    fn fill(
        &mut self,
        index: usize,
        key: &MasterKey,
        passphrase: &Secret,
        iterations: u32,
    ) -> Result<(), LuksError> {
        let mut slot = self.header.slots[index];
        slot.active = true;
        slot.iterations = iterations;
        slot.salt = random::bytes()?;
        let material = self.kind.seal(&slot, key.key.bytes(), passphrase)?;
        key_area::write(self.area, self.header.slot_offset(&slot), &material)?;
        self.area.barrier()?;
        self.header.slots[index] = slot;
        let (at, bytes) = self.header.encode_slot(index);
        // A slot that lies in two sectors becomes active by a write to the first of them.
        let first = usize::try_from(SECTOR - at % SECTOR).unwrap_or(usize::MAX).min(bytes.len());
        if first < bytes.len() {
            key_area::write(self.area, at + first as u64, &bytes[first..])?;
            self.area.barrier()?;
        }
        key_area::write(self.area, at, &bytes[..first])?;
        Ok(self.area.barrier()?)
    }

    /// Empties a slot.
    fn erase(&mut self, index: usize) -> Result<(), LuksError> {
        let at = self.header.slot_offset(&self.header.slots[index]);
        let slot = &mut self.header.slots[index];
        slot.active = false;
        slot.iterations = 0;
        slot.salt = [0; 32];
        let mut noise = self.kind.buffer();
        random::fill(&mut noise)?;
        key_area::write(self.area, at, &noise)?;
        self.area.barrier()?;
        let (at, bytes) = self.header.encode_slot(index);
        key_area::write(self.area, at, &bytes)?;
        Ok(self.area.barrier()?)
    }
}
