//! The refcounts against a map from cluster to count, and against what the file says afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holstein_cache::{Pin, RankedTables, Sequencer};
use holstein_format::RefcountOrder;
use holstein_guard::{ImageFile, Intent, Region, RegionMask};
use holstein_refcount::{
    ByteReservation, ClusterAllocator, Counted, DiscardPolicy, Freed, Provenance, RefcountLayout,
    Refcounts, Reservation, Reserved, ReservedBytes, Wanted,
};
use holstein_storage::{MemStorage, Storage};
use holstein_units::{ClusterBits, Epoch, Geometry, HostCluster, HostOffset, HostRange};
use proptest::prelude::*;

const FREED: [Freed; 5] =
    [Freed::Replaced, Freed::Request, Freed::Snapshot, Freed::Other, Freed::Always];

#[derive(Clone, Debug)]
enum Op {
    Reserve(u64),
    Allocate(u64),
    /// Room for a compressed stream of so many of 1024 parts of a cluster.
    Stream(u64),
    /// One of the streams is linked, or given up.
    Link(usize, bool),
    Commit(usize),
    Drop(usize),
    /// As [`Op::Drop`], with nothing written to it.
    GiveBack(usize),
    /// One of the runs that are owned, from a cluster of it on, so many, for a reason.
    Retire(usize, u64, u64, usize),
    Flush,
    Pin,
    Unpin,
    Count(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..8_u64).prop_map(Op::Reserve),
        2 => (1..=64_u64).prop_map(Op::Reserve),
        1 => (1..40_u64).prop_map(Op::Allocate),
        1 => (1..3000_u64).prop_map(Op::Allocate),
        6 => (1..=1024_u64).prop_map(Op::Stream),
        5 => (0..8_usize, prop::bool::weighted(0.7)).prop_map(|(n, link)| Op::Link(n, link)),
        6 => (0..8_usize).prop_map(Op::Commit),
        2 => (0..8_usize).prop_map(Op::GiveBack),
        2 => (0..8_usize).prop_map(Op::Drop),
        6 => (0..30_usize, 0..64_u64, 1..64_u64, 0..5_usize)
            .prop_map(|(r, s, n, f)| Op::Retire(r, s, n, f)),
        1 => (0..30_usize, Just(0_u64), Just(u64::MAX), 0..5_usize)
            .prop_map(|(r, s, n, f)| Op::Retire(r, s, n, f)),
        4 => Just(Op::Flush),
        1 => Just(Op::Pin),
        1 => Just(Op::Unpin),
        1 => (0..5000_u64).prop_map(Op::Count),
    ]
}

#[derive(Clone, Debug)]
struct Config {
    cluster_bits: u32,
    order: u32,
    blocks: u64,
    /// Counts of the clusters behind the first refcount block; cut to what the width holds.
    initial: Vec<u64>,
    policy: (bool, bool, bool),
}

fn any_config() -> impl Strategy<Value = Config> {
    (
        prop_oneof![4 => Just(9_u32), 1 => Just(12), 1 => Just(16)],
        0..=6_u32,
        prop_oneof![Just(4_u64), Just(16)],
        prop::collection::vec(prop_oneof![3 => Just(0_u64), 3 => Just(1), 1 => 2..6_u64], 0..40),
        any::<(bool, bool, bool)>(),
    )
        .prop_map(|(cluster_bits, order, blocks, initial, policy)| Config {
            cluster_bits,
            order,
            blocks,
            initial,
            policy,
        })
}

