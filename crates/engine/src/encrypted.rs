//! Payload of encrypted disks.
//!
//! Whole sectors are encrypted, so what a request leaves of a sector is read, decrypted and written
//! again with it. The sectors are the writer's alone meanwhile.

use std::io::IoSlice;

use holstein_crypto::{Numbering, SECTOR, SectorCipher};
use holstein_mapping::{Busy, CowPart, WritePlan};
use holstein_units::{GuestOffset, GuestRange, HostOffset, HostRange};

use crate::EngineError;
use crate::disk::Disk;
use crate::read::usize_of;

/// Encrypted writes go in steps that end at multiples of this, which bounds the memory they take. It
/// is a multiple of every cluster size.
const STEP: u64 = 2 << 20;
/// Bytes of a sector.
const SECTOR_BYTES: u64 = SECTOR as u64;

/// The number by which the sector at these places is encrypted.
fn number(cipher: &dyn SectorCipher, guest: GuestOffset, host: HostOffset) -> u64 {
    match cipher.numbering() {
        Numbering::Guest => guest.get() / SECTOR_BYTES,
        Numbering::Host => host.get() / SECTOR_BYTES,
    }
}

impl Disk {
    /// The part of a range that is written in one go.
    pub(crate) fn step(&self, range: GuestRange) -> GuestRange {
        match self.config.cipher {
            None => range,
            Some(_) => range.split_at(STEP - range.start.get() % STEP).0,
        }
    }

    /// Reads and decrypts; the range is contiguous in the file.
    pub(crate) fn read_encrypted(
        &self,
        cipher: &dyn SectorCipher,
        host: HostOffset,
        guest: GuestOffset,
        into: &mut [u8],
    ) -> Result<(), EngineError> {
        let mut done = 0;
        while done < into.len() {
            let left = &mut into[done..];
            let (host, guest) = (host + done as u64, guest + done as u64);
            let skip = usize_of(guest.get() % SECTOR_BYTES);
            if skip == 0 && left.len() >= SECTOR {
                let whole = left.len() / SECTOR * SECTOR;
                self.file.read_payload(host, &mut left[..whole])?;
                cipher.decrypt(number(cipher, guest, host), &mut left[..whole]);
                done += whole;
            } else {
                let mut sector = [0; SECTOR];
                let start = HostOffset::new(host.get() - skip as u64);
                self.file.read_payload(start, &mut sector)?;
                cipher.decrypt(number(cipher, guest, host), &mut sector);
                let len = (SECTOR - skip).min(left.len());
                left[..len].copy_from_slice(&sector[skip..skip + len]);
                done += len;
            }
        }
        Ok(())
    }

    /// Encrypts and writes in place, or says who is at work on one of the sectors.
    pub(crate) fn write_encrypted_in_place(
        &self,
        cipher: &dyn SectorCipher,
        host: HostOffset,
        guest: GuestOffset,
        data: &[IoSlice<'_>],
    ) -> Result<Result<(), Busy>, EngineError> {
        let len: usize = data.iter().map(|part| part.len()).sum();
        let skip = guest.get() % SECTOR_BYTES;
        let start = HostOffset::new(host.get() - skip);
        let whole = (skip + len as u64).next_multiple_of(SECTOR_BYTES);
        let first = start.get() / SECTOR_BYTES;
        let _sectors = match self.sectors.take(first, first + whole / SECTOR_BYTES) {
            Ok(ticket) => ticket,
            Err(busy) => return Ok(Err(busy)),
        };
        let guest = GuestOffset::new(guest.get() - skip);
        let mut bytes = vec![0; usize_of(whole)];
        let (head, end) = (usize_of(skip), usize_of(skip) + len);
        if head > 0 {
            self.read_encrypted(cipher, start, guest, &mut bytes[..head])?;
        }
        if end < bytes.len() {
            let rest = end as u64;
            self.read_encrypted(cipher, start + rest, guest + rest, &mut bytes[end..])?;
        }
        fill(&mut bytes[head..end], data);
        cipher.encrypt(number(cipher, guest, start), &mut bytes);
        self.clear_data(HostRange { start, len: whole })?.write(&bytes)?;
        Ok(Ok(()))
    }

    /// Writes a cluster that reads as zeros, which nobody reads yet.
    pub(crate) fn write_encrypted_zeros(
        &self,
        cipher: &dyn SectorCipher,
        host: HostOffset,
        guest: GuestOffset,
    ) -> Result<(), EngineError> {
        let range = HostRange { start: host, len: self.geometry.cluster_size() };
        let mut bytes = vec![0; usize_of(range.len)];
        cipher.encrypt(number(cipher, guest, host), &mut bytes);
        self.clear_data(range)?.write(&bytes)?;
        Ok(())
    }

    /// Encrypts and writes a plan's payload with all that is around it: what a new cluster has besides
    /// the data is not zeros before it was encrypted, whatever the file reads as.
    pub(crate) fn write_encrypted_plan(
        &self,
        cipher: &dyn SectorCipher,
        plan: &WritePlan,
        data: &[IoSlice<'_>],
    ) -> Result<Result<(), Busy>, EngineError> {
        let old = |part: Option<CowPart>| part.map(|part| self.read_old(&part)).transpose();
        let head = old(plan.head())?.unwrap_or_default();
        let tail = old(self.tail(plan))?.unwrap_or_default();
        let mut parts = vec![IoSlice::new(&head)];
        parts.extend_from_slice(data);
        parts.push(IoSlice::new(&tail));
        let start = HostOffset::new(plan.host().get() - head.len() as u64);
        let guest = GuestOffset::new(plan.guest().start.get() - head.len() as u64);
        // Subclusters that have data already are written in place, others beside them.
        self.write_encrypted_in_place(cipher, start, guest, &parts)
    }
}

/// Copies the parts one after the other.
fn fill(mut into: &mut [u8], parts: &[IoSlice<'_>]) {
    for part in parts {
        let (now, rest) = into.split_at_mut(part.len());
        now.copy_from_slice(part);
        into = rest;
    }
}
