//! What a guest disk may read as.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use holstein_units::SECTOR;

use crate::Pattern;

const SECTOR_BYTES: usize = 512;

static ZEROS: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];

/// A guest disk as it should be: what each sector reads as now, and what it may read as after a
/// power cut.
///
/// Calls that were acknowledged are told by [`DiskModel::write`], [`DiskModel::zero`],
/// [`DiskModel::discard`] and [`DiskModel::flush`]; those in flight or failed by the `attempt_`
/// forms, after which a sector may be old or new. A cut keeps of each sector what it was at the last
/// flush, or any value since (C4, C5, C8).
#[derive(Clone, Debug, Default)]
pub struct DiskModel {
    size: u64,
    /// Sectors that were ever changed; the others are zero.
    sectors: BTreeMap<u64, Sector>,
}

/// `None` is zeros.
type Value = Option<Arc<[u8; SECTOR_BYTES]>>;

#[derive(Clone, Debug)]
struct Sector {
    /// What it may read as now: one value, unless calls failed or may be ignored.
    now: Vec<Value>,
    /// What it may read as after a cut: the values at the last flush and since.
    cut: Vec<Value>,
}

impl DiskModel {
    /// A disk of `size` bytes, all zero and durable.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { size, sectors: BTreeMap::new() }
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The disk has grown to `size` bytes, with zeros.
    ///
    /// # Panics
    /// If that is smaller.
    pub fn grow(&mut self, size: u64) {
        assert!(size >= self.size, "a disk of {} bytes does not grow to {size}", self.size);
        self.size = size;
    }

    /// Bytes were written.
    pub fn write(&mut self, at: u64, from: &[u8]) {
        self.change(at, from.len() as u64, Certainty::Done, &mut |at, to| {
            copy(from, at, to);
        });
    }

    /// Bytes are being written, or their write failed.
    pub fn attempt_write(&mut self, at: u64, from: &[u8]) {
        self.change(at, from.len() as u64, Certainty::Maybe, &mut |at, to| {
            copy(from, at, to);
        });
    }

    /// A range was made zero.
    pub fn zero(&mut self, at: u64, len: u64) {
        self.change(at, len, Certainty::Done, &mut |_, to| to.fill(0));
    }

    /// A range is being made zero, or that failed.
    pub fn attempt_zero(&mut self, at: u64, len: u64) {
        self.change(at, len, Certainty::Maybe, &mut |_, to| to.fill(0));
    }

    /// A range was, or is being, discarded: it may be as it was, or zero.
    pub fn discard(&mut self, at: u64, len: u64) {
        self.change(at, len, Certainty::Maybe, &mut |_, to| to.fill(0));
    }

    /// The same disk cut or extended to `size` bytes; what is behind its end stays hidden.
    #[must_use]
    pub fn sized(&self, size: u64) -> Self {
        Self { size, sectors: self.sectors.clone() }
    }

    /// The disk has shrunk to `size` bytes. After a cut it may still be as long as it was; what is
    /// behind is as it was then.
    ///
    /// The size of the model stays: it is the largest that the disk may have.
    pub fn shrink(&mut self, size: u64) {
        for (_, sector) in self.sectors.range_mut(size.div_ceil(SECTOR)..) {
            sector.now = vec![None];
        }
    }

    /// What lies behind `size` may have been behind the end of the disk for a while: it reads as
    /// before, or as zeros.
    pub fn reveal(&mut self, size: u64) {
        for (_, sector) in self.sectors.range_mut(size.div_ceil(SECTOR)..) {
            add(&mut sector.cut, None);
        }
    }

    /// The disk has become what `other` is now, as when a snapshot is applied.
    pub fn replace(&mut self, other: &Self) {
        self.become_of(other, u64::MAX, Certainty::Done);
    }

    /// The disk is becoming what `other` is now, or that failed.
    pub fn attempt_replace(&mut self, other: &Self) {
        self.become_of(other, u64::MAX, Certainty::Maybe);
    }

    /// The first `size` bytes have become what `other` is now, or are becoming it where that is not
    /// `done`.
    pub fn cover(&mut self, other: &Self, size: u64, done: bool) {
        let certainty = if done { Certainty::Done } else { Certainty::Maybe };
        self.become_of(other, size, certainty);
    }

