//! Whether an image keeps the contract.

use std::collections::HashMap;
use std::sync::Arc;

use holstein::check::{CheckOptions, Corruption, Finding, check};
use holstein::format::field_offset;
use holstein::format::{IncompatibleFeatures, SnapshotRecord};
use holstein::snapshot::SnapshotTable;
use holstein::{Image, OpenOptions, ReadOnlyImage};
use holstein_storage::Storage;
use holstein_testkit::{DiskImage, DiskModel, Pattern, SnapshotStorage};
use holstein_units::{HostOffset, SECTOR};

use crate::accepted::Accepted;
use crate::contents::{Reads, Stretch, for_each_stretch};
use crate::judge_bitmaps::{judge_bitmaps, stored};
use crate::unlocked::judge_keys;
use crate::{Files, Moment, Presence, Shape};

/// COPIED in a table entry.
const COPIED: u64 = 1 << 63;
/// The offset in a table entry.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// The number of the pattern that is written to an image that was reopened.
const REOPENED: u64 = 999_999;

/// What was found right at the moment at hand: of an image, of its base, of its data file as it is, and of
/// its snapshots.
#[derive(Clone, Debug, Default)]
pub struct Found {
    own: Accepted,
    base: Accepted,
    raw: Accepted,
    snapshots: HashMap<u64, Accepted>,
}

/// Judges what a power cut left: C1 it opens, C2 the check finds leaks at most, C3 after the
/// repair that a dirty image announces, C4 to C6 and C8 each sector is as at the last flush or newer,
/// C9 the size is old or new, and so is what the header says of the image. The same of its base, where
/// it has one: C10 the two together read as the disk does. A raw data file holds what the disk does.
///
/// # Errors
/// What is wrong, as text.
pub fn judge(files: &Files, moment: &Moment, found: &mut Found) -> Result<(), String> {
    let Found { own, base, raw, .. } = found;
    judge_one(files, moment, own, raw).map_err(|(_, what)| what)?;
    match (files.base(), &moment.below) {
        (Some(files), Some(moment)) => {
            let judged = judge_one(&files, moment, base, &mut Accepted::default());
            judged.map_err(|(_, what)| format!("the base: {what}"))
        }
        _ => Ok(()),
    }
}

/// The same.
///
/// # Errors
/// Whether an image itself is wrong, rather than what its disk holds; and what is wrong, as text.
pub fn judge_files(files: &Files, moment: &Moment) -> Result<(), (bool, String)> {
    judge_one(files, moment, &mut Accepted::default(), &mut Accepted::default())?;
    match (files.base(), &moment.below) {
        (Some(files), Some(moment)) => judge_files(&files, moment)
            .map_err(|(corrupt, what)| (corrupt, format!("the base: {what}"))),
        _ => Ok(()),
    }
}

fn judge_one(
    files: &Files,
    moment: &Moment,
    accepted: &mut Accepted,
    raw: &mut Accepted,
) -> Result<(), (bool, String)> {
    let corrupt = |what| (true, what);
    let dirty = is_dirty(&files.own, moment).map_err(corrupt)?;
    if dirty {
        // The order of data and tables holds before the repair as well.
        let image = files.open_read_only().map_err(corrupt)?;
        expect_contents_anew(&image, moment, true, accepted).map_err(|what| (false, what))?;
        mend(files).map_err(corrupt)?;
    }
    expect_sound(&*files.own, moment.sharing.is_some() && !dirty).map_err(corrupt)?;
    let image = files.open_read_only().map_err(corrupt)?;
    expect_shape(&image, moment).map_err(corrupt)?;
    expect_contents_anew(&image, moment, true, accepted).map_err(|what| (false, what))?;
    judge_bitmaps(&image, moment).map_err(|what| (false, what))?;
    judge_keys(files, &image, moment).map_err(|what| (false, what))?;
    match &files.data {
        Some(data) if image.header().has_raw_data_file() && !files.config.is_encrypted() => {
            expect_raw(&**data, image.virtual_size(), moment, raw)
                .map_err(|what| (false, format!("the data file: {what}")))
        }
        _ => Ok(()),
    }
}

/// Judges that a data file reads as the disk of `size` bytes does; what it lacks is zeros.
fn expect_raw(
    data: &dyn Storage,
    size: u64,
    moment: &Moment,
    accepted: &mut Accepted,
) -> Result<(), String> {
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    while at < size {
        let (holds, run) = data.extent_at(HostOffset::new(at)).map_err(|e| e.to_string())?;
        let most = if holds || run == 0 { size - at } else { run.min(size - at) };
        let n = usize::try_from(most).map_or(buffer.len(), |n| n.min(buffer.len()));
        let part = &mut buffer[..n];
        let got = data.read_at(HostOffset::new(at), part).map_err(|e| e.to_string())?;
        part[got..].fill(0);
        accepted.judge(at, part, |at, part| {
            moment.model.check_after_cut(at, part).map_err(|mismatch| mismatch.to_string())
        })?;
        at += n as u64;
    }
    Ok(())
}

