//! A pair of images that should be twins.

use std::collections::HashSet;
use std::path::Path;

use holstein::{Extent, ExtentKind, ReadOnlyImage};
use holstein_storage::{FileOptions, FileStorage};
use holstein_testkit::{DiskModel, Oracle, TempDir, Verdict};

use super::bitmaps::{read_by_them, read_by_us};
use super::{BitmapOp, Bits, Change, DataRow, Facts, Known, Lowers, Place, Row, Side, Step};
use crate::judge::{expect_contents, expect_no_corruption};
use crate::{Listed, Moment, Op, Presence};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TwinTally {
    /// Sequences.
    pub sequences: u64,
    /// Requests that both sides did.
    pub requests: u64,
    /// Requests that both sides refused, or ours where theirs was not asked.
    pub refused: u64,
    /// Changes made by ours alone, where a fault of theirs is known.
    pub alone: u64,
    /// Times that both images were closed, checked, read and compared.
    pub judged: u64,
}

impl TwinTally {
    /// Adds the counts of another.
    pub fn add(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.requests += other.requests;
        self.refused += other.refused;
        self.alone += other.alone;
        self.judged += other.judged;
    }
}

/// Two images and who writes them.
pub struct Pair<'a> {
    oracle: &'a Oracle,
    /// What the images are now.
    row: Row,
    /// What they may be over.
    lowers: Lowers,
    /// Snapshots taken before something else was put below them: what they show is not known.
    unknown: HashSet<u64>,
    /// Ours and theirs.
    sides: [&'a mut dyn Side; 2],
    /// Where our image is, and theirs; they change places when the sides swap.
    places: [Place; 2],
    /// What the disk holds.
    now: Moment,
    /// What its bitmaps hold.
    bits: Bits,
    /// Those that record may hold more, as data was copied.
    copied: bool,
    /// Whether a known fault left leaks and wrong flags, by folder.
    leaky: [bool; 2],
    tally: TwinTally,
    dir: TempDir,
}

impl std::fmt::Debug for Pair<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("row", &self.row).finish_non_exhaustive()
    }
}

