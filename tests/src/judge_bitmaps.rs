//! Whether bitmaps in the file keep the contract.

use holstein::ReadOnlyImage;
use holstein_testkit::DiskModel;
use holstein_units::SECTOR;

use crate::{Moment, Presence, Stored};

/// The bitmaps that the file has.
///
/// # Errors
/// What the library says, as text.
pub(crate) fn stored(image: &ReadOnlyImage) -> Result<Stored, String> {
    if image.header().bitmaps().is_none() {
        return Ok(Stored::new());
    }
    let text = |e: holstein::Error| format!("the bitmaps: {e}");
    let one = |info: holstein::BitmapInfo| {
        let bits = if info.inconsistent { None } else { Some(image.bitmap(&info.name)?) };
        Ok((String::from_utf8_lossy(&info.name).into_owned(), (info.recording, bits)))
    };
    let all = image.bitmaps().map_err(text)?;
    all.into_iter().map(one).collect::<Result<_, _>>().map_err(text)
}

/// Judges the bitmaps of an image that a power cut left: each is listed only if it may be, is listed if
/// it has to be, and says that it does not hold, or knows all that was written since it was clean (C12).
///
/// # Errors
/// What is wrong, as text.
pub(crate) fn judge_bitmaps(image: &ReadOnlyImage, moment: &Moment) -> Result<(), String> {
    let found = stored(image)?;
    let mut disk = None;
    for (name, (recording, bits)) in &found {
        let noted = moment.bitmaps.iter().find(|one| one.name() == *name);
        let Some(noted) = noted.filter(|one| one.listed != Presence::Missing) else {
            return Err(format!("{name} is listed and should not be"));
        };
        let Some(bits) = bits else {
            if noted.in_use {
                continue;
            }
            return Err(format!("{name} does not hold any more"));
        };
        let mut unlike = |model: &DiskModel, sector: u64| {
            if disk.is_none() {
                let mut bytes = vec![0; usize::try_from(image.virtual_size()).unwrap_or(0)];
                image.read_at(0, &mut bytes).map_err(|e| format!("read the disk: {e}"))?;
                disk = Some(bytes);
            }
            let at = usize::try_from(sector * SECTOR).unwrap_or(usize::MAX);
            let rest = disk.as_deref().and_then(|bytes| bytes.get(at..)).unwrap_or_default();
            let sector_bytes = &rest[..rest.len().min(512)];
            Ok(model.check(sector * SECTOR, sector_bytes).is_err())
        };
        noted
            .expect_saved(*recording, bits, &mut unlike)
            .map_err(|what| format!("{name} claims to hold: {what}"))?;
    }
    let missing = moment
        .bitmaps
        .iter()
        .find(|one| one.listed == Presence::Listed && !found.contains_key(&one.name()));
    missing.map_or(Ok(()), |one| Err(format!("{} is not listed", one.name())))
}