/// Whether counts may be behind, as the file says (C3). Only an image that may have lazy refcounts
/// says so.
///
/// # Errors
/// What is wrong, as text.
pub(crate) fn is_dirty(storage: &Arc<dyn Storage>, moment: &Moment) -> Result<bool, String> {
    let bits = number(&**storage, field_offset::INCOMPATIBLE, 8)?;
    let dirty = bits & u128::from(IncompatibleFeatures::DIRTY.bits()) != 0
        && number(&**storage, 4, 4)? >= 3;
    if dirty && !moment.shapes.iter().any(|shape| shape.lazy) {
        return Err("the image is marked dirty without lazy refcounts".to_owned());
    }
    Ok(dirty)
}

/// Repairs a dirty image, as opening it for writing does.
fn mend(files: &Files) -> Result<(), String> {
    let opened = files.open(&OpenOptions::new());
    opened.and_then(Image::close).map_err(|e| format!("repair of the dirty image: {e}"))
}

/// Judges what the header says of the image (C9).
fn expect_shape(image: &ReadOnlyImage, moment: &Moment) -> Result<(), String> {
    let (shape, shapes) = (Shape::read(&image.header()), &moment.shapes);
    if shapes.is_empty() || shapes.contains(&shape) {
        return Ok(());
    }
    Err(format!("the image is {shape:?}, not one of {shapes:?}"))
}

/// Judges that an image which a power cut left can be used: opened, written once and closed, it has
/// the new sector, all else as the cut may have left it, and no more leaks than it had. The files are
/// changed.
///
/// # Errors
/// What is wrong, as text.
pub fn judge_files_reopened(files: &Files, moment: &Moment) -> Result<(), String> {
    let dirty = is_dirty(&files.own, moment)?;
    if dirty {
        mend(files)?;
    }
    let storage = &*files.own;
    let sharing = moment.sharing.is_some() && !dirty;
    let leaks = leaks_past_end(storage, sharing)?;
    let mut bitmaps = stored(&files.open_read_only()?)?;
    let image = files
        .open(&OpenOptions::new())
        .map_err(|e| format!("open for writing after the cut: {e}"))?;
    let size = image.virtual_size();
    let touched = moment.model.touched().next().filter(|n| (n + 1) * SECTOR <= size);
    let at = touched.unwrap_or(0) * SECTOR;
    let bytes = Pattern::new(REOPENED).bytes(at, 512);
    for (recording, bits) in bitmaps.values_mut() {
        bits.iter_mut().filter(|_| *recording).for_each(|bits| bits.set(at, 512));
    }
    image.write_at(at, &bytes).map_err(|e| format!("write {at:#x} after the cut: {e}"))?;
    image.close().map_err(|e| format!("close after the cut: {e}"))?;
    let after = leaks_past_end(storage, sharing).map_err(|e| format!("after a write: {e}"))?;
    if after > leaks {
        return Err(format!("{leaks} leaks after the cut, {after} after a write and a close"));
    }
    if stored(&files.open_read_only()?)? != bitmaps {
        return Err("the bitmaps do not follow a write".to_owned());
    }
    let mut moment = moment.clone();
    // What was written is certain now; the rest of the disk is as the cut left it.
    moment.model.write(at, &bytes);
    let image = files.open_read_only()?;
    let mut found = vec![0; 512];
    image.read_at(at, &mut found).map_err(|e| format!("read {at:#x} after a write: {e}"))?;
    moment.model.check(at, &found).map_err(|e| format!("written after the cut: {e}"))?;
    expect_contents(&image, &moment, true).map_err(|e| format!("after a write: {e}"))
}

/// The leaks, with those past the end of the file, which the check leaves out: what the cut took of
/// the file's growth it may have left of the counts.
fn leaks_past_end(storage: &dyn Storage, sharing: bool) -> Result<u64, String> {
    let len = storage.len().map_err(|e| format!("the length: {e}"))?;
    let longer = |len| storage.set_len(len).map_err(|e| format!("set the length: {e}"));
    let bits = number(storage, 20, 4)?;
    longer(len + (64 << bits.min(21)))?;
    let leaks = expect_sound(storage, sharing);
    longer(len)?;
    leaks
}

/// Judges the snapshots of an image whose own file is `image`: each is listed only if it may be, is listed if it has to be,
/// and reads as at its creation (C7), as after a power cut.
///
/// # Errors
/// What is wrong, as text.
pub fn judge_snapshots(
    files: &Files,
    image: &DiskImage,
    moment: &Moment,
    found: &mut Found,
) -> Result<(), String> {
    let storage = SnapshotStorage::new(image.clone());
    let count = number(&storage, field_offset::SNAPSHOTS, 4)?;
    if count == 0 && moment.snapshots.is_empty() {
        return Ok(());
    }
    let own = files.with_own(Arc::new(SnapshotStorage::new(image.clone())));
    let header = own.open_read_only()?.header();
    let table = SnapshotTable::read(&storage, &header)
        .map_err(|e| format!("the list of snapshots: {e}"))?;
    let mut left: Vec<_> = moment.snapshots.iter().collect();
    for record in table.records() {
        let shown = String::from_utf8_lossy(&record.name).into_owned();
        let place = left.iter().position(|listed| listed.name() == shown);
        let listed = place.map(|n| left.swap_remove(n));
        let presence = listed.map(|l| l.after_cut);
        let (Some(listed), Some(Presence::Listed | Presence::Maybe)) = (listed, presence) else {
            return Err(format!("{shown} is listed and should not be"));
        };
        let accepted = found.snapshots.entry(listed.number).or_default();
        judge_snapshot(files, image, record, &listed.model, accepted)
            .map_err(|e| format!("{shown}: {e}"))?;
    }
    let missing = left.iter().find(|listed| listed.after_cut == Presence::Listed);
    missing.map_or(Ok(()), |listed| Err(format!("{} is not listed", listed.name())))
}

