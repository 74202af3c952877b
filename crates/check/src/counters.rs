//! References per host cluster, sparse.

use std::collections::HashMap;

use crate::error::CheckError;

/// Clusters of one chunk.
pub(crate) const CHUNK: u64 = 4096;
const CHUNK_LEN: usize = 4096;

/// The cluster was named by an entry of the active tables with COPIED.
pub(crate) const COPIED: u8 = 0x80;
/// The cluster was named by an entry of the active tables without COPIED.
pub(crate) const NOT_COPIED: u8 = 0x40;
const FLAGS: u8 = COPIED | NOT_COPIED;
/// The largest count beside the flags in a byte.
const NARROW_MAX: u64 = 0x3f;
const WIDE_SHIFT: u32 = 8;

/// What the counters and everything else of unknown size may take.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: u64,
}

impl Budget {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, used: 0 }
    }

    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) const fn charge(&mut self, bytes: u64) -> Result<(), CheckError> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit {
            return Err(CheckError::MemoryLimit { limit: self.limit });
        }
        Ok(())
    }
}

/// Counts and flags of 4096 neighbouring clusters.
#[derive(Debug)]
pub(crate) enum Chunk {
    /// The count in the lower six bits of a byte, the flags above.
    Narrow(Box<[u8; CHUNK_LEN]>),
    /// The count above eight bits with the flags.
    Wide(Box<[u64; CHUNK_LEN]>),
}

impl Chunk {
    /// Count and flags of a cluster by its place in the chunk.
    pub(crate) fn get(&self, place: usize) -> (u64, u8) {
        match self {
            Self::Narrow(cells) => {
                let cell = cells.get(place).copied().unwrap_or(0);
                (u64::from(cell & !FLAGS), cell & FLAGS)
            }
            Self::Wide(cells) => {
                let cell = cells.get(place).copied().unwrap_or(0);
                let [.., flags] = cell.to_be_bytes();
                (cell >> WIDE_SHIFT, flags)
            }
        }
    }

    fn set(&mut self, place: usize, count: u64, flags: u8) {
        match self {
            Self::Narrow(cells) => {
                if let Some(cell) = cells.get_mut(place) {
                    *cell = u8::try_from(count).expect("widened before it is too large") | flags;
                }
            }
            Self::Wide(cells) => {
                if let Some(cell) = cells.get_mut(place) {
                    *cell = count << WIDE_SHIFT | u64::from(flags);
                }
            }
        }
    }

    fn widened(&self) -> Self {
        let mut wide = Self::Wide(Box::new([0; CHUNK_LEN]));
        for place in 0..CHUNK_LEN {
            let (count, flags) = self.get(place);
            wide.set(place, count, flags);
        }
        wide
    }
}

/// References per host cluster.
///
/// Chunks exist for what was touched only. The chunk of the last access is found without a search.
#[derive(Debug)]
pub(crate) struct Counters {
    chunks: Vec<Chunk>,
    places: HashMap<u64, usize>,
    last: (u64, usize),
    /// The largest count that a refcount can have.
    max: u64,
}

impl Counters {
    pub(crate) fn new(max: u64) -> Self {
        // A count fits in 56 bits: no walk is that long.
        let max = max.min(u64::MAX >> WIDE_SHIFT);
        Self { chunks: Vec::new(), places: HashMap::new(), last: (u64::MAX, 0), max }
    }

    /// The chunk with this number, if anything in it was touched.
    pub(crate) fn chunk(&self, number: u64) -> Option<&Chunk> {
        let place = if number == self.last.0 { self.last.1 } else { *self.places.get(&number)? };
        self.chunks.get(place)
    }

    /// Numbers of the chunks that exist, in no order.
    pub(crate) fn chunk_numbers(&self) -> impl Iterator<Item = u64> {
        self.places.keys().copied()
    }

    /// The references to a cluster.
    pub(crate) fn count(&self, cluster: u64) -> u64 {
        self.chunk(cluster / CHUNK).map_or(0, |chunk| chunk.get(place_of(cluster)).0)
    }

    /// Makes the count of a cluster smaller.
    pub(crate) fn lower(&mut self, cluster: u64, count: u64) {
        let Some(index) = self.places.get(&(cluster / CHUNK)) else { return };
        if let Some(chunk) = self.chunks.get_mut(*index) {
            let (old, flags) = chunk.get(place_of(cluster));
            chunk.set(place_of(cluster), count.min(old), flags);
        }
    }