/// What should be, beside what is.
struct World {
    storage: Arc<MemStorage>,
    file: Arc<ImageFile>,
    sequencer: Arc<Sequencer>,
    refcounts: Refcounts,
    /// The sequencer does not keep them alive.
    _owners: [Arc<dyn RankedTables>; 2],
    order: RefcountOrder,
    cluster: u64,
    /// Counts of clusters that are not header, table or block; quarantined references included.
    counts: BTreeMap<u64, u64>,
    /// Runs that may be retired.
    owned: Vec<(u64, u64)>,
    reservations: Vec<Reservation>,
    streams: Vec<ByteReservation>,
    /// Ranges of streams that may be read still; their clusters hold nothing else.
    stream_ranges: Vec<HostRange>,
    /// Number of the open run and cluster, oldest first; one entry for a reference.
    quarantine: Vec<(u64, u64)>,
    /// Clusters of refcount tables that moved, while they are counted.
    old_tables: BTreeSet<u64>,
    /// No cluster below it is free, as far as the refcounts know; unknown after a call that made a
    /// run, since that may have released clusters before or after the choice.
    hint: Option<u64>,
}

impl World {
    fn new(config: &Config) -> Self {
        let bits = ClusterBits::new(config.cluster_bits).expect("within 9..=21");
        let cluster = bits.size();
        let order = RefcountOrder::new(config.order).expect("within 0..=6");
        let mut bytes = vec![0; (cluster * (3 + config.initial.len() as u64)) as usize];
        let block = 2 * cluster;
        bytes[cluster as usize..][..8].copy_from_slice(&block.to_be_bytes());
        let mut counts = BTreeMap::new();
        let mut owned = Vec::new();
        let all = [1, 1, 1].into_iter().chain(config.initial.iter().copied());
        for (n, count) in (0_u64..).zip(all) {
            let count = count.min(order.max());
            assert!(order.write(&mut bytes[block as usize..], n, count));
            if n >= 3 && count > 0 {
                counts.insert(n, count);
                owned.extend((0..count).map(|_| (n, 1)));
            }
        }
        let storage = Arc::new(MemStorage::from_bytes(&bytes));
        let file = Arc::new(ImageFile::new(
            Arc::<MemStorage>::clone(&storage),
            Geometry::new(bits, false),
            RegionMask::ALL,
        ));
        let sequencer = Arc::new(Sequencer::new(Arc::clone(&file)));
        let layout = RefcountLayout { order, table: HostOffset::new(cluster), table_clusters: 1 };
        let (request, snapshot, other) = config.policy;
        let policy = DiscardPolicy { request, snapshot, other };
        let refcounts = Refcounts::new(Arc::clone(&sequencer), layout, config.blocks, policy);
        let owners = refcounts.owners();
        sequencer.register(&owners);
        Self {
            storage,
            file,
            sequencer,
            refcounts,
            _owners: owners,
            order,
            cluster,
            counts,
            owned,
            reservations: Vec::new(),
            streams: Vec::new(),
            stream_ranges: Vec::new(),
            quarantine: Vec::new(),
            old_tables: BTreeSet::new(),
            hint: Some(1),
        }
    }

    fn is_metadata(&self, cluster: u64) -> bool {
        let kinds = self.file.regions().lookup(HostCluster::new(cluster), 1);
        let tables = Region::RefcountBlock.mask().union(Region::RefcountTable.mask());
        cluster == 0 || !kinds.intersection(tables).is_empty()
    }

    fn is_free(&self, cluster: u64) -> bool {
        let reserved = |r: &Reservation| {
            let first = r.first().get();
            (first..first + r.count()).contains(&cluster)
        };
        !self.counts.contains_key(&cluster)
            && !self.old_tables.contains(&cluster)
            && !self.is_metadata(cluster)
            && !self.reservations.iter().any(reserved)
    }

    /// The lowest run of free clusters from the hint on.
    fn first_fit(&self, hint: u64, want: u64) -> u64 {
        let (mut first, mut have) = (hint.max(1), 0);
        while have < want {
            if self.is_free(first + have) {
                have += 1;
            } else {
                (first, have) = (first + have + 1, 0);
            }
        }
        first
    }

