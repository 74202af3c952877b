//! What a disk may hold at a moment of a program.

use std::sync::Arc;

use holstein_testkit::{DiskModel, Pattern};

use crate::{Config, Key, Listed, Name, Noted, Noting, Op, Presence, Shape};

/// What the disk holds while it is open, and what it may hold after a power cut.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The sectors; of the largest size that the disk may have.
    pub model: DiskModel,
    /// Sizes that the disk may have while it is open: one, unless a change of it failed.
    pub sizes: Vec<u64>,
    /// Sizes that it may have after a power cut.
    pub sizes_after_cut: Vec<u64>,
    /// What the header may say of the image, while it is open and after a power cut; empty where nobody
    /// asks.
    pub shapes: Vec<Shape>,
    /// The base of the image, as an image.
    pub below: Option<Box<Moment>>,
    /// The snapshots that there may be.
    pub snapshots: Vec<Listed>,
    /// The bitmaps that there may be.
    pub bitmaps: Vec<Noted>,
    /// The passphrases that may open the image; none where it needs none.
    pub keys: Vec<Key>,
    /// Whether counts may be above the references, under COPIED flags (C2).
    pub sharing: Option<Sharing>,
}

/// How long a snapshot operation may leave counts above the references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Until the next flush: it was acknowledged.
    UntilFlush,
    /// It is under way, or has failed.
    Unfinished,
}

impl Moment {
    /// A disk that is durable as `model`.
    #[must_use]
    pub fn durable(model: DiskModel) -> Self {
        let size = model.size();
        Self {
            model,
            sizes: vec![size],
            sizes_after_cut: vec![size],
            shapes: Vec::new(),
            below: None,
            snapshots: Vec::new(),
            bitmaps: Vec::new(),
            keys: Vec::new(),
            sharing: None,
        }
    }

    /// The same of an image whose header says this.
    #[must_use]
    pub fn of_shape(self, shape: Shape) -> Self {
        Self { shapes: vec![shape], ..self }
    }

    /// The same of an image that opens to the passphrases of new ones.
    #[must_use]
    pub fn of_kind(self, config: Config) -> Self {
        Self { keys: Key::of(config), ..self }
    }

    /// Whether a request makes sense on a disk of `size` bytes.
    #[must_use]
    pub fn allows(&self, op: Op, size: u64) -> bool {
        match op {
            Op::Write { at, len }
            | Op::Zero { at, len, .. }
            | Op::Discard { at, len }
            | Op::Compressed { at, len } => at + len <= size,
            Op::Shrink { by } => by < size,
            // What is below belongs to them too, and changes in a commit.
            Op::Snapshot(_) if self.below.is_some() => false,
            Op::Snapshot(number) => self.listed(number).is_none(),
            Op::Rebase(to) => {
                self.below.is_some() && self.shapes.iter().any(|shape| shape.backing != to)
            }
            Op::Commit => {
                self.below.is_some()
                    && self.shapes.iter().all(|shape| shape.backing.is_some_and(Name::is_base))
            }
            Op::Apply(number) | Op::Delete(number) => {
                self.listed(number).is_some_and(|one| one.now == Presence::Listed)
            }
            Op::Amend(amend) => self.shapes.iter().any(|shape| shape.after(amend).is_some()),
            Op::Bitmap(Noting::Add, number) => self.noted(number).is_none(),
            Op::Bitmap(_, number) => {
                self.noted(number).is_some_and(|one| one.now == Presence::Listed)
            }
            Op::Passphrase { number, add: true } => {
                !self.keys.is_empty() && self.presence(number) == Presence::Missing
            }
            // The last one stays.
            Op::Passphrase { number, add: false } => {
                let opens = |key: &&Key| key.now == Presence::Listed;
                self.presence(number) == Presence::Listed
                    && self.keys.iter().filter(opens).count() > 1
            }
            Op::Flush | Op::Grow { .. } | Op::Repair | Op::Reopen => true,
        }
    }