    fn become_of(&mut self, other: &Self, size: u64, certainty: Certainty) {
        let zeros = vec![None];
        let numbers: std::collections::BTreeSet<u64> =
            self.touched().chain(other.touched()).filter(|n| *n < size.div_ceil(SECTOR)).collect();
        for number in numbers {
            let new = other.sectors.get(&number).map_or(&zeros, |sector| &sector.now);
            let sector = self
                .sectors
                .entry(number)
                .or_insert_with(|| Sector { now: vec![None], cut: vec![None] });
            new.iter().for_each(|value| add(&mut sector.cut, value.clone()));
            match certainty {
                Certainty::Done => sector.now.clone_from(new),
                Certainty::Maybe => {
                    new.iter().for_each(|value| add(&mut sector.now, value.clone()));
                }
            }
        }
    }

    /// A flush was acknowledged.
    pub fn flush(&mut self) {
        for sector in self.sectors.values_mut() {
            sector.cut.clone_from(&sector.now);
        }
    }

    /// Numbers of the sectors that were ever changed.
    pub fn touched(&self) -> impl Iterator<Item = u64> {
        self.sectors.keys().copied()
    }

    /// What the disk reads as; where several values are right, one of them.
    ///
    /// # Panics
    /// If the range is not on the disk.
    pub fn read(&self, at: u64, into: &mut [u8]) {
        self.assert_on_disk(at, into.len() as u64);
        for_each_part(at, into.len() as u64, &mut |sector, inside, part| {
            let to = &mut into[part];
            match self.sectors.get(&sector).and_then(|s| s.now.first()).and_then(Option::as_ref) {
                Some(bytes) => to.copy_from_slice(&bytes[inside..inside + to.len()]),
                None => to.fill(0),
            }
        });
    }

    /// Judges what was read while the disk was in use.
    ///
    /// # Errors
    /// The first sector that reads as something it cannot be.
    ///
    /// # Panics
    /// If the range is not on the disk.
    pub fn check(&self, at: u64, found: &[u8]) -> Result<(), Mismatch> {
        self.judge(at, found, |sector| &sector.now)
    }

    /// Judges what was read after a power cut.
    ///
    /// # Errors
    /// The first sector that is neither as at the last flush nor as at any time since.
    ///
    /// # Panics
    /// If the range is not on the disk.
    pub fn check_after_cut(&self, at: u64, found: &[u8]) -> Result<(), Mismatch> {
        self.judge(at, found, |sector| &sector.cut)
    }

    /// Judges `len` zeros that were read while the disk was in use.
    ///
    /// # Errors
    /// The first sector that cannot be zeros.
    ///
    /// # Panics
    /// If the range is not on the disk.
    pub fn check_zeros(&self, at: u64, len: u64) -> Result<(), Mismatch> {
        self.judge_zeros(at, len, |sector| &sector.now)
    }

    /// Judges `len` zeros that were read after a power cut.
    ///
    /// # Errors
    /// The first sector that was not zeros at the last flush or at any time since.
    ///
    /// # Panics
    /// If the range is not on the disk.
    pub fn check_zeros_after_cut(&self, at: u64, len: u64) -> Result<(), Mismatch> {
        self.judge_zeros(at, len, |sector| &sector.cut)
    }

    fn judge_zeros(
        &self,
        at: u64,
        len: u64,
        values: impl Fn(&Sector) -> &Vec<Value>,
    ) -> Result<(), Mismatch> {
        self.assert_on_disk(at, len);
        let end = at + len;
        for (&number, sector) in self.sectors.range(at / SECTOR..end.div_ceil(SECTOR)) {
            // Zeros are never kept as bytes.
            if !values(sector).contains(&None) {
                let (from, to) = (at.max(number * SECTOR), end.min((number + 1) * SECTOR));
                let part = usize::try_from(to - from).expect("less than a sector");
                self.judge(from, &[0; SECTOR_BYTES][..part], &values)?;
            }
        }
        Ok(())
    }

    fn judge(
        &self,
        at: u64,
        found: &[u8],
        values: impl Fn(&Sector) -> &Vec<Value>,
    ) -> Result<(), Mismatch> {
        self.assert_on_disk(at, found.len() as u64);
        let untouched = vec![None];
        let mut result = Ok(());
        for_each_part(at, found.len() as u64, &mut |number, inside, part| {
            let found = &found[part];
            let allowed = self.sectors.get(&number).map_or(&untouched, &values);
            let fits = |value: &Value| match value {
                Some(bytes) => bytes[inside..inside + found.len()] == *found,
                None => *found == ZEROS[..found.len()],
            };
            if result.is_ok() && !allowed.iter().any(fits) {
                result = Err(Mismatch {
                    sector: number,
                    found: describe(inside, found),
                    allowed: allowed.iter().map(|v| describe_value(inside, v)).collect(),
                });
            }
        });
        result
    }

