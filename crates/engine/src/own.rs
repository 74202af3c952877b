//! What an image holds itself, without the disks below it.

use holstein_mapping::{ExtentKind, Resolved};

use crate::EngineError;
use crate::disk::Disk;
use crate::read::usize_of;

/// The answer to [`Disk::read_own`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnRead {
    /// How many bytes the answer is about: at least one unless none were asked for.
    pub len: usize,
    /// Whether the image holds them, and they were read; otherwise the buffer is as it was.
    pub held: bool,
}

impl Disk {
    /// Reads the extent that begins at guest offset `at` if the image holds it itself, at most to the
    /// end of `into`. The backing is not asked.
    ///
    /// With this a chain of images is read by a loop, whatever its depth.
    ///
    /// # Errors
    /// As for [`Disk::read_at`].
    pub fn read_own(&self, at: u64, into: &mut [u8]) -> Result<OwnRead, EngineError> {
        let range = self.check_range(at, into.len() as u64)?;
        if range.is_empty() {
            return Ok(OwnRead { len: 0, held: true });
        }
        loop {
            let pin = self.sequencer.pins().pin();
            match self.mapping.resolve(range)? {
                Resolved::Extent(extent) => {
                    let len = usize_of(extent.len);
                    let held = !matches!(extent.kind, ExtentKind::Unallocated { .. });
                    if held {
                        self.read_extent(extent, range.start, &mut into[..len])?;
                    }
                    return Ok(OwnRead { len, held });
                }
                Resolved::Wanted(fetch) => {
                    drop(pin);
                    self.mapping.fetch(fetch)?;
                }
            }
        }
    }

    /// Gives up every cluster of the disk and the tables that map them, durably: all of it shows the
    /// backing from now on, or zeros. Snapshots keep what they have. The file ends behind what is left.
    ///
    /// # Concurrency
    /// Waits for the requests in flight; others wait meanwhile.
    ///
    /// # Errors
    /// As for [`Disk::write_at`]; some clusters are given up then and others are not.
    ///
    /// # Spec
    /// "Emptying an image".
    pub fn empty(&self) -> Result<(), EngineError> {
        let _alone = self.restructure();
        self.guarded(|| {
            {
                let _quiet = self.quiet();
                self.release_tables(0..self.geometry.l1_entries_for(self.size()))?;
            }
            self.cut_file()
        })
    }
}