    /// A request is under way, or has failed. `size` is that of the disk before it, `id` that of the
    /// pattern it writes.
    pub fn attempt(&mut self, op: Op, id: u64, size: u64) {
        match op {
            Op::Write { at, len } | Op::Compressed { at, len } => {
                self.model.attempt_write(at, &bytes(id, at, len));
            }
            Op::Zero { at, len, .. } => self.model.attempt_zero(at, len),
            Op::Discard { at, len } => self.model.discard(at, len),
            Op::Flush => {}
            Op::Reopen => self.reopening(),
            Op::Bitmap(noting, number) => self.note_in(noting, number, false),
            Op::Passphrase { number, .. } => self.set_presence(number, Presence::Maybe),
            Op::Amend(amend) => {
                let new: Vec<_> = self.shapes.iter().filter_map(|s| s.after(amend)).collect();
                new.into_iter().for_each(|shape| add(&mut self.shapes, shape));
            }
            Op::Rebase(backing) => {
                self.moving();
                let new: Vec<_> = self.shapes.iter().map(|s| Shape { backing, ..*s }).collect();
                new.into_iter().for_each(|shape| add(&mut self.shapes, shape));
            }
            Op::Commit => {
                self.moving();
                if let Some(below) = &mut self.below {
                    below.committed(&self.model, size, false);
                }
            }
            // COPIED is given back after the counts have fallen.
            Op::Repair => {
                self.sharing = Some(Sharing::Unfinished);
                self.reopening();
            }
            Op::Grow { by } => {
                self.grow(size, size + by);
                add(&mut self.sizes, size + by);
            }
            Op::Snapshot(number) => {
                self.sharing = Some(Sharing::Unfinished);
                self.list(number, size, Presence::Maybe, Presence::Maybe);
            }
            Op::Apply(number) => {
                self.sharing = Some(Sharing::Unfinished);
                self.apply(number, false);
            }
            Op::Delete(number) => {
                self.sharing = Some(Sharing::Unfinished);
                self.unlist(number, Presence::Maybe);
            }
            // What is cut off is whole for as long as the size is the old one.
            Op::Shrink { by } => {
                add(&mut self.sizes, size - by);
                add(&mut self.sizes_after_cut, size - by);
                self.bitmaps.iter_mut().for_each(|one| one.cut(size - by));
            }
        }
        self.note(op, false);
    }

    /// A request was acknowledged.
    pub fn done(&mut self, op: Op, id: u64, size: u64) {
        match op {
            Op::Write { at, len } | Op::Compressed { at, len } => {
                self.model.write(at, &bytes(id, at, len));
            }
            Op::Zero { at, len, .. } => self.model.zero(at, len),
            Op::Discard { at, len } => self.model.discard(at, len),
            Op::Flush | Op::Repair | Op::Reopen | Op::Commit | Op::Rebase(_) => {
                if let (Op::Commit, Some(below)) = (op, &mut self.below) {
                    below.committed(&self.model, size, true);
                }
                if let Op::Rebase(backing) = op {
                    self.shapes.iter_mut().for_each(|shape| shape.backing = backing);
                    self.shapes.dedup();
                }
                self.model.flush();
                self.sizes_after_cut.clone_from(&self.sizes);
                self.snapshots.retain_mut(Listed::flush);
                let mended = op == Op::Repair;
                let unfinished = |sharing: &Sharing| *sharing == Sharing::Unfinished && !mended;
                self.sharing = self.sharing.filter(unfinished);
                if op != Op::Flush {
                    self.reopened(op);
                }
            }
            Op::Grow { by } => {
                self.grow(size, size + by);
                self.sizes = vec![size + by];
            }
            // It is durable when it returns.
            Op::Amend(amend) => {
                let old = std::mem::take(&mut self.shapes);
                let new = |shape: Shape| shape.after(amend).unwrap_or(shape);
                old.into_iter().for_each(|shape| add(&mut self.shapes, new(shape)));
            }
            Op::Bitmap(noting, number) => self.note_in(noting, number, true),
            Op::Passphrase { number, add } => {
                let now = if add { Presence::Listed } else { Presence::Missing };
                self.set_presence(number, now);
            }
            Op::Snapshot(number) => self.list(number, size, Presence::Listed, Presence::Listed),
            Op::Apply(number) => {
                self.sharing = self.sharing.or(Some(Sharing::UntilFlush));
                self.apply(number, true);
            }
            Op::Delete(number) => {
                self.sharing = self.sharing.or(Some(Sharing::UntilFlush));
                self.unlist(number, Presence::Missing);
            }
            Op::Shrink { by } => {
                self.model.shrink(size - by);
                add(&mut self.sizes_after_cut, size - by);
                self.sizes = vec![size - by];
                self.bitmaps.iter_mut().for_each(|one| one.cut(size - by));
            }
        }
        self.note(op, true);
    }

    /// A request was refused, with no fault that would excuse it. Some may be refused halfway.
    pub fn refused(&mut self, op: Op, id: u64, size: u64) {
        if let Op::Compressed { .. } = op {
            self.attempt(op, id, size);
        }
    }

    /// The image is being opened.
    pub fn opening(&mut self) {
        self.bitmaps.iter_mut().for_each(Noted::opening);
    }

    /// The image is being closed, and nothing comes after that.
    pub fn closing(&mut self) {
        let disk = Arc::new(self.model.clone());
        self.bitmaps.retain_mut(|one| one.closing(&disk));
    }

    /// It was closed.
    pub fn closed(&mut self) {
        self.done(Op::Flush, 0, self.model.size());
        self.bitmaps.iter_mut().for_each(Noted::closed);
        self.bitmaps.retain(|one| one.now != Presence::Missing);
    }

    /// What the disk holds was found to be this, durable.
    pub fn found(&mut self, model: DiskModel) {
        let disk = Arc::new(model.clone());
        self.bitmaps.iter_mut().for_each(|one| one.rebase(&disk));
        self.model = model;
    }

    /// The image is being closed and opened again.
    fn reopening(&mut self) {
        self.closing();
        self.opening();
    }

