//! Bytes that begin and end anywhere, in sectors that are encrypted whole.

use std::io::IoSlice;

use crate::sector_cipher::{SECTOR, SectorCipher};

/// Bytes that are encrypted or decrypted while they are in the processor's cache.
const STEP: usize = 64 * SECTOR;

/// Reads bytes of encrypted sectors; whole ones are decrypted where they are wanted.
///
/// * `first`: the number of the sector in which the bytes begin.
/// * `skip`: bytes of it before them.
/// * `read`: fills a buffer from so many bytes after the start of sector `first` on.
///
/// # Errors
/// Those of `read`.
pub fn read_sectors<E>(
    cipher: &dyn SectorCipher,
    first: u64,
    skip: usize,
    into: &mut [u8],
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut at, mut left) = (skip as u64, into);
    while !left.is_empty() {
        let number = first + at / SECTOR as u64;
        let skip = usize::try_from(at % SECTOR as u64).expect("less than a sector");
        let len = if skip == 0 && left.len() >= SECTOR {
            let whole = left.len() / SECTOR * SECTOR;
            read(at, &mut left[..whole])?;
            cipher.decrypt(number, &mut left[..whole]);
            whole
        } else {
            let mut sector = [0; SECTOR];
            read(at - skip as u64, &mut sector)?;
            cipher.decrypt(number, &mut sector);
            let len = (SECTOR - skip).min(left.len());
            left[..len].copy_from_slice(&sector[skip..skip + len]);
            len
        };
        at += len as u64;
        left = &mut left[len..];
    }
    Ok(())
}

/// Copies the parts, one after the other, into whole sectors and encrypts these.
///
/// * `first`: the number of the first sector of `into`.
/// * `parts`: as many bytes as `into` has.
pub fn encrypt_parts(
    cipher: &dyn SectorCipher,
    first: u64,
    parts: &[IoSlice<'_>],
    into: &mut [u8],
) {
    let mut parts = parts.iter().map(|part| &**part);
    let mut part = parts.next().unwrap_or_default();
    let sectors = (first..).step_by(STEP / SECTOR);
    for (number, step) in sectors.zip(into.chunks_mut(STEP)) {
        let mut free = &mut *step;
        while !free.is_empty() {
            let len = part.len().min(free.len());
            let (now, rest) = free.split_at_mut(len);
            now.copy_from_slice(&part[..len]);
            (free, part) = (rest, &part[len..]);
            if part.is_empty() {
                let Some(next) = parts.next() else { break };
                part = next;
            }
        }
        cipher.encrypt(number, step);
    }
}