/// Judges that a snapshot reads as `model`, by making its disk the image's, in a copy.
fn judge_snapshot(
    files: &Files,
    image: &DiskImage,
    record: &SnapshotRecord,
    model: &DiskModel,
    accepted: &mut Accepted,
) -> Result<(), String> {
    let storage = SnapshotStorage::new(image.clone());
    let write = |at, bytes: &[u8]| {
        storage.write_at(HostOffset::new(at), bytes).map_err(|e| format!("switch to it: {e}"))
    };
    write(field_offset::L1, &record.l1_size.to_be_bytes())?;
    write(field_offset::L1 + 4, &record.l1_table_offset.get().to_be_bytes())?;
    let size = record.disk_size().unwrap_or(model.size());
    write(field_offset::SIZE, &size.to_be_bytes())?;
    let image = files.with_own(Arc::new(storage)).open_read_only()?;
    expect_disk(&image, model, &[model.size()], true, accepted)
}

/// A big-endian number of up to 16 bytes.
fn number(storage: &dyn Storage, at: u64, len: usize) -> Result<u128, String> {
    let mut bytes = vec![0; len];
    storage
        .read_at(HostOffset::new(at), &mut bytes)
        .map_err(|e| format!("read {len} bytes at {at:#x}: {e}"))?;
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
}

/// Runs the check; returns the leaks.
///
/// # Errors
/// The first things that are worse than leaks, as text.
pub fn expect_no_corruption(storage: &dyn Storage) -> Result<u64, String> {
    expect_sound(storage, false)
}

/// The same; with `sharing`, in the middle of a snapshot operation, COPIED may stand on a cluster
/// that has one reference and a count above that, or be missing.
fn expect_sound(storage: &dyn Storage, sharing: bool) -> Result<u64, String> {
    let report = check(storage, &CheckOptions::default(), &mut |_| {})
        .map_err(|e| format!("cannot be checked: {e}"))?;
    if report.corruptions == 0 && report.check_errors == 0 {
        return Ok(report.leaks);
    }
    let bits = number(storage, 20, 4)?;
    let leaked = |entry: u64| {
        let at = (entry & OFFSET) >> bits;
        let one = |f: &Finding| matches!(f, Finding::Leak { cluster, references: 1, .. } if *cluster == at);
        report.findings.iter().any(one)
    };
    let excused = |finding: &Finding| match finding {
        Finding::Leak { .. } => true,
        Finding::Corruption(
            Corruption::L1Copied { entry, .. } | Corruption::L2Copied { entry, .. },
        ) => sharing && (entry & COPIED == 0 || leaked(*entry)),
        _ => false,
    };
    let worse: Vec<_> = report.findings.iter().filter(|f| !excused(f)).collect();
    if worse.is_empty() && report.check_errors == 0 {
        return Ok(report.leaks);
    }
    let shown = worse.iter().take(3).map(ToString::to_string).collect::<Vec<_>>();
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
    let Moment { model, sizes, sizes_after_cut, .. } = moment;
    let sizes = if after_cut { sizes_after_cut } else { sizes };
    expect_disk(image, model, sizes, after_cut, accepted)
}

/// The same of a disk that is to be as `model` says, and as long as one of `sizes`.
fn expect_disk(
    image: &impl Reads,
    model: &DiskModel,
    sizes: &[u64],
    after_cut: bool,
    accepted: &mut Accepted,
) -> Result<(), String> {
    if !sizes.contains(&image.size()) {
        return Err(format!("the disk has {} bytes, not one of {sizes:?}", image.size()));
    }
    let sector = |at, found: &[u8]| {
        let right =
            if after_cut { model.check_after_cut(at, found) } else { model.check(at, found) };
        right.map_err(|mismatch| mismatch.to_string())
    };
    for_each_stretch(image, &mut |at, stretch| match stretch {
        Stretch::Bytes(found) => accepted.judge(at, found, sector),
        Stretch::Zeros(len) => {
            if accepted.holds_zeros(at, len) {
                return Ok(());
            }
            let right = if after_cut {
                model.check_zeros_after_cut(at, len)
            } else {
                model.check_zeros(at, len)
            };
            right.map_err(|mismatch| mismatch.to_string())?;
            accepted.put_zeros(at, len);
            Ok(())
        }
    })
}
