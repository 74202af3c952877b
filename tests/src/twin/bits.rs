//! What bitmaps should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{BitmapOp, bitmap_name};
use crate::Op;

/// The bitmaps of an image, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits(pub BTreeMap<String, Bitmap>);

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    /// Bytes of a bit.
    pub unit: u64,
    /// Whether it records what is written.
    pub recording: bool,
    /// Numbers of the bits that are set.
    pub dirty: BTreeSet<u64>,
}

impl Bitmap {
    /// Marks the bytes of a range.
    pub fn mark(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.dirty.extend(range.start / self.unit..range.end.div_ceil(self.unit));
        }
    }
}

impl Bits {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A request was made of the disk, of `size` bytes before.
    pub fn done(&mut self, op: Op, size: u64) {
        match op {
            Op::Write { at, len }
            | Op::Zero { at, len, .. }
            | Op::Discard { at, len }
            | Op::Compressed { at, len } => {
                for one in self.0.values_mut().filter(|one| one.recording) {
                    one.mark(at..at + len);
                }
            }
            Op::Shrink { by } => {
                for one in self.0.values_mut() {
                    let unit = one.unit;
                    one.dirty.retain(|bit| bit * unit < size - by);
                }
            }
            _ => {}
        }
    }

    /// A request about one was made, on a disk of `size` bytes.
    pub fn changed(&mut self, op: BitmapOp, size: u64) {
        match op {
            BitmapOp::Add { number, unit, recording } => {
                let new = Bitmap { unit, recording, dirty: BTreeSet::new() };
                self.0.insert(bitmap_name(number), new);
            }
            BitmapOp::Remove(number) => drop(self.0.remove(&bitmap_name(number))),
            BitmapOp::Record { number, on } => {
                self.0.entry(bitmap_name(number)).and_modify(|one| one.recording = on);
            }
            BitmapOp::Clear(number) => {
                self.0.entry(bitmap_name(number)).and_modify(|one| one.dirty.clear());
            }
            BitmapOp::Merge { into, from } => {
                let Some(from) = self.0.get(&bitmap_name(from)).cloned() else { return };
                self.0.entry(bitmap_name(into)).and_modify(|one| {
                    for bit in from.dirty {
                        one.mark(bit * from.unit..((bit + 1) * from.unit).min(size));
                    }
                });
            }
        }
    }

    /// Compares with what was found.
    ///
    /// # Errors
    /// The first difference.
    pub fn expect(&self, found: &Self) -> Result<(), String> {
        self.compare(found, false)
    }

    /// The same after data was copied within the image: bitmaps that record may have more bits.
    ///
    /// # Errors
    /// The first difference.
    pub fn expect_grown(&self, found: &Self) -> Result<(), String> {
        self.compare(found, true)
    }

    fn compare(&self, found: &Self, grown: bool) -> Result<(), String> {
        let names = |bits: &Self| bits.0.keys().cloned().collect::<Vec<_>>();
        if names(self) != names(found) {
            return Err(format!("bitmaps {:?}, not {:?}", names(found), names(self)));
        }
        for ((name, due), found) in self.0.iter().zip(found.0.values()) {
            let kind = |one: &Bitmap| (one.unit, one.recording);
            if kind(due) != kind(found) {
                return Err(format!("{name}: {:?}, not {:?}", kind(found), kind(due)));
            }
            let more: Vec<_> = found.dirty.difference(&due.dirty).take(5).collect();
            let fewer: Vec<_> = due.dirty.difference(&found.dirty).take(5).collect();
            let excused = grown && due.recording;
            if !more.is_empty() && !excused || !fewer.is_empty() {
                let unit = due.unit;
                return Err(format!(
                    "{name}, units of {unit}: {more:?} are set and should not be, {fewer:?} should be"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(words: &[&str]) -> Bits {
        let mut bits = Bits::default();
        for word in words {
            match word.parse::<BitmapOp>() {
                Ok(op) => bits.changed(op, 10_000),
                Err(_) => bits.done(word.parse().expect("a request"), 10_000),
            }
        }
        bits
    }

    #[test]
    fn each_difference_is_seen() {
        let due = after(&["p+1@512", "p+2@4096-", "w@1000+100", "p2<1"]);
        assert_eq!(due.0["bitmap-1"].dirty, BTreeSet::from([1, 2]));
        assert_eq!(due.0["bitmap-2"].dirty, BTreeSet::from([0]));
        assert_eq!(due.expect(&due), Ok(()));
        for other in [
            &["p+1@512", "w@1000+100"][..],
            &["p+1@512", "p+2@4096", "w@1000+100"],
            &["p+1@512", "p+2@2048-", "w@1000+100", "p2<1"],
            &["p+1@512", "p+2@4096-", "w@1000+10", "p2<1"],
            &["p+1@512", "p+2@4096-", "w@1000+1000", "p2<1"],
            &["p+1@512", "p+2@4096-", "w@1000+100"],
            &["p+1@512", "p+2@4096-", "w@1000+100", "p2<1", "g-9400"],
            &["p+1@512", "p+2@4096-", "w@1000+100", "p2<1", "p1=clear"],
            &["p+1@512", "p+2@4096-", "w@1000+100", "p2<1", "p1=off"],
        ] {
            assert!(due.expect(&after(other)).is_err(), "{other:?}");
        }
        let more = after(&["p+1@512", "p+2@4096-", "w@1000+100", "p2<1", "w@0+1"]);
        assert_eq!(due.expect_grown(&more), Ok(()));
        assert!(due.expect(&more).is_err() && more.expect_grown(&due).is_err());
        let idle = after(&["p+1@512", "p+2@4096", "w@1000+100", "w@9000+1", "p2=off"]);
        assert!(due.expect_grown(&idle).is_err());
    }
}
