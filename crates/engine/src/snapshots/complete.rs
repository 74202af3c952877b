//! Records of old writers get what version 3 asks of them.

use holstein_format::SnapshotRecord;
use holstein_guard::Region;

use super::list::Listed;
use crate::EngineError;
use crate::disk::Disk;

impl Disk {
    /// Writes the list anew if a record lacks the VM state size or the disk size, with all known fields in
    /// each record. Durable when this returns. The caller holds the structure.
    pub(crate) fn complete_list(&self) -> Result<(), EngineError> {
        let mut guard = self.snapshot_list()?;
        let old = guard.listed();
        let short = |record: &SnapshotRecord| record.extra.len() < SnapshotRecord::MIN_EXTRA_BYTES;
        if !old.table.records().iter().any(short) {
            return Ok(());
        }
        let mut table = old.table.clone();
        table.complete(self.size());
        let bytes = table.encode()?;
        let still = self.stand_still();
        let mut place = self.set_aside(bytes.len() as u64)?;
        let run = still.settled()?;
        self.write_table(&run, Region::SnapshotTable, place.at(), bytes)?;
        run.file().barrier()?;
        self.switch_list(&run, place.at(), &table)?;
        place.keep();
        self.drop_list(old);
        let list = Listed { at: place.at(), table, leases: old.leases.clone() };
        self.protect_list(&list);
        guard.replace(list);
        Ok(())
    }
}
