//! A larger L1 table in a new place.

use holstein_cache::RunGuard;
use holstein_format::field_offset;
use holstein_format::limits::MAX_L1_BYTES;
use holstein_guard::planted::{Bug, is_planted};
use holstein_guard::{Event, Intent, Region};
use holstein_refcount::{Freed, Provenance};
use holstein_units::{HostOffset, HostRange};

use crate::l1_table::L1Layout;
use crate::{MapError, Mapping};

impl Mapping {
    /// Makes room for `entries` L1 entries; nothing happens if there is room already.
    ///
    /// The caller has closed admission, so that no request is in flight. Blocks on I/O. A crash
    /// leaves the old table or the new one, and leaked clusters at worst.
    ///
    /// # Errors
    /// [`MapError::L1TooLarge`]; whatever the I/O fails with, in which case the old table stays.
    ///
    /// # Spec
    /// "L1 growth rules"; rule O7.
    pub fn grow_l1(&self, entries: u64) -> Result<(), MapError> {
        let inner = &self.0;
        let old = inner.l1.layout();
        if entries <= old.entries {
            return Ok(());
        }
        if entries > MAX_L1_BYTES / 8 {
            return Err(MapError::L1TooLarge { entries });
        }
        let clusters = inner.geometry.clusters_for(entries * 8);
        // Counted from here on: a failure leaks them.
        inner.file.note(Event::L1GrowAlloc);
        let (first, provenance) = inner.refcounts.allocate(clusters)?;
        let at = inner.geometry.host_offset(first);
        let run = inner.sequencer.lock();
        let mut bytes = inner.l1.to_bytes();
        bytes.resize(usize::try_from(entries * 8).expect("at most 32 MiB"), 0);
        if provenance == Provenance::Stale {
            let whole = clusters * inner.geometry.cluster_size();
            bytes.resize(usize::try_from(whole).expect("at most 32 MiB and a cluster"), 0);
        }
        let range = HostRange { start: at, len: bytes.len() as u64 };
        let write_table = || -> Result<(), MapError> {
            inner.file.note(Event::L1GrowWrite);
            Ok(inner.file.clear(Intent::Metadata(Region::ActiveL1), range)?.write(&bytes)?)
        };
        let misplaced = is_planted(Bug::SizeBeforeTable);
        if !misplaced {
            write_table()?;
        }
        if misplaced {
            write_header(&run, old, L1Layout { at, entries })?;
            run.file().barrier()?;
            write_table()?;
        }
        run.flush()?;
        write_header(&run, old, L1Layout { at, entries })?;
        run.file().barrier()?;

        let regions = inner.file.regions();
        let old_first = inner.geometry.host_cluster(old.at);
        let old_clusters = inner.geometry.clusters_for(old.entries * 8);
        regions.insert(Region::ActiveL1, first, clusters);
        inner.l1.moved(L1Layout { at, entries });
        if old_clusters > 0 && old.at.get() != 0 {
            regions.remove(Region::ActiveL1, old_first, old_clusters);
            inner.refcounts.retire(old_first, old_clusters, Freed::Other);
        }
        Ok(())
    }
}

/// Switches the header from one table to another.
fn write_header(run: &RunGuard<'_>, old: L1Layout, new: L1Layout) -> Result<(), MapError> {
    let fields = |layout: L1Layout| {
        let entries = u32::try_from(layout.entries).expect("at most 2^22 entries");
        let mut fields = entries.to_be_bytes().to_vec();
        fields.extend_from_slice(&layout.at.get().to_be_bytes());
        fields
    };
    let at = HostOffset::new(field_offset::L1);
    let intent = Intent::Metadata(Region::MainHeader);
    run.file().note(Event::L1GrowActivate);
    Ok(run.file().replace(intent, at, &fields(old), &fields(new))?)
}