    /// The count that the refcounts answer with.
    fn ask(&self, cluster: u64) -> Result<u64, TestCaseError> {
        for _ in 0..1000 {
            match self.refcounts.count(HostCluster::new(cluster)) {
                Ok(Counted::Count(count)) => return Ok(count),
                Ok(Counted::Wanted(wanted)) => self.fetch(wanted)?,
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        Err(TestCaseError::fail("a count needs more than 1000 fetches"))
    }

    fn fetch(&self, wanted: Wanted) -> Result<(), TestCaseError> {
        self.refcounts
            .fetch(wanted)
            .map_err(|error| TestCaseError::fail(format!("{wanted:?}: {error}")))
    }

    /// Takes note of what was released from quarantine, which must have been ripe.
    fn sync(&mut self, pins: &[(u64, Pin<'_>)]) -> Result<(), TestCaseError> {
        loop {
            // Asking may make a run, which may release more.
            let epoch = self.sequencer.open_epoch();
            self.sync_once(pins)?;
            if self.sequencer.open_epoch() == epoch {
                return Ok(());
            }
        }
    }

    fn sync_once(&mut self, pins: &[(u64, Pin<'_>)]) -> Result<(), TestCaseError> {
        let clusters: BTreeSet<u64> = self.quarantine.iter().map(|(_, c)| *c).collect();
        let mut released = Vec::new();
        for cluster in clusters {
            let now = self.ask(cluster)?;
            let count = self.counts[&cluster];
            prop_assert!(now <= count, "cluster {} has {} of {}", cluster, now, count);
            released.push((cluster, count - now));
        }
        let open = self.sequencer.open_epoch().get();
        for (cluster, n) in released {
            for _ in 0..n {
                let at = self.quarantine.iter().position(|(_, c)| *c == cluster);
                prop_assert!(at.is_some(), "cluster {} was lowered and not retired", cluster);
                let (epoch, _) = self.quarantine.remove(at.expect("just asked"));
                prop_assert!(epoch < open, "cluster {} left before its run", cluster);
                let pinned = pins.iter().any(|(pin, _)| *pin <= epoch);
                prop_assert!(!pinned, "cluster {} left while pinned", cluster);
                self.drop_reference(cluster);
            }
        }
        for cluster in self.old_tables.clone() {
            if self.ask(cluster)? == 0 {
                self.old_tables.remove(&cluster);
                self.hint = self.hint.map(|hint| hint.min(cluster));
            }
        }
        Ok(())
    }

    fn drop_reference(&mut self, cluster: u64) {
        let count = self.counts.get_mut(&cluster).expect("counted");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&cluster);
            self.hint = self.hint.map(|hint| hint.min(cluster));
            let size = self.cluster;
            self.stream_ranges.retain(|range| !clusters_of(*range, size).contains(&cluster));
        }
    }

    fn reserve_bytes(
        &mut self,
        bytes: u64,
        pins: &[(u64, Pin<'_>)],
    ) -> Result<ByteReservation, TestCaseError> {
        for round in 1..1000 {
            match self.refcounts.reserve_bytes(bytes) {
                Ok(ReservedBytes::Got(reservation)) => return Ok(reservation),
                Ok(ReservedBytes::Wanted(wanted)) => {
                    self.watch(|w| w.fetch(wanted))?;
                    // A run that this took may have freed clusters that are used next.
                    self.sync(pins)?;
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
            self.make_way(round);
        }
        Err(TestCaseError::fail("room for a stream needs more than 1000 fetches"))
    }

    /// Judges the room for a stream that was just handed out, and counts it.
    fn judge_stream(
        &mut self,
        range: HostRange,
        epoch: Epoch,
        pins: &[(u64, Pin<'_>)],
    ) -> Result<(), TestCaseError> {
        let steady = self.sequencer.open_epoch() == epoch;
        let size = self.cluster;
        for cluster in clusters_of(range, size) {
            *self.counts.entry(cluster).or_insert(0) += 1;
        }
        let holds = |range: &HostRange, cluster| clusters_of(*range, size).contains(&cluster);
        let taken = clusters_of(range, size)
            .find(|c| !self.stream_ranges.iter().any(|stream| holds(stream, *c)));
        match (taken, self.hint) {
            (Some(taken), Some(hint)) if steady => {
                *self.counts.get_mut(&taken).expect("just counted") -= 1;
                self.counts.retain(|_, count| *count > 0);
                prop_assert_eq!(taken, self.first_fit(hint, 1), "first fit");
                *self.counts.entry(taken).or_insert(0) += 1;
                self.hint = Some(taken + 1);
            }
            (Some(_), _) => self.hint = None,
            (None, _) if !steady => self.hint = None,
            (None, _) => {}
        }
        self.sync(pins)?;
        for cluster in clusters_of(range, size) {
            let count = self.counts[&cluster];
            if count == 1 {
                // What was here before was released on the way, and is no stream any more.
                self.stream_ranges.retain(|stream| !holds(stream, cluster));
            }
            prop_assert!(count <= self.order.max(), "cluster {} counts {}", cluster, count);
            prop_assert_eq!(self.ask(cluster)?, count, "cluster {}", cluster);
            prop_assert!(!self.is_metadata(cluster) && !self.old_tables.contains(&cluster));
            // It is new, or holds nothing but streams.
            let shared = self.stream_ranges.iter().any(|stream| holds(stream, cluster));
            prop_assert!(shared || count == 1, "cluster {} has {} owners", cluster, count);
            for reservation in &self.reservations {
                let first = reservation.first().get();
                prop_assert!(!(first..first + reservation.count()).contains(&cluster));
            }
        }
        for stream in &self.stream_ranges {
            let apart = stream.end() <= range.start || range.end() <= stream.start;
            prop_assert!(apart, "{:?} over {:?}", range, stream);
        }
        self.stream_ranges.push(range);
        Ok(())
    }

    /// Runs `f` and takes note of a refcount table that moved meanwhile.
    fn watch<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let old = self.refcounts.layout();
        let result = f(self);
        let new = self.refcounts.layout();
        if new.table != old.table {
            let first = old.table.get() / self.cluster;
            self.old_tables.extend(first..first + u64::from(old.table_clusters));
        }
        result
    }

    fn reserve(&mut self, want: u64) -> Result<Reservation, TestCaseError> {
        for round in 1..1000 {
            match self.refcounts.reserve(want) {
                Ok(Reserved::Got(reservation)) => return Ok(reservation),
                Ok(Reserved::Wanted(wanted)) => self.watch(|w| w.fetch(wanted))?,
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
            self.make_way(round);
        }
        Err(TestCaseError::fail("a reservation needs more than 1000 fetches"))
    }

    /// Where reservations hold all blocks of a tiny cache but one, a run in two blocks waits for one of
    /// them to be committed or dropped.
    fn make_way(&mut self, round: u32) {
        if round.is_multiple_of(100) && !self.reservations.is_empty() {
            self.give_back(0);
            self.hint = None;
        }
    }

    fn give_back(&mut self, n: usize) {
        let reservation = self.reservations.remove(n);
        let first = reservation.first().get();
        self.hint = self.hint.map(|hint| hint.min(first));
        drop(reservation);
    }

    /// Judges clusters that were just handed out; `epoch` was open when they were asked for.
    fn judge_place(
        &mut self,
        (first, want): (u64, u64),
        epoch: Epoch,
        provenance: Provenance,
        pins: &[(u64, Pin<'_>)],
    ) -> Result<(), TestCaseError> {
        let steady = self.sequencer.open_epoch() == epoch;
        if steady && let Some(hint) = self.hint {
            prop_assert_eq!(first, self.first_fit(hint, want), "first fit of {}", want);
        }
        self.hint = steady.then_some(first + want);
        self.sync(pins)?;
        for cluster in first..first + want {
            prop_assert!(self.is_free(cluster), "cluster {} is in use", cluster);
            if provenance == Provenance::Fresh {
                let mut bytes = vec![0; self.cluster as usize];
                let at = HostOffset::new(cluster * self.cluster);
                let n = self.storage.read_at(at, &mut bytes).expect("memory");
                prop_assert!(bytes[..n].iter().all(|&b| b == 0), "cluster {} was used", cluster);
            }
        }
        Ok(())
    }

    fn mark(&self, first: u64, count: u64) {
        for cluster in first..first + count {
            let at = HostOffset::new(cluster * self.cluster);
            self.file.write(Intent::Payload, at, &(!cluster).to_be_bytes()).expect("memory");
        }
    }

    fn step<'p>(
        &mut self,
        op: Op,
        sequencer: &'p Sequencer,
        pins: &mut Vec<(u64, Pin<'p>)>,
    ) -> Result<(), TestCaseError> {
        self.sync(pins)?;
        let epoch = self.sequencer.open_epoch();
        match op {
            Op::Reserve(want) => {
                let want = want.min(self.cluster / 8);
                let reservation = self.reserve(want)?;
                prop_assert_eq!(reservation.count(), want);
                let first = reservation.first().get();
                self.judge_place((first, want), epoch, reservation.provenance(), pins)?;
                self.reservations.push(reservation);
            }
            Op::Allocate(want) => {
                let want = want.min(8 << 20 >> self.cluster.trailing_zeros());
                let result = self.watch(|w| w.refcounts.allocate(want));
                let (first, provenance) =
                    result.map_err(|error| TestCaseError::fail(error.to_string()))?;
                let first = first.get();
                self.judge_place((first, want), epoch, provenance, pins)?;
                self.counts.extend((first..first + want).map(|c| (c, 1)));
                self.owned.push((first, want));
                self.mark(first, want.min(64));
            }
            Op::Stream(parts) => {
                let bytes = (parts * self.cluster / 1024).max(1);
                if self.streams.len() < 2 {
                    let reservation = self.reserve_bytes(bytes, pins)?;
                    let range = reservation.range();
                    prop_assert_eq!(range.len, bytes);
                    self.judge_stream(range, epoch, pins)?;
                    self.streams.push(reservation);
                }
            }
            Op::Link(n, link) => {
                if n < self.streams.len() {
                    let stream = self.streams.remove(n);
                    let clusters = clusters_of(stream.range(), self.cluster);
                    if link {
                        stream.commit();
                        self.owned.push((*clusters.start(), clusters.count() as u64));
                    } else {
                        let range = stream.range();
                        drop(stream);
                        self.stream_ranges.retain(|stream| *stream != range);
                        clusters.for_each(|cluster| self.drop_reference(cluster));
                    }
                }
            }
            Op::Commit(n) => {
                if n < self.reservations.len() {
                    let reservation = self.reservations.remove(n);
                    let (first, count) = (reservation.first().get(), reservation.count());
                    self.mark(first, count);
                    prop_assert_eq!(self.refcounts.commit(reservation).get(), first);
                    self.counts.extend((first..first + count).map(|c| (c, 1)));
                    self.owned.push((first, count));
                }
            }
            Op::Drop(n) => {
                if n < self.reservations.len() {
                    self.give_back(n);
                }
            }
            Op::GiveBack(n) => {
                if n < self.reservations.len() {
                    let reservation = self.reservations.remove(n);
                    let first = reservation.first().get();
                    self.hint = self.hint.map(|hint| hint.min(first));
                    reservation.give_back_untouched();
                }
            }
            Op::Retire(n, skip, count, freed) => {
                if !self.owned.is_empty() {
                    let n = n % self.owned.len();
                    let (first, all) = self.owned.swap_remove(n);
                    let skip = skip % all;
                    let count = count.min(all - skip);
                    self.owned.push((first, skip));
                    self.owned.push((first + skip + count, all - skip - count));
                    self.owned.retain(|(_, n)| *n > 0);
                    let from = first + skip;
                    self.refcounts.retire(HostCluster::new(from), count, FREED[freed]);
                    self.quarantine.extend((from..from + count).map(|c| (epoch.get(), c)));
                    let waiting = self.quarantine.len() + self.old_tables.len();
                    prop_assert_eq!(self.refcounts.quarantined(), waiting as u64);
                }
            }
            Op::Flush => {
                self.watch(|w| w.sequencer.flush()).expect("memory does not fail");
                prop_assert!(self.sequencer.open_epoch() > epoch);
            }
            Op::Pin => {
                if pins.len() < 3 {
                    let pin = sequencer.pins().pin();
                    pins.push((epoch.get(), pin));
                }
            }
            Op::Unpin => {
                if !pins.is_empty() {
                    drop(pins.remove(0));
                }
            }
            Op::Count(cluster) => {
                if !self.is_metadata(cluster) && !self.old_tables.contains(&cluster) {
                    let expected = self.counts.get(&cluster).copied().unwrap_or(0);
                    prop_assert_eq!(self.ask(cluster)?, expected, "cluster {}", cluster);
                }
            }
        }
        Ok(())
    }

    /// Flushes until nothing waits any more; what is reserved goes back.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        self.reservations.clear();
        for stream in std::mem::take(&mut self.streams) {
            let clusters = clusters_of(stream.range(), self.cluster);
            drop(stream);
            clusters.for_each(|cluster| self.drop_reference(cluster));
        }
        for _ in 0..10_000 {
            self.watch(|w| w.sequencer.flush()).expect("memory does not fail");
            self.sync(&[])?;
            if self.refcounts.quarantined() == 0 && !self.refcounts.is_dirty() {
                prop_assert!(self.quarantine.is_empty() && self.old_tables.is_empty());
                return Ok(());
            }
        }
        Err(TestCaseError::fail("the quarantine is never empty"))
    }

    /// Compares the counters in the file with the map.
    fn judge_file(&self) -> Result<(), TestCaseError> {
        let bytes = self.storage.to_bytes().expect("small");
        let number = |at: u64| {
            u64::from_be_bytes(bytes[at as usize..at as usize + 8].try_into().expect("8 bytes"))
        };
        let layout = self.refcounts.layout();
        if layout.table.get() != self.cluster {
            prop_assert_eq!(number(48), layout.table.get(), "the header names the table");
            prop_assert_eq!(number(56) >> 32, u64::from(layout.table_clusters));
        }
        let mut expected = self.counts.clone();
        let mut add = |cluster: u64| *expected.entry(cluster).or_insert(0) += 1;
        add(0);
        let table = layout.table.get();
        (0..u64::from(layout.table_clusters)).for_each(|n| add(table / self.cluster + n));
        let bits = self.order.block_bits(ClusterBits::from_size(self.cluster).expect("a size"));
        let mut found = BTreeMap::new();
        for index in 0..u64::from(layout.table_clusters) * self.cluster / 8 {
            let block = number(table + index * 8);
            if block != 0 {
                prop_assert_eq!(block % self.cluster, 0);
                add(block / self.cluster);
                let block = &bytes[block as usize..(block + self.cluster) as usize];
                for slot in 0..1 << bits {
                    let count = self.order.read(block, slot);
                    if count != 0 {
                        found.insert(index << bits | slot, count);
                    }
                }
            }
        }
        let end = expected.keys().next_back().map_or(0, |last| last + 1);
        prop_assert_eq!(found, expected, "counters in the file");
        prop_assert_eq!(self.refcounts.used_end().expect("memory does not fail").get(), end);
        for (first, count) in &self.owned {
            for cluster in *first..first + (*count).min(64) {
                let at = cluster * self.cluster;
                if cluster >= 43 && at + 8 <= bytes.len() as u64 && number(at) != 0 {
                    prop_assert_eq!(number(at), !cluster, "cluster {} was overwritten", cluster);
                }
            }
        }
        Ok(())
    }
}

/// The host clusters of `size` bytes that a range touches.
fn clusters_of(range: HostRange, size: u64) -> std::ops::RangeInclusive<u64> {
    range.start.get() / size..=(range.end().get() - 1) / size
}

fn check(config: &Config, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut world = World::new(config);
    let sequencer = Arc::clone(&world.sequencer);
    let mut pins = Vec::new();
    for op in ops {
        world.step(op, &sequencer, &mut pins)?;
    }
    drop(pins);
    world.finish()?;
    world.judge_file()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn the_refcounts_are_a_map_and_the_file_says_the_same(
        config in any_config(),
        ops in prop::collection::vec(any_op(), 1..80),
    ) {
        check(&config, ops)?;
    }
}

/// Each width at each cluster size once through growth, with the smallest cache.
#[test]
fn growth_of_blocks_and_table_in_every_width() {
    for cluster_bits in [9, 12, 16] {
        for order in 0..=6 {
            let initial = vec![1, 0, 1, 1, 0, 0, 2];
            let policy = (true, true, true);
            let config = Config { cluster_bits, order, blocks: 4, initial, policy };
            let mut ops = Vec::new();
            for n in 0..40 {
                ops.push(Op::Allocate(if n % 4 == 0 { 2500 } else { 100 }));
                ops.push(Op::Reserve(1 + n % 64));
                ops.push(Op::Commit(0));
                if n % 5 == 4 {
                    ops.push(Op::Flush);
                    ops.push(Op::Retire(n as usize, 0, u64::MAX, 1));
                }
            }
            if cluster_bits == 16 {
                ops.truncate(40);
            }
            check(&config, ops)
                .unwrap_or_else(|e| panic!("cluster bits {cluster_bits}, order {order}: {e}"));
        }
    }
}

/// Streams follow each other, share clusters up to the width's maximum, and cross into the next
/// cluster only where that is the free one.
#[test]
fn streams_share_clusters_as_far_as_counts_go() {
    let config = Config {
        cluster_bits: 12,
        order: 1,
        blocks: 4,
        initial: vec![0, 0, 1],
        policy: (true, true, true),
    };
    let mut world = World::new(&config);
    let mut starts = Vec::new();
    let mut held = Vec::new();
    // 2 bits count to 3.
    for bytes in [1000, 1000, 1000, 500, 3800, 200, 4095] {
        let stream = world.reserve_bytes(bytes, &[]).expect("there is room");
        starts.push(stream.range().start.get());
        held.push(stream);
    }
    let cluster = 4096;
    let expected = [
        3 * cluster,
        3 * cluster + 1000,
        3 * cluster + 2000,
        // The first cluster is counted three times.
        4 * cluster,
        // The next cluster, 5, is not free: the stream does not go on in it.
        6 * cluster,
        6 * cluster + 3800,
        // From one cluster into the next.
        6 * cluster + 4000,
    ];
    assert_eq!(starts, expected);
    for (place, count) in [(3, 3), (4, 1), (6, 3), (7, 1)] {
        assert_eq!(world.ask(place).expect("at hand"), count, "cluster {place}");
    }
    // Given up, the clusters are free, and the next stream begins at the first of them.
    held.clear();
    assert_eq!(world.ask(6).expect("at hand"), 0);
    let stream = world.reserve_bytes(10, &[]).expect("there is room");
    assert_eq!(stream.range().start.get(), 3 * cluster);
}

/// A cluster of streams that was given up and handed out again is another's.
#[test]
fn a_stream_does_not_go_on_in_a_cluster_that_became_anothers() {
    let config = Config {
        cluster_bits: 12,
        order: 4,
        blocks: 4,
        initial: vec![0, 0, 1],
        policy: (true, true, true),
    };
    let mut world = World::new(&config);
    let stream = world.reserve_bytes(1000, &[]).expect("there is room");
    let first = stream.range().start.get() / 4096;
    drop(stream);
    let reservation = world.reserve(1).expect("there is room");
    assert_eq!(world.refcounts.commit(reservation).get(), first);
    let stream = world.reserve_bytes(1000, &[]).expect("there is room");
    assert_ne!(stream.range().start.get() / 4096, first);
    assert_eq!(world.ask(first).expect("at hand"), 1);
}
