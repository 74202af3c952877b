//! Enumerates the files that a power cut can leave behind.
//!
//! Changes between two completed barriers arrive in any combination. A combination whose last change
//! is number `n` can be left by a cut at any moment from then until the next barrier is complete, so
//! each is visited once, with both ends of that span, instead of once for every cut.
//!
//! A barrier is one of its file alone: what was written to other files before it stays open, and is
//! combined with what comes after it.

use std::collections::HashSet;

use crate::chunk::{CHUNK, Chunk, place};
use crate::{Choice, CrashLog, CrashState, DiskImage, Entry, Rng, Torn};
use std::sync::Arc;

/// The size of what is written as a whole or not at all.
const SECTOR: u64 = holstein_units::SECTOR;

/// Which changes arrive in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tearing {
    /// None.
    Never,
    /// Each combination also with its last change torn.
    Last,
    /// Each combination also with each of its changes torn in turn; of sampled combinations the last
    /// one and a random one.
    #[default]
    Every,
}

/// How many of the combinations to visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleOptions {
    /// The seed of the samples.
    pub seed: u64,
    /// All combinations of up to so many changes since the last barrier are visited (at most 20);
    /// with more, those of the first so many, and samples.
    pub max_exhaustive: usize,
    /// Random combinations beyond that, at each cut. Beyond it there are always: all, all but one,
    /// and one alone.
    pub samples: usize,
    /// Which changes arrive in part, at the first, a middle and the last border of 512 bytes.
    pub tearing: Tearing,
    /// Each combination also with the file grown for a change whose bytes did not arrive.
    pub growth: bool,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self { seed: 1, max_exhaustive: 8, samples: 16, tearing: Tearing::Every, growth: true }
    }
}

/// What an enumeration visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// States visited.
    pub states: u64,
    /// States left out because an equal one was visited between the same two barriers.
    pub equal: u64,
}

impl CrashLog {
    /// Visits the files that a power cut can leave behind, until `visit` fails.
    ///
    /// Files that are equal between the same two barriers are visited once. Those equal across
    /// barriers are not: other promises apply to them.
    ///
    /// # Errors
    /// What `visit` returned.
    pub fn for_each_state<E>(
        &self,
        options: &SampleOptions,
        visit: &mut dyn FnMut(&CrashState) -> Result<(), E>,
    ) -> Result<Counts, E> {
        let mut counts = Counts::default();
        let mut bases = self.initial_files().to_vec();
        bases.iter_mut().for_each(DiskImage::rebase);
        let mut changes: Vec<Change<'_>> = Vec::new();
        let mut rng = Rng::new(options.seed);
        let mut flushed = 0;
        loop {
            let rest = &self.entries()[flushed..];
            let barrier = rest.iter().position(|entry| *entry == Entry::Flush);
            let until = barrier.map_or(self.entries().len(), |n| flushed + n);
            let new = (flushed..).zip(&self.entries()[flushed..until]);
            let new = new.filter(|(_, entry)| entry.is_change());
            changes.extend(new.map(|(n, entry)| Change::new(n, self.file_of(n), entry)));
            let mut window = Window {
                bases: &bases,
                changes: &changes,
                flushed,
                until,
                mark: self.last_mark_before(until),
                flushed_mark: self.last_mark_before(flushed),
                options,
                seen: HashSet::new(),
                counts: &mut counts,
                visit,
            };
            window.explore(&mut rng)?;
            if barrier.is_none() {
                return Ok(counts);
            }
            let file = self.file_of(until);
            for change in changes.extract_if(.., |change| change.file == file) {
                change.apply(&mut bases[file]);
            }
            bases[file].rebase();
            flushed = until + 1;
        }
    }
}

/// The changes that are open between two completed barriers.
struct Window<'a, E> {
    bases: &'a [DiskImage],
    changes: &'a [Change<'a>],
    flushed: usize,
    until: usize,
    mark: Option<u64>,
    flushed_mark: Option<u64>,
    options: &'a SampleOptions,
    seen: HashSet<u128>,
    counts: &'a mut Counts,
    visit: &'a mut dyn FnMut(&CrashState) -> Result<(), E>,
}