    fn change(
        &mut self,
        at: u64,
        len: u64,
        certainty: Certainty,
        apply: &mut dyn FnMut(usize, &mut [u8]),
    ) {
        self.assert_on_disk(at, len);
        let sectors = &mut self.sectors;
        for_each_part(at, len, &mut |number, inside, part| {
            let sector = sectors
                .entry(number)
                .or_insert_with(|| Sector { now: vec![None], cut: vec![None] });
            let mut after = Vec::new();
            for value in &sector.now {
                let mut bytes = value.as_ref().map_or([0; SECTOR_BYTES], |bytes| **bytes);
                apply(part.start, &mut bytes[inside..inside + part.len()]);
                let zero = bytes == ZEROS;
                add(&mut after, if zero { None } else { Some(Arc::new(bytes)) });
            }
            for value in &after {
                add(&mut sector.cut, value.clone());
            }
            match certainty {
                Certainty::Done => sector.now = after,
                Certainty::Maybe => after.into_iter().for_each(|v| add(&mut sector.now, v)),
            }
        });
    }

    fn assert_on_disk(&self, at: u64, len: u64) {
        let end = at.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.size),
            "{len} bytes at {at:#x} are not on a disk of {:#x}",
            self.size
        );
    }
}

#[derive(Clone, Copy)]
enum Certainty {
    Done,
    Maybe,
}

fn copy(from: &[u8], at: usize, to: &mut [u8]) {
    to.copy_from_slice(&from[at..at + to.len()]);
}

fn add(values: &mut Vec<Value>, value: Value) {
    if !values.contains(&value) {
        values.push(value);
    }
}

/// Calls `visit` with each sector of a range, the place in the sector, and the place in the range.
fn for_each_part(at: u64, len: u64, visit: &mut dyn FnMut(u64, usize, std::ops::Range<usize>)) {
    let len = usize::try_from(len).expect("a test's range fits in memory");
    let mut done = 0;
    while done < len {
        let here = at + done as u64;
        let inside = usize::try_from(here % SECTOR).expect("less than a sector");
        let part = (SECTOR_BYTES - inside).min(len - done);
        visit(here / SECTOR, inside, done..done + part);
        done += part;
    }
}

/// A sector reads as something it cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The sector's number.
    pub sector: u64,
    /// What it reads as.
    pub found: String,
    /// What it may read as.
    pub allowed: Vec<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sector {} (byte {:#x}) reads as {}, not as {}",
            self.sector,
            self.sector.saturating_mul(SECTOR),
            self.found,
            self.allowed.join(" or ")
        )
    }
}

impl std::error::Error for Mismatch {}

fn describe_value(inside: usize, value: &Value) -> String {
    value.as_ref().map_or_else(|| "zeros".into(), |bytes| describe(inside, &bytes[inside..]))
}

