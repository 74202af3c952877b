//! Counts of very many clusters changed at once, block by block through the file.
//!
//! For operations that own the image: nothing is dirty, no request is in flight, and the caller is
//! in a run of its own. Each block is read, changed and written once, in the order of the file; what
//! memory knew of it is forgotten.

use holstein_cache::RunGuard;
use holstein_guard::{Intent, Region};
use holstein_units::{HostCluster, HostOffset, HostRange, SECTOR};

use crate::refcounts::Inner;
use crate::{Freed, RefcountError, Refcounts, References};

/// Which way counts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjust {
    /// Each cluster gains the references that were counted.
    Raise,
    /// Each cluster loses them.
    Lower,
}

/// Runs of clusters, in ascending order: the first, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterRuns(Vec<(u64, u64)>);

impl ClusterRuns {
    fn push(&mut self, cluster: u64) {
        match self.0.last_mut() {
            Some((first, count)) if *first + *count == cluster => *count += 1,
            _ => self.0.push((cluster, 1)),
        }
    }

    /// Whether the cluster is in one of the runs.
    #[must_use]
    pub fn contains(&self, cluster: HostCluster) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= cluster.get());
        after
            .checked_sub(1)
            .and_then(|n| self.0.get(n))
            .is_some_and(|(first, count)| cluster.get() - first < *count)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Refcounts {
    /// Finds out whether [`Self::raise`] or [`Self::lower`] can do what it is asked. Writes nothing.
    ///
    /// # Errors
    /// [`RefcountError::Overflow`] where a count would exceed what its width holds;
    /// [`RefcountError::Underflow`] where one is lower than the references that are known.
    pub fn judge(&self, counted: &References, adjust: Adjust) -> Result<(), RefcountError> {
        self.0.load_table()?;
        let order = self.0.order;
        self.0.each_block(counted, Err, |_, bytes, clusters| {
            for (cluster, slot, times) in clusters {
                let count = order.read(bytes, slot);
                match adjust {
                    Adjust::Raise if count == 0 => {
                        return Err(RefcountError::Uncounted { cluster });
                    }
                    Adjust::Raise if order.max() - count < times => {
                        return Err(RefcountError::Overflow { cluster, max: order.max() });
                    }
                    Adjust::Lower if count < times => {
                        return Err(RefcountError::Underflow { cluster });
                    }
                    _ => {}
                }
            }
            Ok(())
        })
    }

    /// Adds the references that were counted. The blocks are written, and durable after the next
    /// barrier.
    ///
    /// # Errors
    /// I/O. What was added until then is dropped again, as well as that is possible.
    pub fn raise(&self, run: &RunGuard<'_>, counted: &References) -> Result<(), RefcountError> {
        self.0.load_table()?;
        let mut done = 0;
        let result = self.0.change_blocks(run, counted, Adjust::Raise, &mut done, |_, _| {}, Err);
        if result.is_err() {
            // The first error is the one to report; counts that are too high are leaks.
            let below = counted.below(HostCluster::new(done));
            let ignore = |_| Ok(());
            let _ = self.0.change_blocks(run, &below, Adjust::Lower, &mut 0, |_, _| {}, ignore);
        }
        result
    }

    /// Drops the references that were counted. The blocks are written, and durable after the next
    /// barrier.
    ///
    /// Clusters that reach 0 are free at once, and passed to the host if the policy says so: that
    /// nothing refers to them must be durable before the call, and no request may be in flight.
    ///
    /// A block that cannot be read or written stays as it is, which is a leak, and the others are
    /// changed all the same.
    pub fn lower(&self, run: &RunGuard<'_>, counted: &References, freed: Freed) -> Lowered {
        let mut lowered = Lowered::default();
        if let Err(error) = self.0.load_table() {
            lowered.failed = Some(error);
            return lowered;
        }
        let mut free = ClusterRuns::default();
        let sole = &mut lowered.sole;
        let failed = &mut lowered.failed;
        let seen = |cluster, count| match count {
            0 => free.push(cluster),
            1 => sole.push(cluster),
            _ => {}
        };
        let note = |error| {
            failed.get_or_insert(error);
            Ok(())
        };
        let ended = self.0.change_blocks(run, counted, Adjust::Lower, &mut 0, seen, note);
        debug_assert!(ended.is_ok(), "errors are noted");
        self.0.release_runs(&free, freed);
        lowered
    }
}

/// What [`Refcounts::lower`] did.
#[derive(Debug, Default)]
pub struct Lowered {
    /// Clusters that have one reference left.
    pub sole: ClusterRuns,
    /// The first thing that went wrong.
    pub failed: Option<RefcountError>,
}

