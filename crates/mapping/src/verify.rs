//! Whether the COPIED flags of a slice can be believed.
//!
//! A flag says that nobody else references the cluster. It is believed only after it was compared
//! with the refcount, once for each time a slice comes into memory before its first write
//! (hazards H16, H18).

use holstein_guard::{Intent, Region};
use holstein_refcount::Counted;
use holstein_units::{GuestOffset, HostCluster, HostOffset, HostRange};

use crate::mapping::Inner;
use crate::resolve::note;
use crate::{ClusterEntry, Fetch, MapError};

impl Inner {
    /// Compares the flags of a slice with the refcounts and notes the outcome. Blocks on I/O.
    pub(crate) fn verify(&self, slice: HostOffset, _guest: GuestOffset) -> Result<(), MapError> {
        let exclusive = self.l2.read(slice, |words| {
            (0..words.len())
                .step_by(self.slices.words(1))
                .filter_map(|word| {
                    let bits = || words.get(word + 1);
                    ClusterEntry::decode(words.get(word), bits, &self.rules).ok()?.exclusive_at()
                })
                .collect::<Vec<HostOffset>>()
        });
        let Some(exclusive) = exclusive else {
            return self.fetch_slice(slice).or_else(|_| self.make_room());
        };
        let table = self.geometry.host_cluster(slice);
        let mut trusted = self.is_sole(table, false)?;
        // A table that lies on other metadata is found before anything is stored in it.
        let range = HostRange { start: slice, len: self.slices.bytes() };
        let _cleared = self.file.clear(Intent::Metadata(Region::ActiveL2), range)?;
        // Clusters of a data file are nobody else's, and are not counted.
        let exclusive = if self.rules.data_file { Vec::new() } else { exclusive };
        for at in exclusive {
            trusted = trusted && self.is_sole(self.geometry.host_cluster(at), true)?;
            if !trusted {
                break;
            }
        }
        self.l2.set_note(slice, if trusted { note::TRUSTED } else { note::SUSPECT });
        Ok(())
    }

    /// Whether a cluster is counted once and, for payload, holds no known metadata.
    fn is_sole(&self, cluster: HostCluster, payload: bool) -> Result<bool, MapError> {
        if payload && !self.file.regions().lookup(cluster, 1).is_empty() {
            return Ok(false);
        }
        Ok(self.count_now(cluster)? == 1)
    }

    /// The refcount of a cluster, reading what is missing. Blocks on I/O.
    pub(crate) fn count_now(&self, cluster: HostCluster) -> Result<u64, MapError> {
        Ok(self.refcounts.count_now(cluster)?)
    }

    /// The refcount of a cluster, or what must be fetched to know it.
    pub(crate) fn count(&self, cluster: HostCluster) -> Result<Result<u64, Fetch>, MapError> {
        Ok(match self.refcounts.count(cluster)? {
            Counted::Count(count) => Ok(count),
            Counted::Wanted(wanted) => Err(Fetch::Refcount(wanted)),
        })
    }
}