fn describe(inside: usize, bytes: &[u8]) -> String {
    if bytes.iter().all(|&byte| byte == 0) {
        return "zeros".into();
    }
    let group = bytes.get(inside.next_multiple_of(16) - inside..).unwrap_or(&[]);
    if let Some((id, sector)) = Pattern::identify(group) {
        return format!("write {id} of sector {sector}");
    }
    let shown = bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("bytes {shown}..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(id: u64, number: u64) -> Vec<u8> {
        Pattern::new(id).bytes(number * SECTOR, SECTOR_BYTES)
    }

    #[test]
    fn a_cut_leaves_the_flushed_value_or_a_newer_one() {
        let mut disk = DiskModel::new(4096);
        disk.write(512, &sector(1, 1));
        disk.write(512, &sector(2, 1));
        disk.flush();
        disk.write(512, &sector(3, 1));
        disk.zero(512, 512);
        for (found, right) in [(1, false), (2, true), (3, true), (4, false)] {
            assert_eq!(disk.check_after_cut(512, &sector(found, 1)).is_ok(), right, "{found}");
        }
        assert_eq!(disk.check_after_cut(512, &[0; 512]), Ok(()));
        assert_eq!(disk.check(512, &[0; 512]), Ok(()));
        let wrong = disk.check(512, &sector(3, 1)).expect_err("zeros are current");
        assert_eq!(wrong.found, "write 3 of sector 1");
        assert_eq!(wrong.allowed, ["zeros"]);
    }

    #[test]
    fn zeros_are_judged_as_bytes_of_zeros_are() {
        let mut disk = DiskModel::new(8 * 512 + 100);
        disk.write(512, &sector(1, 1));
        disk.flush();
        disk.zero(512, 512);
        disk.write(4 * 512, &[&[0; 100][..], &[1; 412]].concat());
        disk.write(8 * 512, &[0; 100]);
        let mut wrong = 0;
        for at in (0..disk.size()).step_by(100) {
            for len in [1, 100, 512, 1000, 2048, disk.size() - at] {
                let len = len.min(disk.size() - at);
                let zeros = vec![0; usize::try_from(len).expect("small")];
                assert_eq!(disk.check_zeros(at, len), disk.check(at, &zeros), "{at} {len}");
                let cut = disk.check_zeros_after_cut(at, len);
                assert_eq!(cut, disk.check_after_cut(at, &zeros), "{at} {len}");
                wrong += u32::from(disk.check_zeros(at, len).is_err());
            }
        }
        assert!(wrong > 10, "{wrong}");
    }

    #[test]
    fn a_failed_or_ignored_call_leaves_both_values() {
        let mut disk = DiskModel::new(1024);
        disk.write(0, &sector(1, 0));
        disk.flush();
        disk.attempt_write(0, &sector(2, 0));
        disk.discard(0, 512);
        disk.flush();
        for found in [&sector(1, 0)[..], &sector(2, 0), &[0; 512]] {
            assert_eq!(disk.check(0, found), Ok(()));
            assert_eq!(disk.check_after_cut(0, found), Ok(()));
        }
        assert!(disk.check(0, &sector(1, 1)).is_err());
    }

    #[test]
    fn a_disk_that_shrank_keeps_nothing_but_for_a_cut() {
        let mut disk = DiskModel::new(1024);
        disk.write(512, &sector(1, 1));
        disk.flush();
        disk.shrink(512);
        assert_eq!(disk.check_after_cut(512, &sector(1, 1)), Ok(()));
        assert!(disk.check_after_cut(512, &[0; 512]).is_err());
        disk.reveal(512);
        assert_eq!(disk.check(512, &[0; 512]), Ok(()));
        for found in [&sector(1, 1)[..], &[0; 512]] {
            assert_eq!(disk.check_after_cut(512, found), Ok(()));
        }
        disk.flush();
        assert!(disk.check_after_cut(512, &sector(1, 1)).is_err());
    }

    #[test]
    fn a_disk_becomes_another() {
        let mut disk = DiskModel::new(1024);
        disk.write(0, &sector(1, 0));
        disk.flush();
        let mut other = DiskModel::new(1024);
        other.write(512, &sector(2, 1));
        let mut maybe = disk.clone();
        maybe.attempt_replace(&other);
        assert_eq!(maybe.check(0, &sector(1, 0)), Ok(()));
        assert_eq!(maybe.check(0, &[0; 512]), Ok(()));
        disk.replace(&other);
        assert!(disk.check(0, &sector(1, 0)).is_err());
        assert_eq!(disk.check(512, &sector(2, 1)), Ok(()));
        assert_eq!(disk.check_after_cut(0, &sector(1, 0)), Ok(()));
        disk.flush();
        assert!(disk.check_after_cut(0, &sector(1, 0)).is_err());
    }

    #[test]
    fn a_disk_is_covered_up_to_a_size() {
        let mut disk = DiskModel::new(1024);
        disk.write(512, &sector(1, 1));
        let mut other = DiskModel::new(1024);
        other.write(0, &sector(2, 0));
        disk.cover(&other, 512, false);
        assert_eq!(disk.check(0, &[0; 512]), Ok(()));
        disk.cover(&other, 512, true);
        assert_eq!(disk.check(0, &sector(2, 0)), Ok(()));
        assert!(disk.check(0, &[0; 512]).is_err());
        assert_eq!(disk.check(512, &sector(1, 1)), Ok(()));
    }

    #[test]
    fn parts_of_sectors_keep_the_rest() {
        let mut disk = DiskModel::new(1536);
        disk.write(0, &[1; 1536]);
        disk.write(500, &[2; 600]);
        let mut all = [0; 1536];
        disk.read(0, &mut all);
        let mut expected = [1; 1536];
        expected[500..1100].fill(2);
        assert_eq!(all, expected);
        assert_eq!(disk.check(3, &expected[3..1500]), Ok(()));
        assert_eq!(disk.touched().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
