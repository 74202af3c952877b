//! Clusters that lost a reference which may still be on the disk, or in use by a reader.

use std::collections::VecDeque;

use holstein_units::{Epoch, HostCluster};

/// Why a reference was dropped: decides whether the host hears of it (format, "Discard").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    /// Replaced by a copy; the space will be used again soon.
    Replaced,
    /// The guest discarded it, or wrote zeros that may unmap.
    Request,
    /// A snapshot was deleted.
    Snapshot,
    /// A table moved.
    Other,
    /// The disk shrank, or an operation that had allocated it failed.
    Always,
}

/// Which kinds of freed clusters are passed to the host as discards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscardPolicy {
    /// `pass-discard-request`.
    pub request: bool,
    /// `pass-discard-snapshot`.
    pub snapshot: bool,
    /// `pass-discard-other`.
    pub other: bool,
}

impl Default for DiscardPolicy {
    fn default() -> Self {
        Self { request: false, snapshot: true, other: false }
    }
}

impl DiscardPolicy {
    /// Whether the host hears of a cluster freed for this reason.
    #[must_use]
    pub fn passes(self, freed: Freed) -> bool {
        match freed {
            Freed::Replaced => false,
            Freed::Request => self.request,
            Freed::Snapshot => self.snapshot,
            Freed::Other => self.other,
            Freed::Always => true,
        }
    }
}

/// A run of clusters that lost one reference each while run `epoch` was open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retired {
    pub(crate) epoch: Epoch,
    pub(crate) first: HostCluster,
    pub(crate) count: u64,
    pub(crate) freed: Freed,
}

/// First in, first out; epochs never fall from front to back.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    waiting: VecDeque<Retired>,
    clusters: u64,
}

impl Quarantine {
    pub(crate) fn push(&mut self, retired: Retired) {
        self.clusters += retired.count;
        if let Some(last) = self.waiting.back_mut()
            && last.epoch == retired.epoch
            && last.freed == retired.freed
            && last.first + last.count == retired.first
        {
            last.count += retired.count;
            return;
        }
        self.waiting.push_back(retired);
    }

    /// The next run of clusters whose release is durable with run `done` and that no pin below
    /// `oldest` can still reach.
    pub(crate) fn pop(&mut self, done: Epoch, oldest: Option<Epoch>) -> Option<Retired> {
        let front = self.waiting.front()?;
        if front.epoch > done || oldest.is_some_and(|pin| pin <= front.epoch) {
            return None;
        }
        let front = self.waiting.pop_front()?;
        self.clusters -= front.count;
        Some(front)
    }

    /// Puts back what could not be released now.
    pub(crate) fn put_back(&mut self, retired: Retired) {
        self.clusters += retired.count;
        self.waiting.push_front(retired);
    }

    /// How many clusters wait.
    pub(crate) fn clusters(&self) -> u64 {
        self.clusters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retired(epoch: u64, first: u64) -> Retired {
        Retired {
            epoch: Epoch::new(epoch),
            first: HostCluster::new(first),
            count: 1,
            freed: Freed::Replaced,
        }
    }

    #[test]
    fn clusters_leave_after_their_run_and_all_older_pins() {
        let mut q = Quarantine::default();
        q.push(retired(3, 10));
        q.push(retired(3, 11));
        q.push(retired(4, 20));
        assert!(q.pop(Epoch::new(2), None).is_none());
        assert!(q.pop(Epoch::new(3), Some(Epoch::new(3))).is_none());
        let first = q.pop(Epoch::new(3), Some(Epoch::new(4))).expect("run 3 is over");
        assert_eq!((first.first.get(), first.count), (10, 2));
        assert!(q.pop(Epoch::new(3), None).is_none());
        assert_eq!(q.clusters(), 1);
        assert!(q.pop(Epoch::new(9), None).is_some());
        assert_eq!(q.clusters(), 0);
    }

    #[test]
    fn each_reason_has_a_switch_of_its_own() {
        for bits in 0..8_u8 {
            let policy = DiscardPolicy {
                request: bits & 1 != 0,
                snapshot: bits & 2 != 0,
                other: bits & 4 != 0,
            };
            assert_eq!(policy.passes(Freed::Request), policy.request);
            assert_eq!(policy.passes(Freed::Snapshot), policy.snapshot);
            assert_eq!(policy.passes(Freed::Other), policy.other);
            assert!(policy.passes(Freed::Always) && !policy.passes(Freed::Replaced));
        }
    }
}
