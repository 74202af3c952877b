//! Which clusters hold metadata, and of which kind.
//!
//! A lookup is three dependent loads and takes no lock: the set is a tree of arrays that are made
//! once and never moved. It holds memory for the neighbourhoods of metadata clusters only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use holstein_units::HostCluster;

use crate::{Region, RegionMask};

/// Clusters in a leaf.
const LEAF: u64 = 1 << 10;
/// Leaves in a branch.
const BRANCH: u64 = 1 << 10;
/// Branches in the array; clusters past `LEAF * BRANCH * TOP` go to the map.
const TOP: u64 = 1 << 8;

type Leaf = [AtomicU16];
type Branch = [OnceLock<Box<Leaf>>];

/// The kinds of metadata by host cluster.
#[derive(Debug)]
pub struct RegionSet {
    near: Box<[OnceLock<Box<Branch>>]>,
    far: RwLock<HashMap<u64, Arc<Leaf>>>,
}

fn slots<T>(n: u64) -> Box<[OnceLock<T>]> {
    (0..n).map(|_| OnceLock::new()).collect()
}

fn leaf() -> Box<Leaf> {
    (0..LEAF).map(|_| AtomicU16::new(0)).collect()
}

/// Turns an index below 2^20 into a `usize`.
fn index(n: u64) -> usize {
    usize::try_from(n).expect("indices within the arrays of the set fit in 32 bits")
}

impl RegionSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self { near: slots(TOP), far: RwLock::new(HashMap::new()) }
    }

    fn with_leaf<R>(&self, number: u64, f: impl FnOnce(&Leaf) -> R) -> Option<R> {
        match self.near.get(index((number / BRANCH).min(TOP))) {
            Some(branch) => {
                let leaf = branch.get()?[index(number % BRANCH)].get()?;
                Some(f(leaf))
            }
            None => {
                let far = self.far.read().expect("no holder of this lock panics");
                far.get(&number).map(|leaf| f(leaf))
            }
        }
    }

    fn with_new_leaf<R>(&self, number: u64, f: impl FnOnce(&Leaf) -> R) -> R {
        match self.near.get(index((number / BRANCH).min(TOP))) {
            Some(branch) => {
                let branch = branch.get_or_init(|| slots(BRANCH));
                f(branch[index(number % BRANCH)].get_or_init(leaf))
            }
            None => {
                let mut far = self.far.write().expect("no holder of this lock panics");
                f(far.entry(number).or_insert_with(|| leaf().into()))
            }
        }
    }

    /// Notes that `count` clusters from `first` hold `region`.
    pub fn insert(&self, region: Region, first: HostCluster, count: u64) {
        for cluster in first.get()..first.get().saturating_add(count) {
            self.with_new_leaf(cluster / LEAF, |leaf| {
                leaf[index(cluster % LEAF)].fetch_or(region.mask().bits(), Ordering::Release);
            });
        }
    }

    /// Forgets that `count` clusters from `first` hold `region`.
    pub fn remove(&self, region: Region, first: HostCluster, count: u64) {
        for cluster in first.get()..first.get().saturating_add(count) {
            self.with_leaf(cluster / LEAF, |leaf| {
                leaf[index(cluster % LEAF)].fetch_and(!region.mask().bits(), Ordering::Release);
            });
        }
    }

    /// The kinds that `count` clusters from `first` hold, taken together.
    #[must_use]
    pub fn lookup(&self, first: HostCluster, count: u64) -> RegionMask {
        let mut bits = 0;
        let mut at = first.get();
        let end = at.saturating_add(count);
        while at < end {
            let stop = (at / LEAF + 1).saturating_mul(LEAF).min(end);
            self.with_leaf(at / LEAF, |leaf| {
                let from = index(at % LEAF);
                for kinds in &leaf[from..from + index(stop - at)] {
                    bits |= kinds.load(Ordering::Acquire);
                }
            });
            at = stop;
        }
        RegionMask::from_bits(bits)
    }
}

impl Default for RegionSet {
    fn default() -> Self {
        Self::new()
    }
}