impl Inner {
    /// Changes the blocks. A block that could not be written is put back; `done` becomes the first
    /// cluster past the blocks that were written.
    fn change_blocks(
        &self,
        run: &RunGuard<'_>,
        counted: &References,
        adjust: Adjust,
        done: &mut u64,
        mut seen: impl FnMut(u64, u64),
        failed: impl FnMut(RefcountError) -> Result<(), RefcountError>,
    ) -> Result<(), RefcountError> {
        let (order, bits) = (self.order, self.block_bits());
        let mut changed = Vec::new();
        self.each_block(counted, failed, |at, bytes, clusters| {
            let before = bytes.to_vec();
            let mut dirty: Option<(u64, u64)> = None;
            let mut end = 0;
            changed.clear();
            for (cluster, slot, times) in clusters {
                let count = order.read(bytes, slot);
                let new = match adjust {
                    Adjust::Raise => count.saturating_add(times).min(order.max()),
                    Adjust::Lower => count.saturating_sub(times),
                };
                order.write(bytes, slot, new);
                let byte = slot * u64::from(order.bits()) / 8;
                dirty = Some(dirty.map_or((byte, byte), |(first, _)| (first, byte)));
                changed.push((cluster.get(), new));
                end = (cluster.get() >> bits) + 1;
            }
            let Some((first, last)) = dirty else { return Ok(()) };
            let from = first / SECTOR * SECTOR;
            let to = ((last / SECTOR + 1) * SECTOR).min(bytes.len() as u64);
            let part = |bytes: &[u8]| {
                let index = |n| usize::try_from(n).expect("within a cluster");
                bytes.get(index(from)..index(to)).unwrap_or_default().to_vec()
            };
            let intent = Intent::Metadata(Region::RefcountBlock);
            let written = run.file().replace(intent, at + from, &part(&before), &part(bytes));
            self.cache.retire(at);
            written?;
            for (cluster, count) in changed.drain(..) {
                seen(cluster, count);
            }
            *done = end << bits;
            Ok(())
        })
    }

    /// Calls `f` with each block that has counters of clusters with references: where it is, its
    /// bytes, and cluster, slot and references of each such counter. Whether it goes on after an error,
    /// `failed` says.
    fn each_block(
        &self,
        counted: &References,
        mut failed: impl FnMut(RefcountError) -> Result<(), RefcountError>,
        mut f: impl FnMut(
            HostOffset,
            &mut [u8],
            &mut dyn Iterator<Item = (HostCluster, u64, u64)>,
        ) -> Result<(), RefcountError>,
    ) -> Result<(), RefcountError> {
        let bits = self.block_bits();
        let len = usize::try_from(self.geometry.cluster_size()).expect("at most 2 MiB");
        let mut bytes = vec![0; len];
        let mut runs = counted.runs().peekable();
        let mut started: Option<HostCluster> = None;
        while let Some(run) = runs.peek().copied() {
            let first = started.unwrap_or(run.first);
            let index = first.get() >> bits;
            let end = (index + 1) << bits;
            let mut parts = Vec::new();
            while let Some(run) = runs.peek().copied() {
                let from = started.take().unwrap_or(run.first).get();
                let run_end = run.first.get() + run.count;
                if from >= end {
                    break;
                }
                parts.push((from, run_end.min(end), run.times));
                if run_end > end {
                    started = Some(HostCluster::new(end));
                    break;
                }
                runs.next();
            }
            let mut clusters = parts.iter().flat_map(|(from, to, times)| {
                (*from..*to).map(|n| (HostCluster::new(n), n & ((1 << bits) - 1), *times))
            });
            let result = self.block_at(index).and_then(|block| {
                let block = block.ok_or(RefcountError::Underflow { cluster: first })?;
                self.file.read(block, &mut bytes)?;
                f(block, &mut bytes, &mut clusters)
            });
            if let Err(error) = result {
                failed(error)?;
            }
        }
        Ok(())
    }

    /// Clusters whose count is 0 now are free.
    fn release_runs(&self, free: &ClusterRuns, freed: Freed) {
        if self.policy.passes(freed) {
            for (first, count) in &free.0 {
                let start = self.geometry.host_offset(HostCluster::new(*first));
                self.file.discard(HostRange { start, len: count * self.geometry.cluster_size() });
            }
        }
        let mut state = self.lock();
        for (first, count) in &free.0 {
            state.freed(self.geometry, *first, *count);
        }
    }
}
