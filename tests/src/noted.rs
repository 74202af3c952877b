//! A dirty bitmap that there may be, and what it has to know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use holstein::{DirtyBitmap, Granularity};
use holstein_testkit::DiskModel;
use holstein_units::SECTOR;

use crate::Presence;

/// What is done to a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Noting {
    /// It is added, clean and recording.
    Add,
    /// It is removed.
    Remove,
    /// It is made clean.
    Clear,
    /// It records from now on.
    On,
    /// It does not.
    Off,
}

impl Noting {
    const ALL: [(Self, &str); 5] = [
        (Self::Add, "add"),
        (Self::Remove, "remove"),
        (Self::Clear, "clear"),
        (Self::On, "on"),
        (Self::Off, "off"),
    ];
}

impl fmt::Display for Noting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            Self::ALL.iter().find(|(noting, _)| noting == self).map_or("", |(_, word)| word),
        )
    }
}

impl FromStr for Noting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, word)| *word == text);
        let words = || Self::ALL.map(|(_, word)| word).join(", ");
        found.map(|(noting, _)| *noting).ok_or_else(|| format!("bitmaps know {}", words()))
    }
}

/// What the bits may be, by sectors.
#[derive(Clone, Debug, Default)]
pub struct Bits {
    /// These are set.
    must: BTreeSet<u64>,
    /// These may be.
    may: BTreeSet<u64>,
    /// All may be.
    any: bool,
}

/// A bitmap as it may be in the file, and hold: made when the image was closed.
#[derive(Clone, Debug)]
pub struct Saved {
    bits: Bits,
    recording: bool,
    /// The disk at that time: what is not dirty is as it was, as long as the bitmap says that it holds.
    disk: Arc<DiskModel>,
}

/// A bitmap, by the number in its name.
#[derive(Clone, Debug)]
pub struct Noted {
    /// The number in its name.
    pub number: u64,
    /// Whether the open image has it.
    pub now: Presence,
    /// Whether the file has to list it.
    pub listed: Presence,
    /// Whether the file may say that it does not hold.
    pub in_use: bool,
    recording: Vec<bool>,
    bits: Bits,
    saved: Vec<Saved>,
}

impl Noted {
    /// One that is being added.
    #[must_use]
    pub fn new(number: u64, now: Presence) -> Self {
        let (listed, in_use, recording) = (Presence::Maybe, true, vec![true]);
        let (bits, saved) = (Bits::default(), Vec::new());
        Self { number, now, listed, in_use, recording, bits, saved }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        bitmap_name(self.number)
    }

    /// A request may have changed these bytes, or has for sure.
    pub fn note(&mut self, at: u64, len: u64, certain: bool) {
        if !self.recording.contains(&true) || len == 0 {
            return;
        }
        let sectors = at / SECTOR..=(at + len - 1) / SECTOR;
        self.bits.may.extend(sectors.clone());
        if certain && self.recording == [true] {
            self.bits.must.extend(sectors);
        }
    }

    /// Any bit may be set now.
    pub fn note_anything(&mut self) {
        self.bits.any |= self.recording.contains(&true);
    }

    /// The disk ends at `size` now, or may.
    pub fn cut(&mut self, size: u64) {
        self.bits.must.retain(|sector| sector * SECTOR < size);
    }

    /// Something is done to it, or may have been.
    pub fn change(&mut self, noting: Noting, done: bool) {
        match noting {
            Noting::Add => {}
            Noting::Remove => {
                self.now = if done { Presence::Missing } else { Presence::Maybe };
                self.listed = self.now;
            }
            Noting::Clear => {
                self.bits.must.clear();
                if done {
                    self.bits = Bits::default();
                }
            }
            Noting::On | Noting::Off => {
                let on = noting == Noting::On;
                if done {
                    self.recording.clear();
                }
                if !self.recording.contains(&on) {
                    self.recording.push(on);
                }
            }
        }
    }

    /// The image is being closed: what it is now may be in the file, and hold. False if nothing is left of
    /// it.
    pub fn closing(&mut self, disk: &Arc<DiskModel>) -> bool {
        if self.now != Presence::Missing {
            for &recording in &self.recording {
                let (bits, disk) = (self.bits.clone(), Arc::clone(disk));
                self.saved.push(Saved { bits, recording, disk });
            }
        }
        self.now != Presence::Missing || self.listed != Presence::Missing
    }

    /// The image was closed.
    pub fn closed(&mut self) {
        let left = self.saved.len().saturating_sub(self.recording.len());
        self.saved.drain(..left);
        self.listed = self.now;
        self.in_use = false;
    }

    /// The image is being opened for writing.
    pub fn opening(&mut self) {
        self.in_use = true;
    }

    /// The disk as of now, durable, is what the saved bits are about.
    pub fn rebase(&mut self, disk: &Arc<DiskModel>) {
        self.saved.iter_mut().for_each(|saved| saved.disk = Arc::clone(disk));
    }

    /// Judges what the file has, where it says that it holds.
    ///
    /// * `unlike`: says whether a sector is not as a model has it.
    ///
    /// # Errors
    /// Why it is none of those that may be there.
    pub fn expect_saved(
        &self,
        recording: bool,
        found: &DirtyBitmap,
        unlike: &mut dyn FnMut(&DiskModel, u64) -> Result<bool, String>,
    ) -> Result<(), String> {
        let mut why = "nothing that holds was ever saved".to_owned();
        for saved in &self.saved {
            match saved.judge(recording, found, unlike)? {
                None => return Ok(()),
                Some(wrong) => why = wrong,
            }
        }
        Err(why)
    }
}

impl Saved {
    fn judge(
        &self,
        recording: bool,
        found: &DirtyBitmap,
        unlike: &mut dyn FnMut(&DiskModel, u64) -> Result<bool, String>,
    ) -> Result<Option<String>, String> {
        if recording != self.recording {
            return Ok(Some(format!("it says that it records: {recording}")));
        }
        if found.size() > self.disk.size() {
            return Ok(Some(format!("it is for a disk of {} bytes", found.size())));
        }
        let here = |sector: &&u64| **sector * SECTOR < found.size();
        if let Some(sector) =
            self.bits.must.iter().filter(here).find(|n| !found.is_dirty(*n * SECTOR))
        {
            return Ok(Some(format!("it has lost sector {sector}")));
        }
        let mut at = found.next_dirty(0);
        while let Some(dirty) = at {
            if !self.bits.any && !self.bits.may.contains(&(dirty / SECTOR)) {
                return Ok(Some(format!("nothing was written to sector {}", dirty / SECTOR)));
            }
            at = found.next_dirty(dirty + SECTOR);
        }
        if recording {
            let end = found.size().div_ceil(SECTOR);
            for sector in (0..end).filter(|n| !found.is_dirty(n * SECTOR)) {
                if unlike(&self.disk, sector)? {
                    return Ok(Some(format!("it does not know that sector {sector} has changed")));
                }
            }
        }
        Ok(None)
    }
}

/// What a bit stands for: a sector.
#[must_use]
pub fn granularity() -> Granularity {
    Granularity::new(SECTOR).expect("bitmaps may be that fine")
}

/// The name of bitmap `number`.
#[must_use]
pub fn bitmap_name(number: u64) -> String {
    format!("bitmap-{number}")
}

/// The bitmaps of an image, by their names: whether they record, and the bits of those that hold.
pub type Stored = BTreeMap<String, (bool, Option<DirtyBitmap>)>;
