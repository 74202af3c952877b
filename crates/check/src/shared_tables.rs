//! L2 tables that were walked, and how often they would have been walked again.

use std::collections::HashMap;

use crate::counters::Budget;
use crate::error::CheckError;

/// Clusters of one piece of the set.
const PIECE: u64 = 4096;

/// What a walk of an L2 table adds to the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WalkOutcome {
    pub(crate) corruptions: u64,
    pub(crate) allocated: u64,
    pub(crate) fragmented: u64,
    pub(crate) compressed: u64,
}

/// What is known of a table that was visited twice or more.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SharedTable {
    /// What each walk of it adds.
    pub(crate) outcome: WalkOutcome,
    /// Visits whose references are not counted yet.
    pub(crate) owed: u64,
    /// Wrong COPIED flags in it, once they were looked for.
    pub(crate) copied_errors: Option<u64>,
}

/// The L2 tables that were walked.
#[derive(Debug, Default)]
pub(crate) struct SharedTables {
    walked: HashMap<u64, Box<[u64; 64]>>,
    shared: HashMap<u64, SharedTable>,
}

impl SharedTables {
    /// Marks the table in host cluster `cluster` as walked; true if it was before.
    pub(crate) fn mark(&mut self, budget: &mut Budget, cluster: u64) -> Result<bool, CheckError> {
        let piece = cluster / PIECE;
        if !self.walked.contains_key(&piece) {
            budget.charge(PIECE / 8 + 64)?;
        }
        let words = self.walked.entry(piece).or_insert_with(|| Box::new([0; 64]));
        let place = usize::try_from(cluster % PIECE / 64).expect("below 64");
        let word = words.get_mut(place).expect("64 words");
        let bit = 1 << (cluster % 64);
        let before = *word & bit != 0;
        *word |= bit;
        Ok(before)
    }

    /// What is known of a table that was walked twice.
    pub(crate) fn get_mut(&mut self, cluster: u64) -> Option<&mut SharedTable> {
        self.shared.get_mut(&cluster)
    }

    /// Keeps the outcome of a second walk.
    pub(crate) fn insert(
        &mut self,
        budget: &mut Budget,
        cluster: u64,
        outcome: WalkOutcome,
    ) -> Result<(), CheckError> {
        budget.charge(128)?;
        self.shared.insert(cluster, SharedTable { outcome, ..SharedTable::default() });
        Ok(())
    }

    /// Tables and how many visits of each are owed, in the order of the file.
    pub(crate) fn take_owed(&mut self) -> Vec<(u64, u64)> {
        let mut owed: Vec<_> = self
            .shared
            .iter_mut()
            .filter(|(_, table)| table.owed > 0)
            .map(|(cluster, table)| (*cluster, core::mem::take(&mut table.owed)))
            .collect();
        owed.sort_unstable();
        owed
    }
}