impl<'a> Pair<'a> {
    /// Makes both images.
    ///
    /// # Errors
    /// What went wrong.
    pub fn new(
        oracle: &'a Oracle,
        row: Row,
        ours: &'a mut dyn Side,
        theirs: &'a mut dyn Side,
    ) -> Result<Self, String> {
        let text = |e: std::io::Error| format!("a folder for twins: {e}");
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            TempDir::under(memory, "twin").map_err(text)?
        } else {
            TempDir::new("twin").map_err(text)?
        };
        let place = |name| {
            let folder = dir.file(name);
            std::fs::create_dir(&folder).map_err(text)?;
            Ok::<_, String>(Place::new(folder))
        };
        let places = [place("a")?, place("b")?];
        let now = Moment::durable(disk_at_first(row));
        let sides = [ours, theirs];
        let pair = Self {
            oracle,
            row,
            lowers: Lowers::of(row),
            unknown: HashSet::new(),
            sides,
            places,
            now,
            bits: Bits::default(),
            copied: false,
            leaky: [false; 2],
            tally: TwinTally::default(),
            dir,
        };
        for side in 0..2 {
            let created = pair.sides[side].create(row, &pair.places[side]);
            created.map_err(|e| format!("{}: {e}", name(side)))?;
        }
        Ok(pair)
    }

    /// Takes all steps and judges, also after each stretch.
    ///
    /// # Errors
    /// The first difference, after which step.
    pub fn run(mut self, steps: &[Step]) -> Result<TwinTally, String> {
        self.judge().map_err(|e| format!("at the start: {e}"))?;
        for (id, step) in (1..).zip(steps) {
            self.step(*step, id).map_err(|e| format!("step {id}, {step}: {e}"))?;
        }
        self.judge().map_err(|e| format!("at the end: {e}"))?;
        self.tally.sequences = 1;
        Ok(self.tally)
    }

    fn step(&mut self, step: Step, id: u64) -> Result<(), String> {
        let op = match step {
            Step::Swap => {
                self.judge()?;
                self.places.swap(0, 1);
                return Ok(());
            }
            Step::Change(change) => return self.change(change),
            Step::Bitmap(op) => return self.bitmap(op),
            Step::Op(op) => op,
        };
        let size = self.now.sizes[0];
        let looked_at = matches!(op, Op::Grow { .. }) && self.row.extended;
        let known = Known::bars(self.row, op, self.facts(looked_at)?);
        if known == Some(Known::RepairDropsSnapshots) {
            let answer = self.sides[0].perform(self.row, &self.places[0], op, size, id)?;
            answer.map_err(|e| format!("ours, alone: {e}"))?;
            self.now.done(op, id, size);
            self.tally.alone += 1;
            return Ok(());
        }
        let barred =
            known.is_some() || matches!(op, Op::Apply(number) if self.unknown.contains(&number));
        if barred || !self.now.allows(op, size) || !self.is_fair(op)? {
            return Ok(());
        }
        let mut perform = |side: usize| {
            let done = self.sides[side].perform(self.row, &self.places[side], op, size, id);
            done.map_err(|e| format!("{}: {e}", name(side)))
        };
        match (perform(0)?, perform(1)?) {
            (Ok(()), Ok(())) => {
                self.now.done(op, id, size);
                self.bits.done(op, size);
                self.tally.requests += 1;
                if let Op::Snapshot(number) = op {
                    self.unknown.remove(&number);
                }
                if op == Op::Repair {
                    self.leaky = [false; 2];
                }
                if let Some(op) = Known::remedy(self.row, op, size) {
                    let answer = self.sides[1].perform(self.row, &self.places[1], op, size, id)?;
                    answer.map_err(|e| format!("theirs, to mend a known fault: {e}"))?;
                    if self.row.bitmaps {
                        // Bitmaps of theirs record that, and those that come later what it leaves to be written.
                        let answer =
                            self.sides[0].perform(self.row, &self.places[0], op, size, id)?;
                        answer.map_err(|e| format!("ours, as theirs: {e}"))?;
                        self.bits.done(op, size);
                    }
                }
            }
            (Err(_), Err(said)) => {
                self.tally.refused += 1;
                if Known::leaves_leaks(self.row, op, &said).is_some() {
                    let theirs = self.number(&self.places[1]);
                    self.leaky[theirs] = true;
                }
                if Known::resizes(self.row, op, &said).is_some() {
                    self.adopt()?;
                }
            }
            (Ok(()), Err(said)) if Known::refuses_alone(self.row, op, &said).is_some() => {
                if let Op::Snapshot(number) = op {
                    let undo = Op::Delete(number);
                    let answer =
                        self.sides[0].perform(self.row, &self.places[0], undo, size, id)?;
                    answer.map_err(|e| format!("ours, to undo what they refused: {e}"))?;
                }
                self.tally.refused += 1;
                let theirs = self.number(&self.places[1]);
                self.leaky[theirs] = true;
            }
            (Ok(()), Err(said)) if Known::refuses_to_apply(self.row, op, &said).is_some() => {
                self.now.done(op, id, size);
                self.adopt()?;
            }
            (Err(_), Ok(())) if self.is_refused_alone(op) => {
                if let Op::Snapshot(number) = op {
                    let undo = Op::Delete(number);
                    let answer =
                        self.sides[1].perform(self.row, &self.places[1], undo, size, id)?;
                    answer.map_err(|e| format!("theirs, to undo what we refused: {e}"))?;
                }
                self.tally.refused += 1;
            }
            (Err(said), Ok(())) => return Err(format!("refused by us alone: {said}")),
            (Ok(()), Err(said)) => return Err(format!("refused by them alone: {said}")),
        }
        if op == Op::Reopen { self.judge() } else { Ok(()) }
    }

    /// Makes a request about a bitmap on both sides.
    fn bitmap(&mut self, op: BitmapOp) -> Result<(), String> {
        let mut perform = |side: usize| {
            let done = self.sides[side].bitmap(self.row, &self.places[side], op);
            done.map_err(|e| format!("{}: {e}", name(side)))
        };
        match (perform(0)?, perform(1)?) {
            (Ok(()), Ok(())) => {
                self.bits.changed(op, self.now.sizes[0]);
                self.tally.requests += 1;
            }
            (Err(_), Err(_)) => self.tally.refused += 1,
            (Err(said), Ok(())) => return Err(format!("refused by us alone: {said}")),
            (Ok(()), Err(said)) => return Err(format!("refused by them alone: {said}")),
        }
        Ok(())
    }

    /// What a change has copied is recorded: the same on both sides.
    fn learn_bitmaps(&mut self) -> Result<(), String> {
        if !self.bits.0.values().any(|one| one.recording) {
            return Ok(());
        }
        let mut both = Vec::new();
        for (side, place) in self.places.iter().enumerate() {
            let found = read_by_us(&self.open(place)?)?;
            self.bits.expect_grown(&found).map_err(|e| format!("{}: {e}", name(side)))?;
            both.push(found);
        }
        let [ours, theirs] = <[Bits; 2]>::try_from(both).map_err(|_| "two images were read")?;
        ours.expect(&theirs).map_err(|e| format!("theirs, beside ours: {e}"))?;
        self.bits = ours;
        Ok(())
    }

    /// Whether we refuse a request of an image that they wrote for what they left in it.
    fn is_refused_alone(&self, op: Op) -> bool {
        let written_by_them = self.number(&self.places[0]) == 1;
        Known::refused_alone(self.row, op, written_by_them).is_some()
    }

    /// Their image becomes a copy of ours.
    fn adopt(&mut self) -> Result<(), String> {
        self.close()?;
        let [ours, theirs] = &self.places;
        let mut copied = std::fs::copy(ours.image(), theirs.image());
        if self.row.data.is_some() {
            copied = copied.and_then(|_| std::fs::copy(ours.data(), theirs.data()));
        }
        copied.map_err(|e| format!("copy our image: {e}"))?;
        let (ours, theirs) = (self.number(ours), self.number(theirs));
        self.leaky[theirs] = self.leaky[ours];
        self.tally.alone += 1;
        Ok(())
    }

    /// Makes a change of the whole image on both sides, and judges.
    fn change(&mut self, change: Change) -> Result<(), String> {
        self.close()?;
        let size = self.now.sizes[0];
        let present = self.row.backing.map(|backing| backing.file);
        if let Some(file) = change.needs()
            && !self.lowers.make(file, present, self.row, size, &self.places)?
        {
            return Ok(());
        }
        let format = change.needs().and_then(|file| self.lowers.format(file));
        let rows = (self.row, change.applied(self.row, format));
        let zeros_matter = !self.now.snapshots.is_empty() || self.row.encryption.is_some();
        let looked_at = matches!(change, Change::Version(_)) && zeros_matter;
        let facts = self.facts(looked_at)?;
        if let Some(known) = Known::bars_change(self.row, change, facts) {
            return self.change_alone(rows, change, known, facts);
        }
        let mut perform = |side: usize| {
            let done = self.sides[side].change(rows, &self.places[side], change);
            done.map_err(|e| format!("{}: {e}", name(side)))
        };
        let theirs = perform(1)?;
        if let Err(said) = &theirs
            && let Some(known) = Known::refuses_change(self.row, change, said)
        {
            return self.change_alone(rows, change, known, facts);
        }
        match (perform(0)?, theirs) {
            (Ok(()), Ok(())) => self.tally.requests += 1,
            (Err(_), Err(_)) => {
                self.tally.refused += 1;
                return self.judge();
            }
            (Err(said), Ok(())) => return Err(format!("refused by us alone: {said}")),
            (Ok(()), Err(said)) => return Err(format!("refused by them alone: {said}")),
        }
        self.row = rows.1;
        self.note_below(change);
        if change.alters_below() {
            self.learn_bitmaps()?;
        }
        self.judge()?;
        if let (Change::Commit { .. }, Some(file)) = (change, present) {
            let (disk, places) = (&self.now.model, &self.places);
            self.lowers.committed(file, disk, size, places, self.oracle)?;
        }
        Ok(())
    }

    /// Makes a change of a copy of our image, and judges that.
    fn change_alone(
        &mut self,
        rows: (Row, Row),
        change: Change,
        known: Known,
        facts: Facts,
    ) -> Result<(), String> {
        let text = |e: std::io::Error| format!("a copy of our image: {e}");
        let place = self.places[0].copy(self.dir.file("alone")).map_err(text)?;
        let answer = self.sides[0].change(rows, &place, change)?;
        let unknown = self.unknown.clone();
        self.note_below(change);
        self.copied = change.alters_below();
        let judged = match answer {
            Ok(()) => {
                self.tally.alone += 1;
                self.judge_image(rows.1, &place, "our image alone")
            }
            Err(said) if known.may_be_refused(rows.0, change, facts, &said) => {
                self.tally.refused += 1;
                self.judge_image(rows.0, &place, "our image alone")
            }
            Err(said) => Err(format!("refused by us: {said}")),
        };
        self.unknown = unknown;
        self.copied = false;
        std::fs::remove_dir_all(place.folder()).map_err(text)?;
        judged
    }

    /// What snapshots show is not known after a change of what they are over.
    fn note_below(&mut self, change: Change) {
        if change.alters_below() {
            let listed = self.now.snapshots.iter().filter(|one| one.now == Presence::Listed);
            self.unknown.extend(listed.map(|one| one.number));
        }
    }

    /// What their image is; its tables are looked at if that can matter.
    fn facts(&mut self, looked_at: bool) -> Result<Facts, String> {
        let listed = |one: &&Listed| one.now == Presence::Listed;
        let names: Vec<_> = self.now.snapshots.iter().filter(listed).map(Listed::name).collect();
        let (size, below) = (self.now.sizes[0], self.size_below());
        let other = |one: &Listed| one.model.size() != size;
        let sizes_differ = self.now.snapshots.iter().filter(listed).any(other);
        let (snapshots, bitmaps) = (!names.is_empty(), !self.bits.is_empty());
        let mut facts = Facts { size, below, bitmaps, snapshots, sizes_differ, ..Facts::default() };
        if !looked_at {
            return Ok(facts);
        }
        self.close()?;
        let text = |e: holstein::Error| format!("look at theirs: {e}");
        let image = self.open(&self.places[1])?;
        let mut look = |size: u64, extent_at: &dyn Fn(u64) -> Result<Extent, holstein::Error>| {
            let mut at = 0;
            while at < size {
                let extent = extent_at(at).map_err(text)?;
                let zero = extent.kind == ExtentKind::Zero;
                facts.zeros |= zero;
                facts.placed_zeros |= zero && extent.host.is_some();
                at += extent.len;
            }
            Ok::<_, String>(())
        };
        look(size, &|at| image.extent_at(at, size - at))?;
        for name in names {
            let reader = image.snapshot_reader(&*name).map_err(text)?;
            let size = reader.virtual_size();
            look(size, &|at| reader.extent_at(at, size - at))?;
        }
        facts.compressed_end = image.extent_at(size - 1, 1).map_err(text)?.compressed;
        Ok(facts)
    }

    /// Bytes of the disk below.
    fn size_below(&self) -> u64 {
        let below = self.row.backing.and_then(|backing| self.lowers.bytes(backing.file));
        below.map_or(0, |bytes| bytes.len() as u64)
    }

    /// Whether both sides do the same with a request. Compressed writes go to clusters without data
    /// or space: of others QEMU writes some and fails with some.
    fn is_fair(&mut self, op: Op) -> Result<bool, String> {
        let Op::Compressed { at, len } = op else { return Ok(true) };
        // Both refuse it beside a data file, the reference when it makes what was put off. In an
        // encrypted image it leaves the stream plain, which ours refuses.
        if self.row.data.is_some() || self.row.encryption.is_some() {
            return Ok(false);
        }
        let whole = len.is_multiple_of(self.row.cluster) || at + len == self.now.sizes[0];
        if !whole {
            return Ok(false);
        }
        self.close()?;
        for place in &self.places {
            let image = self.open(place)?;
            let mut done = 0;
            while done < len {
                let extent = image.extent_at(at + done, len - done).map_err(|e| e.to_string())?;
                if extent.kind == ExtentKind::Data || extent.host.is_some() {
                    return Ok(false);
                }
                done += extent.len;
            }
        }
        Ok(true)
    }

    fn close(&mut self) -> Result<(), String> {
        for (side, place) in self.places.iter().enumerate() {
            let closed = self.sides[side].close(self.row, place);
            closed.map_err(|e| format!("{}: {e}", name(side)))?;
        }
        Ok(())
    }

    /// Closes both images, and compares all that can be seen.
    fn judge(&mut self) -> Result<(), String> {
        self.close()?;
        self.tally.judged += 1;
        for (side, place) in self.places.iter().enumerate() {
            self.judge_image(self.row, place, &format!("{} image", name(side)))?;
        }
        let mut images = self.row.flags();
        if images[0] == "-f" {
            images.extend(["-F".into(), "qcow2".into()]);
        }
        images.extend(self.places.each_ref().map(|place| self.row.image_word(place)));
        let same = self.oracle.same_by(&images);
        if !same.map_err(|e| format!("compare: {e}"))? {
            return Err("qemu-img compare: the disks differ".to_owned());
        }
        self.judge_snapshots_by_them()
    }

    /// Checks and reads an image that nobody has open.
    fn judge_image(&self, row: Row, place: &Place, whose: &str) -> Result<(), String> {
        let file =
            FileStorage::open(place.image(), &FileOptions::default()).map_err(|e| e.to_string())?;
        // What it holds is judged all the same.
        if !self.leaky[self.number(place)] {
            let leaks = expect_no_corruption(&file).map_err(|e| format!("{whose}: {e}"))?;
            if leaks > 0 {
                return Err(format!("{whose}: our check finds {leaks} leaks"));
            }
            let mut image = row.flags();
            image.push(row.image_word(place));
            let checked = self.oracle.check_by(&image);
            let (verdict, text) = checked.map_err(|e| format!("{whose}: {e}"))?;
            if verdict != Verdict::Clean {
                return Err(format!("{whose}: qemu-img check: {text}"));
            }
        }
        drop(file);
        let image = row.open(place, false)?.open_read_only(place.image());
        let image = image.map_err(|e| format!("{whose}: does not open: {e}"))?;
        expect_contents(&image, &self.now, false)
            .map_err(|e| format!("{whose}, read by us: {e}"))?;
        if row.data == Some(DataRow::Raw) {
            self.judge_raw(place).map_err(|e| format!("{whose}, its data file: {e}"))?;
        }
        self.judge_snapshots(&image).map_err(|e| format!("{whose}: {e}"))?;
        self.judge_bitmaps(row, place, image).map_err(|e| format!("{whose}: {e}"))
    }

    /// Bitmaps are as they should be for both sides.
    fn judge_bitmaps(&self, row: Row, place: &Place, image: ReadOnlyImage) -> Result<(), String> {
        let compare = |found| match self.copied {
            false => self.bits.expect(&found),
            true => self.bits.expect_grown(&found),
        };
        let found = read_by_us(&image).and_then(compare);
        found.map_err(|e| format!("read by us: {e}"))?;
        drop(image);
        if self.bits.is_empty() {
            return Ok(());
        }
        let text = |e: std::io::Error| format!("a copy of it: {e}");
        let copy = place.copy(self.dir.file("bitmaps")).map_err(text)?;
        let found = read_by_them(self.oracle, row, &copy).and_then(compare);
        found.map_err(|e| format!("read by them: {e}"))?;
        std::fs::remove_dir_all(copy.folder()).map_err(text)
    }

    /// The bytes of a raw data file are those of the disk, and there are no more than a last cluster
    /// has.
    fn judge_raw(&self, place: &Place) -> Result<(), String> {
        let bytes = std::fs::read(place.data()).map_err(|e| e.to_string())?;
        raw_shows(&bytes, &self.now.model, self.now.sizes[0], self.row.cluster)
    }

    /// Each snapshot is listed, in the order of its making, and reads as it was.
    fn judge_snapshots(&self, image: &ReadOnlyImage) -> Result<(), String> {
        let records = image.snapshots().map_err(|e| e.to_string())?;
        let listed = records.iter().map(|one| String::from_utf8_lossy(&one.name).into_owned());
        let due = self.now.snapshots.iter().filter(|one| one.now == Presence::Listed);
        let names: Vec<_> = due.clone().map(Listed::name).collect();
        let listed: Vec<_> = listed.collect();
        if listed != names {
            return Err(format!("lists {listed:?}, not {names:?}"));
        }
        for one in due.filter(|one| !self.unknown.contains(&one.number)) {
            let reader = image.snapshot_reader(&*one.name()).map_err(|e| e.to_string())?;
            let moment = Moment::durable(one.model.clone());
            expect_contents(&reader, &moment, false)
                .map_err(|e| format!("{}, read by us: {e}", one.name()))?;
        }
        Ok(())
    }

    /// Each snapshot of our image reads for them as it was.
    fn judge_snapshots_by_them(&self) -> Result<(), String> {
        let place = &self.places[0];
        let known =
            |one: &&Listed| one.now == Presence::Listed && !self.unknown.contains(&one.number);
        for one in self.now.snapshots.iter().filter(known) {
            let raw = place.folder().join("snapshot");
            let shown = |e: std::io::Error| format!("{}, read by them: {e}", one.name());
            let name = one.name();
            let mut words: Vec<std::ffi::OsString> =
                ["convert", "-O", "raw", "-l", &name].map(Into::into).into();
            words.extend(self.row.flags());
            words.extend([self.row.image_word(place), raw.clone().into()]);
            self.oracle.img_ok(&words).map_err(shown)?;
            let bytes = std::fs::read(&raw).map_err(shown)?;
            std::fs::remove_file(&raw).map_err(shown)?;
            // Known::SnapshotsOfTodaysSize
            let len = usize::try_from(one.model.size()).map_or(bytes.len(), |n| n.min(bytes.len()));
            one.model.check(0, &bytes[..len]).map_err(|e| format!("{name}, read by them: {e}"))?;
        }
        Ok(())
    }

    /// The number of a place among both folders, whoever writes there.
    fn number(&self, place: &Place) -> usize {
        let of_copy = place.folder().ends_with("alone");
        let folder = if of_copy { self.places[0].folder() } else { place.folder() };
        usize::from(folder.ends_with("b"))
    }

    fn open(&self, place: &Place) -> Result<ReadOnlyImage, String> {
        let image = self.row.open(place, false)?.open_read_only(place.image());
        image.map_err(|e| format!("does not open: {e}"))
    }
}

