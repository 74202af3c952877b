//! Zero clusters turned into what version 2 knows: data that is zero, or nothing.
//!
//! ```text
//!   disk:      zeros without a backing file -> entry cleared; else -> a cluster of zeros, as any write
//!   snapshot:  clusters of zeros, counted as often as their table -> flush -> entries -> barrier -> old ones down
//! ```
//!
//! Each step reads as before it, so that a crash between two leaves nothing to be undone.

use std::collections::HashSet;

use holstein_format::ClusterState;
use holstein_guard::{Intent, Region};
use holstein_mapping::{Change, ExtentKind, L1Layout, MapError};
use holstein_refcount::{ClusterAllocator as _, Freed};
use holstein_units::{GuestOffset, GuestRange, HostCluster, HostOffset, HostRange, SECTOR};

use crate::disk::Disk;
use crate::{EngineError, NoProgress, Preallocation, Steps};

impl Disk {
    /// Leaves no zero cluster in the disk's tables and in those of snapshots.
    pub(crate) fn expand_zeros(
        &self,
        snapshots: &[L1Layout],
        steps: Steps<'_>,
    ) -> Result<(), EngineError> {
        let entries = self.mapping.l1_layout().entries;
        let total = entries + snapshots.iter().map(|layout| layout.entries).sum::<u64>();
        let mut index = 0;
        while index < entries {
            let next = self.mapping.next_table(index).unwrap_or(entries);
            (index..next).for_each(|empty| steps(empty + 1, total));
            if next < entries {
                self.expand_table(next)?;
                steps(next + 1, total);
            }
            index = next + 1;
        }
        self.flush()?;
        let mut done = entries;
        // A table that several snapshots share is expanded once.
        let mut seen = HashSet::new();
        for layout in snapshots {
            let tree = self.mapping.read_tree(*layout)?;
            for index in 0..tree.entries() {
                if let Some(table) = tree.table(index, self.geometry)?
                    && seen.insert(table)
                {
                    self.expand_snapshot_table(index, table)?;
                }
                steps(done + index + 1, total);
            }
            done += layout.entries;
        }
        Ok(())
    }