impl<E> Window<'_, E> {
    fn explore(&mut self, rng: &mut Rng) -> Result<(), E> {
        let all = self.changes.len();
        let exhaustive = all.min(self.options.max_exhaustive).min(20);
        for mask in 0..1_u32 << exhaustive {
            let picked = (0..exhaustive).filter(|n| mask & (1 << n) != 0).collect::<Vec<_>>();
            self.combination(&picked, self.torn_of(&picked))?;
        }
        for last in exhaustive..all {
            self.sample(&(0..=last).collect::<Vec<_>>(), rng)?;
            self.sample(&[last], rng)?;
            for missing in 0..last {
                let picked = (0..=last).filter(|&n| n != missing).collect::<Vec<_>>();
                self.sample(&picked, rng)?;
            }
            for _ in 0..self.options.samples {
                let picked = (0..=last).filter(|&n| n == last || rng.coin()).collect::<Vec<_>>();
                self.sample(&picked, rng)?;
            }
        }
        Ok(())
    }

    /// Which of `picked` are torn in turn.
    fn torn_of<'p>(&self, picked: &'p [usize]) -> &'p [usize] {
        match self.options.tearing {
            Tearing::Never => &[],
            Tearing::Last => &picked[picked.len().saturating_sub(1)..],
            Tearing::Every => picked,
        }
    }

    /// Visits one of too many combinations, with fewer variants.
    fn sample(&mut self, picked: &[usize], rng: &mut Rng) -> Result<(), E> {
        let (Tearing::Every, [others @ .., last]) = (self.options.tearing, picked) else {
            return self.combination(picked, self.torn_of(picked));
        };
        let random = usize::try_from(rng.below(others.len() as u64)).expect("an index");
        match others.get(random) {
            Some(other) => self.combination(picked, &[*other, *last]),
            None => self.combination(picked, &[*last]),
        }
    }

    /// Visits what is left if of the changes exactly `picked` arrive, and its variants, among them
    /// those with each of `torn` torn.
    fn combination(&mut self, picked: &[usize], torn: &[usize]) -> Result<(), E> {
        let mut images = self.bases.to_vec();
        for &n in picked {
            self.changes[n].apply(&mut images[self.changes[n].file]);
        }
        self.state(images.clone(), picked, None, None)?;
        let files = if self.options.growth { images.len() } else { 0 };
        for file in 0..files {
            if let Some(len) = self.lost_growth(file, picked, images[file].len()) {
                let mut images = images.clone();
                images[file].grow(len);
                self.state(images, picked, None, Some(len))?;
            }
        }
        for &n in torn {
            for bytes in self.changes[n].borders() {
                let mut images = self.bases.to_vec();
                for &m in picked {
                    let most = if m == n { bytes } else { u64::MAX };
                    self.changes[m].apply_part(&mut images[self.changes[m].file], most);
                }
                let torn = Torn { entry: self.changes[n].number, bytes };
                self.state(images, picked, Some(torn), None)?;
            }
        }
        Ok(())
    }

    /// The length that a lost change could have grown a file to, where that shows. Of changes after
    /// the last picked one, only the next is considered.
    fn lost_growth(&self, file: usize, picked: &[usize], len: u64) -> Option<u64> {
        let end = picked.last().map_or(1, |last| last + 2).min(self.changes.len());
        let here = |n: &usize| self.changes[*n].file == file;
        let is_cut = |n: &usize| here(n) && matches!(self.changes[*n].entry, Entry::SetLen(_));
        let start = picked.iter().rev().copied().find(is_cut).map_or(0, |n| n + 1);
        (start..end)
            .filter(|n| here(n) && picked.binary_search(n).is_err())
            .filter_map(|n| self.changes[n].entry.grows_to())
            .max()
            .filter(|&grown| grown > len)
    }

    fn state(
        &mut self,
        mut images: Vec<DiskImage>,
        picked: &[usize],
        torn: Option<Torn>,
        grown: Option<u64>,
    ) -> Result<(), E> {
        let hash = hash_of(&mut images);
        if !self.seen.insert(hash) {
            self.counts.equal += 1;
            return Ok(());
        }
        self.counts.states += 1;
        let last = picked.last().map_or(0, |last| last + 1);
        let first_cut = |n: usize| self.changes[n].number + 1;
        let number = |n: &usize| self.changes[*n].number;
        let image = images.remove(0);
        let state = CrashState {
            image,
            beside: images,
            hash,
            cut: last.checked_sub(1).map_or(0, first_cut).max(self.flushed),
            until: self.until,
            flushed: self.flushed,
            mark: self.mark,
            flushed_mark: self.flushed_mark,
            choice: Choice {
                present: picked.iter().map(number).collect(),
                missing: (0..last)
                    .filter(|n| picked.binary_search(n).is_err())
                    .map(|n| number(&n))
                    .collect(),
                torn,
                grown,
            },
        };
        (self.visit)(&state)
    }
}

