//! The disk to oneself: for operations that change whole trees of tables.

use holstein_cache::{Quiet, RunGuard};
use holstein_mapping::TablesHeld;

use crate::EngineError;
use crate::disk::Disk;

/// No request is in flight and none begins, no table is being made. Dropping it lets them in.
pub(crate) struct Standstill<'a> {
    disk: &'a Disk,
    _tables: TablesHeld<'a>,
    _quiet: Quiet<'a>,
}

impl Disk {
    /// Waits for the requests in flight and keeps others out.
    pub(crate) fn stand_still(&self) -> Standstill<'_> {
        let quiet = self.quiet();
        let tables = self.mapping.hold_tables();
        Standstill { disk: self, _tables: tables, _quiet: quiet }
    }
}

impl<'a> Standstill<'a> {
    /// A run in which nothing is dirty: the file is the truth, and tables may be changed in it.
    pub(crate) fn settled(&self) -> Result<RunGuard<'a>, EngineError> {
        let run = self.disk.sequencer.lock();
        self.disk.drain(&run)?;
        while self.disk.refcounts.is_dirty() {
            run.flush()?;
        }
        Ok(run)
    }
}
