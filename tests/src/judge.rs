//! Whether an image keeps the contract.

use std::sync::Arc;

use holstein::check::{CheckOptions, Finding, check};
use holstein::format::field_offset;
use holstein::{OpenOptions, ReadOnlyImage};
use holstein_storage::Storage;
use holstein_testkit::{DiskImage, DiskModel, Pattern, SnapshotStorage};
use holstein_units::{HostOffset, SECTOR};

use crate::Moment;
use crate::accepted::Accepted;
use crate::contents::{Reads, Stretch, for_each_stretch};

/// The number of the pattern that is written to an image that was reopened.
const REOPENED: u64 = 999_999;

/// Judges what a power cut left: C1 it opens, C2 the check finds leaks at most, C4 to C6 and C8 each
/// sector is as at the last flush or newer, C9 the size is old or new.
///
/// # Errors
/// What is wrong, as text.
pub fn judge(image: &DiskImage, moment: &Moment, accepted: &mut Accepted) -> Result<(), String> {
    let storage = Arc::new(SnapshotStorage::new(image.clone()));
    expect_no_corruption(&*storage)?;
    expect_contents_anew(&open(storage)?, moment, true, accepted)
}

/// The same for any file.
///
/// # Errors
/// Whether the image itself is wrong, rather than what its disk holds; and what is wrong, as text.
pub fn judge_file(storage: Arc<dyn Storage>, moment: &Moment) -> Result<(), (bool, String)> {
    expect_no_corruption(&*storage).map_err(|what| (true, what))?;
    let image = open(storage).map_err(|what| (true, what))?;
    expect_contents(&image, moment, true).map_err(|what| (false, what))
}

/// Judges that an image which a power cut left can be used: opened, written once and closed, it has
/// the new sector, all else as the cut may have left it, and no more leaks than it had.
///
/// # Errors
/// What is wrong, as text.
pub fn judge_reopened(image: &DiskImage, moment: &Moment) -> Result<(), String> {
    judge_file_reopened(Arc::new(SnapshotStorage::new(image.clone())), moment)
}

/// The same for any file, which is changed.
///
/// # Errors
/// What is wrong, as text.
pub fn judge_file_reopened(storage: Arc<dyn Storage>, moment: &Moment) -> Result<(), String> {
    let leaks = leaks_past_end(&*storage)?;
    let image = OpenOptions::new()
        .open_storage(Arc::clone(&storage))
        .map_err(|e| format!("open for writing after the cut: {e}"))?;
    let touched = moment.model.touched().next();
    let at = touched.unwrap_or(0) * SECTOR;
    let bytes = Pattern::new(REOPENED).bytes(at, 512);
    image.write_at(at, &bytes).map_err(|e| format!("write {at:#x} after the cut: {e}"))?;
    image.close().map_err(|e| format!("close after the cut: {e}"))?;
    let after = leaks_past_end(&*storage).map_err(|e| format!("after a write: {e}"))?;
    if after > leaks {
        return Err(format!("{leaks} leaks after the cut, {after} after a write and a close"));
    }
    let mut moment = moment.clone();
    // What was written is certain now; the rest of the disk is as the cut left it.
    moment.model.write(at, &bytes);
    let image = open(storage)?;
    let mut found = vec![0; 512];
    image.read_at(at, &mut found).map_err(|e| format!("read {at:#x} after a write: {e}"))?;
    moment.model.check(at, &found).map_err(|e| format!("written after the cut: {e}"))?;
    expect_contents(&image, &moment, true).map_err(|e| format!("after a write: {e}"))
}

/// The leaks, with those past the end of the file, which the check leaves out: what the cut took of
/// the file's growth it may have left of the counts.
fn leaks_past_end(storage: &dyn Storage) -> Result<u64, String> {
    let len = storage.len().map_err(|e| format!("the length: {e}"))?;
    let longer = |len| storage.set_len(len).map_err(|e| format!("set the length: {e}"));
    let bits = number(storage, 20, 4)?;
    longer(len + (64 << bits.min(21)))?;
    let leaks = expect_no_corruption(storage);
    longer(len)?;
    leaks
}