    /// Whether a cluster of the disk or of a snapshot is compressed.
    pub(crate) fn has_streams(&self, snapshots: &[L1Layout]) -> Result<bool, EngineError> {
        let entries = self.mapping.l1_layout().entries;
        let span = self.geometry.bytes_per_l2();
        let mut next = self.mapping.next_table(0);
        while let Some(index) = next.filter(|index| *index < entries) {
            let mut left = GuestRange { start: GuestOffset::new(index * span), len: span };
            while !left.is_empty() {
                let extent = self.map_extent(left)?;
                if let ExtentKind::Compressed { .. } = extent.kind {
                    return Ok(true);
                }
                left = left.split_at(extent.len).1;
            }
            next = self.mapping.next_table(index + 1);
        }
        let mut seen = HashSet::new();
        for layout in snapshots {
            let tree = self.mapping.read_tree(*layout)?;
            for index in 0..tree.entries() {
                if let Some(table) = tree.table(index, self.geometry)?
                    && seen.insert(table)
                    && self.table_has_streams(table)?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether the table at `table` in the file names a compressed cluster.
    fn table_has_streams(&self, table: HostOffset) -> Result<bool, EngineError> {
        let mut bytes = vec![0; crate::read::usize_of(self.geometry.cluster_size())];
        self.file.read(table, &mut bytes)?;
        let rules = self.kept_header().entry_rules();
        let entry_size = crate::read::usize_of(self.geometry.l2_entry_size());
        for raw in bytes.chunks_exact(entry_size) {
            let at = GuestOffset::new(0);
            let state = ClusterState::decode(word(raw), &rules)
                .map_err(|source| MapError::L2Entry { at, source })?;
            if let ClusterState::Compressed(_) = state {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What an unallocated cluster shows may differ from zeros, now or one day.
    pub(crate) fn shows_backing(&self) -> bool {
        self.config.backing.is_some() || self.config.names_backing
    }

    /// Expands the zero clusters of one table of the disk.
    fn expand_table(&self, index: u64) -> Result<(), EngineError> {
        let span = self.geometry.bytes_per_l2();
        let start = GuestOffset::new(index * span);
        let mut left = GuestRange { start, len: span };
        while !left.is_empty() {
            let extent = self.map_extent(left)?;
            let (now, rest) = left.split_at(extent.len);
            match extent.kind {
                ExtentKind::Zero { at: None } if !self.shows_backing() => {
                    self.change_clusters(now, Change::Release)?;
                }
                ExtentKind::Zero { .. } => {
                    self.preallocate(now, Preallocation::Metadata, &mut NoProgress)?;
                }
                _ => {}
            }
            left = rest;
        }
        Ok(())
    }

    /// Expands the zero clusters of a table that snapshots alone refer to, all of them from L1 entry
    /// `index`.
    fn expand_snapshot_table(&self, index: u64, table: HostOffset) -> Result<(), EngineError> {
        let mut bytes = vec![0; crate::read::usize_of(self.geometry.cluster_size())];
        self.file.read(table, &mut bytes)?;
        let rules = self.kept_header().entry_rules();
        let mut zeros = Vec::new();
        for (n, raw) in bytes.chunks_exact(8).enumerate() {
            let at = GuestOffset::new(0);
            let state = ClusterState::decode(word(raw), &rules)
                .map_err(|source| MapError::L2Entry { at, source })?;
            if let ClusterState::Zero { at, .. } = state {
                zeros.push((n, at));
            }
        }
        if zeros.is_empty() {
            return Ok(());
        }
        // Each reference to the table is one to each of its clusters.
        let times = self.count_of(table)?;
        if times == 0 {
            return Err(MapError::Uncounted { at: GuestOffset::new(0), host: table }.into());
        }
        let start = GuestOffset::new(index * self.geometry.bytes_per_l2());
        let placed = self.place_zeros(start, &zeros, times)?;
        let mut given_up = Vec::new();
        for ((n, old), new) in zeros.iter().zip(&placed) {
            bytes[n * 8..n * 8 + 8].copy_from_slice(&new.get().to_be_bytes());
            if let Some(old) = old.filter(|old| old != new) {
                given_up.push(self.geometry.host_cluster(old));
            }
        }
        // Counts and zeros are durable before the table refers to them.
        self.sequencer.flush()?;
        {
            let run = self.sequencer.lock();
            let sector = crate::read::usize_of(SECTOR);
            let (first, last) = (zeros[0].0 * 8, zeros[zeros.len() - 1].0 * 8);
            let (from, to) = (first / sector * sector, (last / sector + 1) * sector);
            let intent = Intent::Metadata(Region::InactiveL2);
            run.file().write(intent, table + from as u64, &bytes[from..to])?;
            run.file().barrier()?;
        }
        for cluster in given_up {
            (0..times).for_each(|_| self.refcounts.retire(cluster, 1, Freed::Other));
        }
        self.relieve()
    }

    /// Where the clusters of zeros are that stand for zero entries of the table for `start`; 0 for
    /// none.
    fn place_zeros(
        &self,
        start: GuestOffset,
        zeros: &[(usize, Option<HostOffset>)],
        times: u64,
    ) -> Result<Vec<HostOffset>, EngineError> {
        let none = HostOffset::new(0);
        if !self.shows_backing() {
            return Ok(vec![none; zeros.len()]);
        }
        let mut placed = Vec::with_capacity(zeros.len());
        for (_, old) in zeros {
            // What others refer to as well may hold their data.
            let own = match old {
                Some(at) if self.count_of(*at)? == times => *at,
                _ => none,
            };
            placed.push(own);
        }
        let needed = placed.iter().filter(|at| **at == none).count() as u64;
        if needed > 0 {
            let (first, _) = self.refcounts.allocate(needed).map_err(MapError::from)?;
            if times > 1 {
                self.refcounts.add(first, needed, times - 1).map_err(MapError::from)?;
            }
            let missing = placed.iter_mut().filter(|at| **at == none);
            for (n, at) in (first.get()..).zip(missing) {
                *at = self.geometry.host_offset(HostCluster::new(n));
            }
        }
        for (at, (n, _)) in placed.iter().zip(zeros) {
            match &self.config.cipher {
                None => {
                    let range = HostRange { start: *at, len: self.geometry.cluster_size() };
                    self.file.clear(Intent::Payload, range)?.write_zeroes()?;
                }
                Some(cipher) => {
                    let guest = start + *n as u64 * self.geometry.cluster_size();
                    self.write_encrypted_zeros(&**cipher, *at, guest)?;
                }
            }
        }
        Ok(placed)
    }

    /// The refcount of the cluster at `at`.
    fn count_of(&self, at: HostOffset) -> Result<u64, EngineError> {
        let counted = self.refcounts.count_now(self.geometry.host_cluster(at));
        Ok(counted.map_err(MapError::from)?)
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
