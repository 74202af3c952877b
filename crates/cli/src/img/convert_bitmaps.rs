//! Dirty bitmaps that a copy takes along.

use holstein::{BitmapError, DirtyBitmap};
use holstein_format::Escaped;

use super::Failure;
use crate::disk::{Disk, DiskError, bitmap_error};
use crate::out;

/// The bitmaps of a source, whatever part of it is copied.
pub(super) struct SourceBitmaps {
    /// The last one first, which is the order in which the reference meets them.
    found: Vec<Found>,
}

struct Found {
    name: Vec<u8>,
    recording: bool,
    /// Nothing where they must not be used.
    bits: Option<DirtyBitmap>,
}

impl SourceBitmaps {
    /// Reads the bitmaps of a source.
    ///
    /// # Errors
    /// It cannot have any; they cannot be read.
    pub(super) fn of(disk: &dyn Disk) -> Result<Self, Failure> {
        let bitmaps = disk
            .bitmaps()
            .filter(|bitmaps| bitmaps.can_be_stored())
            .ok_or_else(|| Failure::message("Source lacks bitmap support"))?;
        let mut found = Vec::new();
        for info in bitmaps.list()?.into_iter().rev() {
            // Some turn out to be inconsistent only when their bits are read.
            let bits = match info.inconsistent {
                true => None,
                false => bitmaps.get_consistent(&info.name)?,
            };
            found.push(Found { name: info.name, recording: info.recording, bits });
        }
        Ok(Self { found })
    }

    /// Refuses those that cannot be copied.
    ///
    /// # Errors
    /// There is one.
    pub(super) fn refuse_broken(&self) -> Result<(), Failure> {
        match self.found.iter().find(|bitmap| bitmap.bits.is_none()) {
            None => Ok(()),
            Some(broken) => Err(DiskError::invalid(format!(
                "Cannot copy inconsistent bitmap '{}'",
                Escaped(&broken.name)
            ))
            .with_hint("Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it")
            .into()),
        }
    }

    /// Adds them to a target, in their order; says which are left out.
    ///
    /// # Errors
    /// One cannot be added, for its name or its size. Those after it were added.
    pub(super) fn copy_to(&self, target: &dyn Disk) -> Result<(), Failure> {
        let Some(bitmaps) = target.bitmaps() else { return Ok(()) };
        let there = bitmaps.list()?;
        let mut copies = Vec::new();
        let mut failure = None;
        for bitmap in &self.found {
            let name = Escaped(&bitmap.name);
            let Some(bits) = &bitmap.bits else {
                out::error_line(&format!("warning: Skipping inconsistent bitmap '{name}'"));
                continue;
            };
            if there.iter().any(|other| other.name == bitmap.name) {
                failure = Some(Failure::message(format!(
                    "Failed to create bitmap {name}: Bitmap already exists: {name}"
                )));
                break;
            }
            if bits.size() != target.len() {
                let sizes =
                    BitmapError::Sizes { destination: target.len(), source_size: bits.size() };
                failure = Some(Failure::Error(
                    format!("Failed to populate bitmap {name}: "),
                    bitmap_error(&sizes),
                    1,
                ));
                break;
            }
            copies.push((bitmap, bits));
        }
        for (bitmap, bits) in copies.into_iter().rev() {
            let name = &bitmap.name;
            let failed = |what| format!("Failed to {what} bitmap {}: ", Escaped(name));
            bitmaps
                .add(name, Some(bits.granularity()))
                .map_err(|error| Failure::Error(failed("create"), error, 1))?;
            bitmaps
                .merge(name, bits)
                .and_then(|()| bitmaps.record(name, bitmap.recording))
                .map_err(|error| Failure::Error(failed("populate"), error, 1))?;
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Refuses a target that cannot have bitmaps.
pub(super) fn refuse_target(target: &dyn Disk) -> Result<(), Failure> {
    match target.bitmaps() {
        Some(bitmaps) if bitmaps.can_be_stored() => Ok(()),
        _ => Err(no_bitmaps(target.info()?.format)),
    }
}

/// The refusal of a format without bitmaps.
pub(super) fn no_bitmaps(format: &str) -> Failure {
    Failure::message(format!("Format driver '{format}' does not support bitmaps"))
}