/// Judges that the snapshot of an image still reads as `model` (C7).
///
/// # Errors
/// What is wrong, as text.
pub fn judge_snapshot(image: &DiskImage, model: &DiskModel) -> Result<(), String> {
    let storage = SnapshotStorage::new(image.clone());
    let table = number(&storage, field_offset::SNAPSHOTS, 12)?;
    let (count, table) = (table >> 64, table & u128::from(u64::MAX));
    if count != 1 {
        return Err(format!("the header lists {count} snapshots, not 1"));
    }
    let table = u64::try_from(table).expect("64 bits");
    let l1 = number(&storage, table, 12)?.to_be_bytes();
    // The disk becomes the snapshot's: its L1 table, and its size, which is the start's.
    let [.., a, b, c, d, e, f, g, h, i, j, k, l] = l1;
    let fields = [i, j, k, l, a, b, c, d, e, f, g, h];
    let write = |at, bytes: &[u8]| {
        storage.write_at(HostOffset::new(at), bytes).map_err(|e| format!("switch to it: {e}"))
    };
    write(field_offset::L1, &fields)?;
    write(field_offset::SIZE, &model.size().to_be_bytes())?;
    let image = open(Arc::new(storage)).map_err(|e| format!("the snapshot: {e}"))?;
    expect_contents(&image, &Moment::durable(model.clone()), true)
        .map_err(|e| format!("the snapshot: {e}"))
}

/// A big-endian number of up to 16 bytes.
fn number(storage: &dyn Storage, at: u64, len: usize) -> Result<u128, String> {
    let mut bytes = vec![0; len];
    storage
        .read_at(HostOffset::new(at), &mut bytes)
        .map_err(|e| format!("read {len} bytes at {at:#x}: {e}"))?;
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
}

/// Opens an image for reading.
///
/// # Errors
/// Why it does not open, as text.
pub fn open(storage: Arc<dyn Storage>) -> Result<ReadOnlyImage, String> {
    OpenOptions::new().open_storage_read_only(storage).map_err(|e| format!("does not open: {e}"))
}

/// Runs the check; returns the leaks.
///
/// # Errors
/// The first things that are worse than leaks, as text.
pub fn expect_no_corruption(storage: &dyn Storage) -> Result<u64, String> {
    let report = check(storage, &CheckOptions::default(), &mut |_| {})
        .map_err(|e| format!("cannot be checked: {e}"))?;
    if report.corruptions == 0 && report.check_errors == 0 {
        return Ok(report.leaks);
    }
    let worse = report.findings.iter().filter(|f| !matches!(f, Finding::Leak { .. }));
    let shown = worse.take(3).map(ToString::to_string).collect::<Vec<_>>();
    Err(format!("the check finds {} corruptions: {}", report.corruptions, shown.join("; ")))
}

/// Reads the whole disk and judges size and sectors, as after a power cut or as while in use.
///
/// # Errors
/// The first sector that is wrong, as text.
pub fn expect_contents(image: &impl Reads, moment: &Moment, after_cut: bool) -> Result<(), String> {
    expect_contents_anew(image, moment, after_cut, &mut Accepted::default())
}

/// The same, where bytes that are as in another state of the same moment need no second look.
fn expect_contents_anew(
    image: &impl Reads,
    moment: &Moment,
    after_cut: bool,
    accepted: &mut Accepted,
) -> Result<(), String> {
    let Moment { model, sizes, sizes_after_cut } = moment;
    let sizes = if after_cut { sizes_after_cut } else { sizes };
    if !sizes.contains(&image.size()) {
        return Err(format!("the disk has {} bytes, not one of {sizes:?}", image.size()));
    }
    let sector = |at, found: &[u8]| {
        let right =
            if after_cut { model.check_after_cut(at, found) } else { model.check(at, found) };
        right.map_err(|mismatch| mismatch.to_string())
    };
    let mut touched = model.touched().peekable();
    for_each_stretch(image, &mut |at, stretch| match stretch {
        Stretch::Bytes(found) => {
            if accepted.holds(at, found) {
                return Ok(());
            }
            sector(at, found)?;
            accepted.put(at, found);
            Ok(())
        }
        Stretch::Zeros(len) => {
            while touched.peek().is_some_and(|n| n * SECTOR < at) {
                touched.next();
            }
            while let Some(n) = touched.peek().filter(|n| **n * SECTOR < at + len) {
                // A stretch may end inside a sector only where the disk ends.
                sector(n * SECTOR, &[0; 512])?;
                touched.next();
            }
            Ok(())
        }
    })
}