/// What a new image of a row reads as.
fn disk_at_first(row: Row) -> DiskModel {
    let size = row.size();
    let mut disk = DiskModel::new(size);
    if let Some(below) = row.below() {
        let shown = below.size().min(size);
        let mut bytes = vec![0; usize::try_from(shown).expect("a small disk")];
        below.read(0, &mut bytes);
        disk.write(0, &bytes);
        disk.flush();
    }
    disk
}

/// Whether bytes of a raw data file are a disk of `size` bytes in clusters of so many.
fn raw_shows(bytes: &[u8], disk: &DiskModel, size: u64, cluster: u64) -> Result<(), String> {
    let len = bytes.len() as u64;
    if len < size || len > size.next_multiple_of(cluster) {
        return Err(format!("{len} bytes, the disk has {size}"));
    }
    let size = usize::try_from(size).map_err(|e| e.to_string())?;
    disk.check(0, &bytes[..size]).map_err(|e| e.to_string())
}

fn name(side: usize) -> &'static str {
    ["ours", "theirs"][side]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_data_file_that_shows_something_else_is_seen() {
        let mut disk = DiskModel::new(1536);
        disk.write(512, &[7; 100]);
        let mut bytes = vec![0; 1536];
        bytes[512..612].fill(7);
        assert_eq!(raw_shows(&bytes, &disk, 1536, 1024), Ok(()));
        bytes.resize(2048, 1);
        assert_eq!(raw_shows(&bytes, &disk, 1536, 1024), Ok(()));
        assert!(raw_shows(&bytes, &disk, 1536, 512).is_err());
        assert!(raw_shows(&bytes[..1024], &disk, 1536, 1024).is_err());
        bytes[512] = 8;
        assert!(raw_shows(&bytes, &disk, 1536, 1024).is_err());
    }
}
