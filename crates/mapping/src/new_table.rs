//! A new L2 table, empty or copied from a shared one.
//!
//! ```text
//!   reserve a cluster -> write the whole table -> count it -> store the L1 entry
//! ```
//!
//! The L1 entry reaches the file one barrier after the table and its count; until then the table's
//! entries travel with the payload, since nothing durable names it.

use holstein_format::{COPIED, ClusterState, L1Entry, Sharing};
use holstein_guard::{Event, Intent, Region};
use holstein_refcount::{Freed, Reserved};
use holstein_units::{HostCluster, HostOffset, HostRange};

use crate::mapping::Inner;
use crate::{Fetch, MapError};

impl Inner {
    /// Gives L1 entry `l1_index` a table that may be changed in place. Blocks on I/O.
    pub(crate) fn new_table(&self, l1_index: u64) -> Result<(), MapError> {
        let _making = self.making_table.lock().expect("no maker of a table panics");
        let raw = self.l1.get(l1_index);
        let old = match L1Entry::decode(raw, self.geometry)
            .map_err(|source| MapError::L1Entry { index: l1_index, source })?
        {
            L1Entry::Table { at, sharing: Sharing::Exclusive }
                if self.count_now(self.geometry.host_cluster(at))? == 1 =>
            {
                return Ok(());
            }
            L1Entry::Table { at, .. } => Some(at),
            L1Entry::Unallocated => None,
        };
        let reservation = loop {
            match self.refcounts.reserve(1)? {
                Reserved::Got(reservation) => break reservation,
                Reserved::Wanted(wanted) => self.refcounts.fetch(wanted)?,
            }
        };
        let cluster = reservation.first();
        let at = self.geometry.host_offset(cluster);
        let len = usize::try_from(self.geometry.cluster_size()).expect("at most 2 MiB");
        let mut table = vec![0; len];
        if let Some(old) = old {
            self.copy_table(old, &mut table)?;
        }
        // Slices of whatever was here before must not be found again.
        self.forget_table(at);
        let regions = self.file.regions();
        let range = HostRange { start: at, len: self.geometry.cluster_size() };
        self.file.note(Event::L2AllocWrite);
        self.file.clear(Intent::Metadata(Region::ActiveL2), range)?.write(&table)?;
        regions.insert(Region::ActiveL2, cluster, 1);
        self.refcounts.commit(reservation);
        if self.slices.are_whole() {
            // Where there is no room the table is read when it is needed.
            let _ = self.l2.install_bytes(at, &table);
        }
        self.l1.set(l1_index, at.get() | COPIED);
        if let Some(old) = old {
            self.drop_table(old);
        }
        Ok(())
    }

    fn copy_table(&self, old: HostOffset, into: &mut [u8]) -> Result<(), MapError> {
        self.file.note(Event::L2CopyRead);
        self.file.read(old, into)?;
        if self.count_now(self.geometry.host_cluster(old))? <= 1 {
            return Ok(());
        }
        // Shared: whatever its flags say, the clusters are reached from elsewhere too.
        for entry in
            into.chunks_exact_mut(usize::try_from(self.geometry.l2_entry_size()).unwrap_or(8))
        {
            let raw = u64::from_be_bytes(entry[..8].try_into().expect("entries of 8 bytes"));
            if !matches!(
                ClusterState::decode(raw, &self.rules),
                Ok(ClusterState::Compressed(_) | ClusterState::Unallocated) | Err(_)
            ) {
                entry[..8].copy_from_slice(&(raw & !COPIED).to_be_bytes());
            }
        }
        Ok(())
    }

    /// One reference to an L2 table is gone from the L1 table.
    pub(crate) fn drop_table(&self, table: HostOffset) {
        let cluster = self.geometry.host_cluster(table);
        self.file.regions().remove(Region::ActiveL2, cluster, 1);
        self.forget_table(table);
        self.refcounts.retire(cluster, 1, Freed::Other);
    }

    /// The L2 table of an L1 entry, if it may be changed in place; else what makes one.
    pub(crate) fn own_table(&self, l1_index: u64) -> Result<Result<HostOffset, Fetch>, MapError> {
        if l1_index >= self.l1.entries() {
            let at = holstein_units::GuestOffset::new(
                l1_index.saturating_mul(self.geometry.bytes_per_l2()),
            );
            return Err(MapError::PastL1 { at, entries: self.l1.entries() });
        }
        let entry = L1Entry::decode(self.l1.get(l1_index), self.geometry)
            .map_err(|source| MapError::L1Entry { index: l1_index, source })?;
        Ok(match entry {
            L1Entry::Table { at, sharing: Sharing::Exclusive } => Ok(at),
            _ => Err(Fetch::NewTable { l1_index }),
        })
    }

    /// Whether a table whose slice is suspect is counted once; else what must happen first.
    pub(crate) fn confirm_table(
        &self,
        l1_index: u64,
        table: HostOffset,
        guest: holstein_units::GuestOffset,
    ) -> Result<Result<(), Fetch>, MapError> {
        Ok(match self.count(self.cluster_of(table))? {
            Err(fetch) => Err(fetch),
            Ok(0) => return Err(MapError::Uncounted { at: guest, host: table }),
            Ok(1) => Ok(()),
            Ok(_) => Err(Fetch::NewTable { l1_index }),
        })
    }

    /// The cluster of a host offset.
    pub(crate) fn cluster_of(&self, at: HostOffset) -> HostCluster {
        self.geometry.host_cluster(at)
    }
}