    /// Other files are written to meanwhile, and what the bitmaps make of that is theirs.
    fn moving(&mut self) {
        self.reopening();
        self.bitmaps.iter_mut().for_each(Noted::note_anything);
        self.reopening();
    }

    /// It was closed and opened again.
    fn reopened(&mut self, op: Op) {
        if matches!(op, Op::Commit | Op::Rebase(_)) {
            self.bitmaps.iter_mut().for_each(Noted::note_anything);
        }
        self.closing();
        self.bitmaps.iter_mut().for_each(Noted::closed);
        self.bitmaps.retain(|one| one.now != Presence::Missing);
        self.opening();
    }

    /// Whether bitmaps have to know of a request.
    fn note(&mut self, op: Op, certain: bool) {
        let (at, len) = match op {
            Op::Write { at, len } | Op::Zero { at, len, .. } | Op::Compressed { at, len } => {
                (at, len)
            }
            // Nothing happens to parts of clusters, and nothing may happen to the rest.
            Op::Discard { at, len } => {
                self.bitmaps.iter_mut().for_each(|one| one.note(at, len, false));
                return;
            }
            _ => return,
        };
        self.bitmaps.iter_mut().for_each(|one| one.note(at, len, certain));
    }

    fn note_in(&mut self, noting: Noting, number: u64, done: bool) {
        if noting == Noting::Add {
            let now = if done { Presence::Listed } else { Presence::Maybe };
            self.bitmaps.push(Noted::new(number, now));
        }
        let found = self.bitmaps.iter_mut().find(|one| one.number == number);
        found.into_iter().for_each(|one| one.change(noting, done));
        self.bitmaps.retain(|one| one.now != Presence::Missing || one.listed != Presence::Missing);
    }

    fn noted(&self, number: u64) -> Option<&Noted> {
        self.bitmaps.iter().find(|one| one.number == number)
    }

    fn presence(&self, number: u64) -> Presence {
        let found = self.keys.iter().find(|key| key.number == number);
        found.map_or(Presence::Missing, |key| key.now)
    }

    fn set_presence(&mut self, number: u64, now: Presence) {
        self.keys.retain(|key| key.number != number);
        self.keys.push(Key { number, now });
    }

    fn listed(&self, number: u64) -> Option<&Listed> {
        self.snapshots.iter().find(|one| one.number == number)
    }

    fn list(&mut self, number: u64, size: u64, now: Presence, after_cut: Presence) {
        let model = self.model.sized(size);
        self.snapshots.push(Listed { now, after_cut, ..Listed::durable(number, model) });
    }

    fn unlist(&mut self, number: u64, now: Presence) {
        for one in self.snapshots.iter_mut().filter(|one| one.number == number) {
            one.now = now;
            one.after_cut = Presence::Maybe;
        }
    }

    /// The disk has become what a snapshot holds, size included, or may have.
    fn apply(&mut self, number: u64, done: bool) {
        let Some(model) = self.listed(number).map(|one| one.model.clone()) else { return };
        self.enlarge(model.size());
        if done {
            self.model.replace(&model);
            self.sizes = vec![model.size()];
        } else {
            self.model.attempt_replace(&model);
            add(&mut self.sizes, model.size());
        }
    }

    /// An image of `size` bytes that reads as `model` was committed into this one, or may have been. What
    /// lies past its end stays.
    fn committed(&mut self, model: &DiskModel, size: u64, done: bool) {
        let old = self.sizes[0];
        let new = old.max(size);
        self.enlarge(new);
        self.model.cover(model, size, done);
        if done {
            self.model.flush();
            self.sizes = vec![new];
            self.sizes_after_cut = vec![new];
        } else {
            add(&mut self.sizes, new);
        }
    }

    fn grow(&mut self, old: u64, size: u64) {
        // Also after a shrink that failed when the size had changed.
        self.model.shrink(old);
        let least = self.sizes.iter().chain(&self.sizes_after_cut).min();
        self.model.reveal(least.copied().unwrap_or(0));
        self.enlarge(size);
    }

    /// The disk may get this size.
    fn enlarge(&mut self, size: u64) {
        if size > self.model.size() {
            self.model.grow(size);
        }
        add(&mut self.sizes_after_cut, size);
    }
}

fn add<T: PartialEq>(known: &mut Vec<T>, one: T) {
    if !known.contains(&one) {
        known.push(one);
    }
}

/// What write number `id` puts at a place.
pub(crate) fn bytes(id: u64, at: u64, len: u64) -> Vec<u8> {
    Pattern::new(id).bytes(at, usize::try_from(len).expect("a write fits in memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_is_owed_only_after_a_flush() {
        let mut moment = Moment::durable(DiskModel::new(1024));
        moment.done(Op::Grow { by: 512 }, 1, 1024);
        assert_eq!(moment.sizes, [1536]);
        assert_eq!(moment.sizes_after_cut, [1024, 1536]);
        moment.done(Op::Flush, 2, 1536);
        assert_eq!(moment.sizes_after_cut, [1536]);
    }
}
