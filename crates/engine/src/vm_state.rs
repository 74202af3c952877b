//! The state of a virtual machine, kept past the end of the disk.

use std::io::IoSlice;

use holstein_mapping::MapError;
use holstein_units::{GuestOffset, GuestRange};

use crate::EngineError;
use crate::disk::Disk;

impl Disk {
    /// The guest offset of the first byte of VM state: where the first L2 table begins that maps
    /// nothing of the disk.
    #[must_use]
    pub fn vm_state_start(&self) -> u64 {
        let tables = self.geometry.l1_entries_for(self.size());
        tables.saturating_mul(self.geometry.bytes_per_l2())
    }

    fn vm_state_range(&self, at: u64, len: usize) -> Result<GuestRange, EngineError> {
        let start = self.vm_state_start();
        let len = len as u64;
        start
            .checked_add(at)
            .filter(|start| {
                start.checked_add(len).is_some_and(|end| end <= i64::MAX.unsigned_abs())
            })
            .and_then(|start| GuestRange::new(GuestOffset::new(start), len))
            .ok_or(EngineError::OutOfRange { at, len, size: i64::MAX.unsigned_abs() - start })
    }

    /// Fills `into` from byte `at` of the VM state on. What was never written reads as zeros, or as
    /// the backing file where that is so long.
    ///
    /// # Errors
    /// As for [`Disk::read_at`].
    pub fn read_vm_state(&self, at: u64, into: &mut [u8]) -> Result<(), EngineError> {
        let range = self.vm_state_range(at, into.len())?;
        self.read_range(range, into)
    }

    /// Writes `from` at byte `at` of the VM state. The next snapshot whose record tells its size
    /// takes it along.
    ///
    /// # Concurrency
    /// Waits for all requests in flight where the L1 table must grow.
    ///
    /// # Errors
    /// As for [`Disk::write_at`]; [`MapError::L1TooLarge`] past what an L1 table can map.
    pub fn write_vm_state(&self, at: u64, from: &[u8]) -> Result<(), EngineError> {
        let range = self.vm_state_range(at, from.len())?;
        self.guarded(|| {
            let needed = self.geometry.l1_entries_for(range.end().get());
            let have = self.mapping.l1_layout().entries;
            if needed > have {
                let most = holstein_format::limits::MAX_L1_ENTRIES;
                if needed > most {
                    return Err(MapError::L1TooLarge { entries: needed }.into());
                }
                // Half as much again, so that a long state does not move the table often.
                let entries = needed.max((have + have.div_ceil(2)).min(most));
                let _alone = self.restructure();
                let _quiet = self.quiet();
                self.mapping.grow_l1(entries)?;
            }
            self.write_range(range, &[IoSlice::new(from)])
        })
    }
}