/// The hash of several files; that of the file for one.
fn hash_of(images: &mut [DiskImage]) -> u128 {
    (0..).zip(images).fold(0, |hash, (n, image)| hash ^ image.content_hash().rotate_left(8 * n))
}

/// A change with the chunks that it writes as a whole hashed once.
struct Change<'a> {
    number: usize,
    file: usize,
    entry: &'a Entry,
    whole: Vec<(u64, Option<Arc<Chunk>>)>,
}

impl<'a> Change<'a> {
    fn new(number: usize, file: usize, entry: &'a Entry) -> Self {
        let mut whole = Vec::new();
        if let Entry::Write { at, data } = entry {
            let (first, inside) = place(at.get());
            let (skip, first) = if inside == 0 { (0, first) } else { (CHUNK - inside, first + 1) };
            let (chunks, _) = data.get(skip..).unwrap_or(&[]).as_chunks::<CHUNK>();
            whole = (first..).zip(chunks).map(|(n, c)| (n, Chunk::new(n, Box::new(*c)))).collect();
        }
        Self { number, file, entry, whole }
    }

    fn apply(&self, image: &mut DiskImage) {
        self.apply_part(image, u64::MAX);
    }

    /// Of a change of bytes only the first `most` arrive.
    fn apply_part(&self, image: &mut DiskImage, most: u64) {
        let (Entry::Write { at, data }, Some((first, _))) = (self.entry, self.whole.first()) else {
            self.entry.apply(image, most);
            return;
        };
        let n = usize::try_from(most).map_or(data.len(), |n| n.min(data.len()));
        let from = first * CHUNK as u64;
        let head = usize::try_from(from - at.get()).expect("less than a chunk").min(n);
        let whole = &self.whole[..((n - head) / CHUNK).min(self.whole.len())];
        let tail = head + whole.len() * CHUNK;
        image.write(at.get(), &data[..head]);
        for (number, chunk) in whole {
            image.put(*number, chunk.clone());
        }
        image.grow(at.get() + tail as u64);
        image.write(at.get() + tail as u64, &data[tail..n]);
    }

    /// How many bytes arrive where it is torn at the first, a middle and the last border.
    fn borders(&self) -> impl Iterator<Item = u64> + use<> {
        let (at, len) = self.entry.bytes().unwrap_or((0, 0));
        let first = SECTOR - at % SECTOR;
        let middle = (at + len / 2) / SECTOR * SECTOR;
        let last = (at + len).saturating_sub(1) / SECTOR * SECTOR;
        let mut all = vec![first, middle.saturating_sub(at), last.saturating_sub(at)];
        all.retain(|&bytes| bytes > 0 && bytes < len);
        all.dedup();
        all.into_iter()
    }
}
