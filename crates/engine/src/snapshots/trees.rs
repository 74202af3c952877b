//! References of whole trees, judged, added and dropped, in as many windows as memory needs.

use holstein_cache::RunGuard;
use holstein_mapping::Tree;
use holstein_refcount::{Adjust, ClusterRuns, Freed, References, Tally};
use holstein_units::HostCluster;

use super::steps::Steps;
use crate::EngineError;
use crate::disk::Disk;

/// What is to gain or lose a reference: a tree, and clusters beside it.
pub(super) struct Bundle<'a> {
    tree: &'a Tree,
    /// The first cluster and how many.
    beside: Vec<(HostCluster, u64)>,
    /// All references, where they fit in memory at once.
    counted: Option<References>,
}

impl<'a> Bundle<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        Self { tree, beside: Vec::new(), counted: None }
    }

    /// With `count` clusters from `first` on, which are no part of the tree.
    pub(super) fn with(mut self, first: HostCluster, count: u64) -> Self {
        if count > 0 {
            self.beside.push((first, count));
        }
        self
    }
}

impl Disk {
    /// Finds out whether references can be added or dropped. Writes nothing.
    pub(super) fn judge(
        &self,
        bundle: &mut Bundle<'_>,
        adjust: Adjust,
        steps: &mut Steps<'_>,
    ) -> Result<(), EngineError> {
        let mut from = HostCluster::new(0);
        loop {
            let counted = self.count(bundle, from, steps)?;
            self.refcounts.judge(&counted, adjust).map_err(holstein_mapping::MapError::from)?;
            match counted.rest() {
                Some(rest) => from = rest,
                None => {
                    bundle.counted = (from.get() == 0).then_some(counted);
                    return Ok(());
                }
            }
        }
    }

    /// Adds a reference to all of a bundle. After an error as few as possible were added.
    pub(super) fn raise(
        &self,
        run: &RunGuard<'_>,
        bundle: &Bundle<'_>,
        steps: &mut Steps<'_>,
    ) -> Result<(), EngineError> {
        let mut done = HostCluster::new(0);
        let result = self.each_window(bundle, steps, &mut |counted| {
            self.refcounts.raise(run, counted).map_err(holstein_mapping::MapError::from)?;
            done = counted.rest().unwrap_or(done);
            Ok(())
        });
        if result.is_err() && done.get() > 0 {
            // The error is what matters; counts that stay too high are leaks.
            let _ = self.each_window(bundle, steps, &mut |counted| {
                self.refcounts.lower(run, &counted.below(done), Freed::Snapshot);
                Ok(())
            });
        }
        result
    }

    /// Drops a reference to all of a bundle; `sole` gets the clusters that have one left, window by
    /// window. Goes on after an error, and tells of the first.
    pub(super) fn lower(
        &self,
        run: &RunGuard<'_>,
        bundle: &Bundle<'_>,
        steps: &mut Steps<'_>,
        sole: &mut dyn FnMut(&ClusterRuns) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut first = None;
        let ended = self.each_window(bundle, steps, &mut |counted| {
            let lowered = self.refcounts.lower(run, counted, Freed::Snapshot);
            if let Some(error) = lowered.failed {
                first.get_or_insert(holstein_mapping::MapError::from(error).into());
            }
            if let Err(error) = sole(&lowered.sole) {
                first.get_or_insert(error);
            }
            Ok(())
        });
        match first {
            Some(error) => Err(error),
            None => ended,
        }
    }

    /// Lowers the counts of a bundle, and then sets COPIED on what is the disk's alone. All is durable
    /// when this returns.
    pub(super) fn let_go(
        &self,
        run: &RunGuard<'_>,
        bundle: &Bundle<'_>,
        steps: &mut Steps<'_>,
    ) -> Result<(), EngineError> {
        let lowered = self.lower(run, bundle, steps, &mut |sole| {
            run.file().barrier()?;
            let set = self.mapping.set_copied(run, sole);
            if set.is_err() {
                // A flag that is missing costs a copy later, and a check complains: try once more.
                let _ = self.mapping.set_copied(run, sole);
            }
            Ok(set?)
        });
        run.file().barrier()?;
        lowered
    }

    /// Calls `f` with the references of a bundle, window by window.
    fn each_window(
        &self,
        bundle: &Bundle<'_>,
        steps: &mut Steps<'_>,
        f: &mut dyn FnMut(&References) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        if let Some(all) = &bundle.counted {
            return f(all);
        }
        let mut from = HostCluster::new(0);
        loop {
            let counted = self.count(bundle, from, steps)?;
            f(&counted)?;
            match counted.rest() {
                Some(rest) => from = rest,
                None => return Ok(()),
            }
        }
    }

    fn count(
        &self,
        bundle: &Bundle<'_>,
        from: HostCluster,
        steps: &mut Steps<'_>,
    ) -> Result<References, EngineError> {
        let mut tally = Tally::from(from);
        for (first, count) in &bundle.beside {
            tally.add(*first, *count);
        }
        self.mapping.count_tree(bundle.tree, &mut tally, &mut |tables| steps.step(tables))?;
        Ok(tally.finish())
    }
}