    /// Adds `weight` references with `flags` to each of `clusters` clusters from `first` on, and
    /// calls `overflow` with the cluster for each reference past the largest refcount.
    pub(crate) fn add_run(
        &mut self,
        budget: &mut Budget,
        first: u64,
        clusters: u64,
        weight: u64,
        flags: u8,
        mut overflow: impl FnMut(u64, u64),
    ) -> Result<(), CheckError> {
        let end = first + clusters;
        let mut at = first;
        while at < end {
            let number = at / CHUNK;
            let stop = end.min((number + 1) * CHUNK);
            let index = self.chunk_index(budget, number)?;
            let (max, chunks) = (self.max, &mut self.chunks);
            let chunk = chunks.get_mut(index).expect("the index was just found");
            let last = place_of(stop - 1);
            if let Chunk::Narrow(cells) = chunk
                && weight == 1
                && let Some(cells) = cells.get_mut(place_of(at)..=last)
                && cells.iter().all(|cell| *cell == 0)
            {
                cells.fill(1 | flags);
                at = stop;
                continue;
            }
            for cluster in at..stop {
                let place = place_of(cluster);
                let (count, old_flags) = chunk.get(place);
                let total = count.saturating_add(weight);
                if total > max {
                    overflow(cluster, total - max);
                }
                let total = total.min(max);
                if total > NARROW_MAX && matches!(chunk, Chunk::Narrow(_)) {
                    budget.charge(CHUNK * 8)?;
                    *chunk = chunk.widened();
                }
                chunk.set(place, total, old_flags | flags);
            }
            at = stop;
        }
        Ok(())
    }

    fn chunk_index(&mut self, budget: &mut Budget, number: u64) -> Result<usize, CheckError> {
        if number == self.last.0 {
            return Ok(self.last.1);
        }
        let index = match self.places.get(&number) {
            Some(index) => *index,
            None => {
                // The cells, and their share of the index with room for its growth.
                budget.charge(CHUNK + 96)?;
                self.chunks.push(Chunk::Narrow(Box::new([0; CHUNK_LEN])));
                let index = self.chunks.len() - 1;
                self.places.insert(number, index);
                index
            }
        };
        self.last = (number, index);
        Ok(index)
    }
}

/// The place of a cluster in its chunk.
fn place_of(cluster: u64) -> usize {
    usize::try_from(cluster % CHUNK).expect("below 4096")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Against a map of numbers, with runs over chunk borders and counts past a byte.
    #[test]
    fn counters_follow_a_map() {
        for max in [1, 3, 255, u64::MAX] {
            let (mut counters, mut budget) = (Counters::new(max), Budget::new(1 << 30));
            let mut model: BTreeMap<u64, (u64, u8)> = BTreeMap::new();
            let mut lost = 0;
            let mut state = 0x1234_5678_u64;
            for round in 0..400_u64 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let first = (state >> 33) % 3 * (1 << 40) + (state >> 40) % 9000;
                let clusters = (state >> 20) % 5000;
                let weight = if round % 5 == 0 { round } else { 1 };
                let flags = [0, COPIED, NOT_COPIED][(state >> 8) as usize % 3];
                let mut past = 0;
                counters
                    .add_run(&mut budget, first, clusters, weight, flags, |_, n| past += n)
                    .expect("within the budget");
                for cluster in first..first + clusters {
                    let cell = model.entry(cluster).or_default();
                    let total = cell.0 + weight;
                    lost += total.saturating_sub(max);
                    *cell = (total.min(max), cell.1 | flags);
                }
                lost -= past;
            }
            assert_eq!(lost, 0);
            for (cluster, cell) in &model {
                let chunk = counters.chunk(cluster / CHUNK).expect("touched");
                assert_eq!(chunk.get(place_of(*cluster)), *cell, "{cluster}");
                assert_eq!(counters.count(*cluster), cell.0);
            }
            assert_eq!(counters.count(1 << 50), 0);
        }
    }

    #[test]
    fn the_budget_is_kept() {
        let (mut counters, mut budget) = (Counters::new(1), Budget::new(100 * CHUNK));
        let answer = counters.add_run(&mut budget, 0, 1 << 50, 1, 0, |_, _| {});
        assert!(matches!(answer, Err(CheckError::MemoryLimit { .. })));
        assert!(counters.chunks.len() <= 100);
    }
}
