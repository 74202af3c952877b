//! The mapping against a map from guest cluster to state, on an allocator that is a map too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use holstein_cache::{CacheSizes, Hold, RankedTables, Sequencer};
use holstein_format::{
    COPIED, ClusterState, CompressedRun, EntryRules, L1Entry, Sharing, Version, ZERO,
};
use holstein_guard::{ImageFile, Region, RegionMask};
use holstein_mapping::{
    Change, Changed, CowPart, ExtentKind, Kept, L1Layout, Mapping, MappingConfig, Prepared,
    PreparedCompressed, Resolved,
};
use holstein_refcount::{
    ByteReservation, ClusterAllocator, Counted, Forfeit, ForfeitBytes, Freed, Provenance,
    RefcountError, Reservation, Reserved, ReservedBytes, Wanted,
};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::any_range_in;
use holstein_units::{
    ClusterBits, Geometry, GuestOffset, GuestRange, HostCluster, HostOffset, HostRange,
};
use proptest::prelude::*;

const CLUSTER: u64 = 512;
/// Clusters that one L2 table maps.
const PER_L2: u64 = CLUSTER / 8;
/// L2 tables of the disk, and its size.
const TABLES: u64 = 4;
const SIZE: u64 = TABLES * PER_L2 * CLUSTER;
/// The L1 table's cluster, and where the initial tables and data begin.
const L1: u64 = 1;

/// Counts of host clusters, handed out in order.
#[derive(Debug, Default)]
struct Counts {
    state: Mutex<CountsState>,
}

#[derive(Debug, Default)]
struct CountsState {
    counts: BTreeMap<u64, u64>,
    reserved: BTreeMap<u64, u64>,
    next: u64,
    /// The end of the last stream, where the next one goes; 0 if it goes elsewhere.
    stream_end: u64,
    /// One in eight questions is answered with a wish first, unless this is 0.
    dice: u64,
    wished: bool,
}

impl CountsState {
    fn wish(&mut self) -> bool {
        if self.dice != 0 {
            self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) | 2;
            self.wished |= self.dice >> 61 == 0;
        }
        self.wished
    }
}

/// A handle that can be cloned into reservations.
#[derive(Clone, Debug)]
struct Allocator(Arc<Counts>);

impl Counts {
    fn lock(&self) -> std::sync::MutexGuard<'_, CountsState> {
        self.state.lock().expect("no panic")
    }
}

impl Forfeit for Counts {
    fn forfeit(&self, first: HostCluster, count: u64, _: Provenance) {
        assert_eq!(self.lock().reserved.remove(&first.get()), Some(count));
    }
}

impl Counts {
    fn drop_reference(&self, cluster: u64) {
        let mut state = self.lock();
        let n = state.counts.get_mut(&cluster).expect("a cluster that is counted");
        *n -= 1;
        if *n == 0 {
            state.counts.remove(&cluster);
        }
    }
}

/// The host clusters that a range touches.
fn clusters_of(range: HostRange) -> std::ops::RangeInclusive<u64> {
    range.start.get() / CLUSTER..=(range.end().get() - 1) / CLUSTER
}

impl ForfeitBytes for Counts {
    fn forfeit_bytes(&self, range: HostRange, _blocks: &[Hold]) {
        clusters_of(range).for_each(|cluster| self.drop_reference(cluster));
    }
}

impl ClusterAllocator for Allocator {
    fn reserve(&self, want: u64) -> Result<Reserved, RefcountError> {
        let mut state = self.0.lock();
        if state.wish() {
            return Ok(Reserved::Wanted(Wanted::Table));
        }
        assert!((1..=PER_L2).contains(&want), "{want} clusters at once");
        let first = state.next;
        state.next += want;
        state.reserved.insert(first, want);
        let owner: Arc<dyn Forfeit> = Arc::<Counts>::clone(&self.0);
        let first = HostCluster::new(first);
        Ok(Reserved::Got(Reservation::new(first, want, Provenance::Fresh, Vec::new(), owner)))
    }

    fn reserve_bytes(&self, bytes: u64) -> Result<ReservedBytes, RefcountError> {
        let mut state = self.0.lock();
        if state.wish() {
            return Ok(ReservedBytes::Wanted(Wanted::Table));
        }
        assert!((1..CLUSTER).contains(&bytes), "{bytes} bytes at once");
        // Every second stream goes where the one before it ended, into the next cluster at times.
        let start = match state.stream_end {
            0 => {
                state.next += 2;
                (state.next - 2) * CLUSTER
            }
            end => end,
        };
        let range = HostRange { start: HostOffset::new(start), len: bytes };
        state.stream_end = if state.stream_end == 0 { range.end().get() } else { 0 };
        for cluster in clusters_of(range) {
            *state.counts.entry(cluster).or_default() += 1;
        }
        let owner: Arc<dyn ForfeitBytes> = Arc::<Counts>::clone(&self.0);
        Ok(ReservedBytes::Got(ByteReservation::new(range, Vec::new(), owner)))
    }

    fn allocate(&self, want: u64) -> Result<(HostCluster, Provenance), RefcountError> {
        let mut state = self.0.lock();
        let first = state.next;
        state.next += want;
        state.counts.extend((first..first + want).map(|c| (c, 1)));
        Ok((HostCluster::new(first), Provenance::Fresh))
    }

    fn commit(&self, mut reservation: Reservation) -> HostCluster {
        let (first, count) = (reservation.first().get(), reservation.count());
        reservation.defuse();
        let mut state = self.0.lock();
        assert_eq!(state.reserved.remove(&first), Some(count));
        for cluster in first..first + count {
            assert_eq!(state.counts.insert(cluster, 1), None);
        }
        HostCluster::new(first)
    }

    fn retire(&self, first: HostCluster, count: u64, _freed: Freed) {
        for cluster in first.get()..first.get() + count {
            self.0.drop_reference(cluster);
        }
    }

    fn count(&self, cluster: HostCluster) -> Result<Counted, RefcountError> {
        let mut state = self.0.lock();
        if state.wish() {
            return Ok(Counted::Wanted(Wanted::Table));
        }
        Ok(Counted::Count(state.counts.get(&cluster.get()).copied().unwrap_or(0)))
    }

    fn fetch(&self, wanted: Wanted) -> Result<(), RefcountError> {
        assert_eq!(wanted, Wanted::Table, "the only wish there is");
        self.0.lock().wished = false;
        Ok(())
    }
}

/// What a guest cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Nothing,
    Zero(Option<u64>),
    Data(u64),
    /// The raw descriptor.
    Compressed(u64),
}

/// How a cluster of the initial image is made.
#[derive(Clone, Copy, Debug)]
enum Made {
    Nothing,
    Data,
    /// Another, unseen owner too; no flag.
    Shared,
    /// Another owner too, and the flag lies.
    Lying,
    /// Its own, and no flag.
    Unflagged,
    ZeroAt,
    Zero,
    Compressed,
}

fn any_made() -> impl Strategy<Value = Made> {
    prop_oneof![
        4 => Just(Made::Nothing),
        3 => Just(Made::Data),
        1 => Just(Made::Shared),
        1 => Just(Made::Lying),
        1 => Just(Made::Unflagged),
        1 => Just(Made::ZeroAt),
        1 => Just(Made::Zero),
        1 => Just(Made::Compressed),
    ]
}

#[derive(Clone, Debug)]
struct Setup {
    v2: bool,
    has_backing: bool,
    /// Bytes of L2 cache: 1 KiB are two slices.
    l2: u64,
    /// The first L2 table, if there is one.
    first: Option<Vec<Made>>,
    /// The second, shared with an unseen owner.
    second: Option<Vec<Made>>,
    /// Which questions to the allocator need a fetch first; none if it is 0.
    dice: u64,
}

fn any_setup() -> impl Strategy<Value = Setup> {
    let table = || prop::option::of(prop::collection::vec(any_made(), PER_L2 as usize));
    (any::<bool>(), any::<bool>(), prop_oneof![Just(0_u64), Just(1024)], table(), table(), 0..5_u64)
        .prop_map(|(v2, has_backing, l2, first, second, dice)| Setup {
            v2,
            has_backing,
            l2,
            first,
            second,
            dice,
        })
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, u64),
    /// A plan that is made and dropped.
    Give(u64, u64),
    /// A stream of so many bytes for a cluster, linked or given up.
    Compress(u64, u64, bool),
    Resolve(u64, u64),
    Change(u64, u64, u8),
    Flush,
    Reopen,
}

fn any_op() -> impl Strategy<Value = Op> {
    let range =
        || prop_oneof![any_range_in(SIZE, 1500, CLUSTER), any_range_in(SIZE, 40_000, CLUSTER)];
    let clusters = || (0..SIZE / CLUSTER, 1..100_u64);
    prop_oneof![
        8 => range().prop_map(|(a, n)| Op::Write(a, n)),
        2 => range().prop_map(|(a, n)| Op::Give(a, n)),
        4 => (0..SIZE / CLUSTER, 1..CLUSTER, any::<bool>())
            .prop_map(|(n, bytes, link)| Op::Compress(n, bytes, link)),
        4 => range().prop_map(|(a, n)| Op::Resolve(a, n)),
        6 => (clusters(), 0..7_u8).prop_map(|((a, n), how)| Op::Change(a, n, how)),
        2 => Just(Op::Flush),
        1 => Just(Op::Reopen),
    ]
}

struct World {
    setup: Setup,
    storage: Arc<MemStorage>,
    sequencer: Arc<Sequencer>,
    mapping: Mapping,
    _owners: [Arc<dyn RankedTables>; 2],
    allocator: Allocator,
    rules: EntryRules,
    model: Vec<Is>,
    /// References of unseen owners.
    unseen: BTreeMap<u64, u64>,
}

fn rules(v2: bool) -> EntryRules {
    let bits = ClusterBits::from_size(CLUSTER).expect("a cluster size");
    EntryRules {
        geometry: Geometry::new(bits, false),
        version: if v2 { Version::V2 } else { Version::V3 },
        data_file: false,
    }
}

impl World {
    fn new(setup: &Setup) -> Self {
        let rules = rules(setup.v2);
        let allocator = Allocator(Arc::default());
        let mut bytes = vec![0; 2 * CLUSTER as usize];
        let mut model = vec![Is::Nothing; (SIZE / CLUSTER) as usize];
        let mut unseen = BTreeMap::new();
        {
            let mut state = allocator.0.lock();
            state.dice = setup.dice;
            state.counts.extend([(0, 1), (L1, 1)]);
            state.next = 2;
            let mut take = |owners: u64| {
                let cluster = state.next;
                state.next += 1;
                state.counts.insert(cluster, owners);
                if owners > 1 {
                    unseen.insert(cluster, owners - 1);
                }
                cluster
            };
            for (index, table, owners) in [(0, &setup.first, 1), (1, &setup.second, 2_u64)] {
                let Some(table) = table else { continue };
                let flag = if owners == 1 { COPIED } else { 0 };
                let at = take(owners) * CLUSTER;
                let mut entries = Vec::new();
                for (n, made) in (0_u64..).zip(table) {
                    // What a shared table refers to has its owners too.
                    let (entry, is) = match made {
                        Made::Zero if !setup.v2 => (ZERO, Is::Zero(None)),
                        Made::ZeroAt if !setup.v2 => {
                            let place = take(owners) * CLUSTER;
                            (place | flag | ZERO, Is::Zero(Some(place)))
                        }
                        Made::Nothing | Made::Zero | Made::ZeroAt => (0, Is::Nothing),
                        Made::Data => {
                            let place = take(owners) * CLUSTER;
                            (place | flag, Is::Data(place))
                        }
                        Made::Unflagged => {
                            let place = take(owners) * CLUSTER;
                            (place, Is::Data(place))
                        }
                        Made::Shared => {
                            let place = take(owners + 1) * CLUSTER;
                            (place, Is::Data(place))
                        }
                        Made::Lying => {
                            let place = take(owners + 1) * CLUSTER;
                            (place | COPIED, Is::Data(place))
                        }
                        Made::Compressed => {
                            // The last sector of one cluster: no further sectors.
                            let raw = 1 << 62 | (take(owners) * CLUSTER + 100);
                            (raw, Is::Compressed(raw))
                        }
                    };
                    entries.push(entry);
                    model[(index * PER_L2 + n) as usize] = is;
                }
                let l1 = (L1 * CLUSTER + index * 8) as usize;
                bytes[l1..l1 + 8].copy_from_slice(&(at | flag).to_be_bytes());
                bytes.resize((at + CLUSTER) as usize, 0);
                for (n, entry) in entries.iter().enumerate() {
                    let place = at as usize + n * 8;
                    bytes[place..place + 8].copy_from_slice(&u64::to_be_bytes(*entry));
                }
            }
            bytes.resize((state.next * CLUSTER) as usize, 0);
        }
        let storage = Arc::new(MemStorage::from_bytes(&bytes));
        let (sequencer, mapping, owners) = Self::open(setup, &storage, &allocator);
        Self {
            setup: setup.clone(),
            storage,
            sequencer,
            mapping,
            _owners: owners,
            allocator,
            rules,
            model,
            unseen,
        }
    }

    fn open(
        setup: &Setup,
        storage: &Arc<MemStorage>,
        allocator: &Allocator,
    ) -> (Arc<Sequencer>, Mapping, [Arc<dyn RankedTables>; 2]) {
        let rules = rules(setup.v2);
        let storage: Arc<dyn Storage> = Arc::<MemStorage>::clone(storage);
        let file = ImageFile::new(storage, rules.geometry, RegionMask::ALL);
        file.regions().insert(Region::MainHeader, HostCluster::new(0), 1);
        let sequencer = Arc::new(Sequencer::new(Arc::new(file)));
        let sizes = CacheSizes { l2: (setup.l2 != 0).then_some(setup.l2), ..CacheSizes::default() };
        let config = MappingConfig {
            rules,
            l1: L1Layout { at: HostOffset::new(L1 * CLUSTER), entries: TABLES },
            sizes: sizes.resolve(rules.geometry, SIZE).expect("consistent"),
            has_backing: setup.has_backing,
        };
        let allocator: Arc<dyn ClusterAllocator> = Arc::new(allocator.clone());
        let mapping = Mapping::open(Arc::clone(&sequencer), allocator, config).expect("opened");
        mapping.register_regions();
        let owners = mapping.owners();
        sequencer.register(&owners);
        (sequencer, mapping, owners)
    }

    fn count(&self, host: u64) -> u64 {
        self.allocator.0.lock().counts.get(&(host / CLUSTER)).copied().unwrap_or(0)
    }

    fn fetch(&self, fetch: holstein_mapping::Fetch) -> Result<(), TestCaseError> {
        self.mapping.fetch(fetch).map_err(|e| TestCaseError::fail(format!("{fetch:?}: {e}")))
    }

    /// The state that a part of an old cluster is in.
    fn judge_part(&self, part: CowPart) -> Result<(), TestCaseError> {
        let cluster = part.guest.start.get() / CLUSTER;
        prop_assert_eq!((part.guest.end().get() - 1) / CLUSTER, cluster, "within one cluster");
        let is = match part.old.cluster {
            ClusterState::Unallocated => Is::Nothing,
            ClusterState::Zero { at, .. } => Is::Zero(at.map(HostOffset::get)),
            ClusterState::Data { at, .. } => Is::Data(at.get()),
            ClusterState::Compressed(_) => {
                prop_assert!(matches!(self.model[cluster as usize], Is::Compressed(_)));
                return Ok(());
            }
        };
        prop_assert_eq!(is, self.model[cluster as usize]);
        Ok(())
    }

    /// Writes a range, or plans to and gives up.
    fn write(&mut self, at: u64, len: u64, commit: bool) -> Result<(), TestCaseError> {
        let mut range = GuestRange { start: GuestOffset::new(at), len };
        let mut rounds = 0;
        while !range.is_empty() {
            rounds += 1;
            prop_assert!(rounds < 10_000, "it goes on for ever");
            let start = range.start.get();
            let first = start / CLUSTER;
            let prepared = self
                .mapping
                .prepare_write(range)
                .map_err(|e| TestCaseError::fail(e.to_string()))?;
            match prepared {
                Prepared::InPlace { at, len } => {
                    prop_assert!(len > 0 && len <= range.len);
                    for n in 0..=(start + len - 1) / CLUSTER - first {
                        let host = (at.get() - start % CLUSTER) + n * CLUSTER;
                        prop_assert_eq!(self.model[(first + n) as usize], Is::Data(host));
                        prop_assert_eq!(self.count(host), 1, "in place, though shared");
                    }
                    range = range.split_at(len).1;
                }
                Prepared::Plan(plan) => {
                    let guest = plan.guest();
                    prop_assert_eq!(guest.start, range.start);
                    prop_assert!(guest.len > 0 && guest.len <= range.len);
                    let last = (guest.end().get() - 1) / CLUSTER;
                    prop_assert_eq!(first / PER_L2, last / PER_L2, "within one table");
                    let host = plan.host().get() - start % CLUSTER;
                    let kept = plan.keeps_its_clusters();
                    // Head and tail are all of the clusters that is not written, but for data that
                    // stays where it is.
                    let in_place = |cluster: u64| {
                        let place = host + (cluster - first) * CLUSTER;
                        kept && self.model[cluster as usize] == Is::Data(place)
                    };
                    let head = plan.head().map_or(0, |p| p.guest.len);
                    let tail = plan.tail().map_or(0, |p| p.guest.len);
                    prop_assert_eq!(head, if in_place(first) { 0 } else { start % CLUSTER });
                    let left = (CLUSTER - guest.end().get() % CLUSTER) % CLUSTER;
                    prop_assert_eq!(tail, if in_place(last) { 0 } else { left });
                    for part in [plan.head(), plan.tail()].into_iter().flatten() {
                        self.judge_part(part)?;
                    }
                    prop_assert!(!(kept && (first..=last).all(in_place)), "nothing to link");
                    for n in 0..=last - first {
                        let place = host + n * CLUSTER;
                        if kept {
                            let is = self.model[(first + n) as usize];
                            let own = is == Is::Zero(Some(place)) || is == Is::Data(place);
                            prop_assert!(own, "{:?} is not at {}", is, place);
                            prop_assert_eq!(self.count(place), 1, "kept, though shared");
                        } else {
                            prop_assert_eq!(self.count(place), 0, "a new cluster is free");
                        }
                    }
                    let len = guest.len;
                    if commit {
                        self.mapping.commit(*plan);
                        for n in 0..=last - first {
                            self.model[(first + n) as usize] = Is::Data(host + n * CLUSTER);
                        }
                    } else {
                        // While it lives nobody else gets the clusters.
                        let again = self.mapping.prepare_write(range);
                        prop_assert!(matches!(again, Ok(Prepared::Busy(_))), "{again:?}");
                        drop(plan);
                    }
                    range = range.split_at(len).1;
                }
                Prepared::Wanted(fetch) => self.fetch(fetch)?,
                Prepared::Busy(busy) => prop_assert!(false, "nobody else is there: {:?}", busy),
            }
        }
        Ok(())
    }

    /// Prepares a stream, and links it or gives up.
    fn compress(&mut self, cluster: u64, bytes: u64, link: bool) -> Result<(), TestCaseError> {
        let at = GuestOffset::new(cluster * CLUSTER);
        loop {
            let prepared = self.mapping.prepare_compressed(at, bytes);
            match prepared.map_err(|e| TestCaseError::fail(e.to_string()))? {
                PreparedCompressed::Plan(plan) => {
                    let is = &mut self.model[cluster as usize];
                    prop_assert!(matches!(is, Is::Nothing | Is::Zero(None)), "{:?}", is);
                    let host = plan.host();
                    prop_assert_eq!(host.len, bytes);
                    let again = self.mapping.prepare_compressed(at, bytes);
                    prop_assert!(matches!(again, Ok(PreparedCompressed::Busy(_))), "{again:?}");
                    if link {
                        self.mapping.commit_compressed(*plan);
                        let run = CompressedRun::for_stream(host.start, bytes);
                        let bits = self.rules.geometry.cluster_bits();
                        *is = Is::Compressed(run.encode(bits).expect("near enough"));
                    }
                    return Ok(());
                }
                PreparedCompressed::Occupied => {
                    let is = self.model[cluster as usize];
                    prop_assert!(!matches!(is, Is::Nothing | Is::Zero(None)), "{:?}", is);
                    return Ok(());
                }
                PreparedCompressed::TooFar => prop_assert!(false, "the file is small"),
                PreparedCompressed::Wanted(fetch) => self.fetch(fetch)?,
                PreparedCompressed::Busy(busy) => {
                    prop_assert!(false, "nobody else is there: {:?}", busy);
                }
            }
        }
    }

    fn change(&mut self, first: u64, count: u64, how: u8) -> Result<(), TestCaseError> {
        let count = count.min(SIZE / CLUSTER - first);
        let change = match how {
            0 => Change::Zero { unmap: false },
            1 => Change::Zero { unmap: true },
            2 => Change::Discard { keep: false },
            3 => Change::Discard { keep: true },
            6 => Change::ZeroKeep,
            _ => Change::ZeroEmpty { unmap: how == 5 },
        };
        let all = GuestRange { start: GuestOffset::new(first * CLUSTER), len: count * CLUSTER };
        let mut range = all;
        while !range.is_empty() {
            let changed = self.mapping.change(range, change);
            match changed.map_err(|e| TestCaseError::fail(e.to_string()))? {
                Changed::Done { len, kept } => {
                    prop_assert!(len > 0 && len <= range.len && len % CLUSTER == 0);
                    let from = range.start.get() / CLUSTER;
                    let changed = from..from + len / CLUSTER;
                    if let Some(kept) = kept {
                        self.judge_kept(&kept, changed.clone(), change)?;
                    }
                    for cluster in changed {
                        let is = &mut self.model[cluster as usize];
                        *is = changed_to(*is, change, &self.setup);
                    }
                    range = range.split_at(len).1;
                }
                Changed::Unsupported => {
                    prop_assert!(self.setup.v2 && self.setup.has_backing);
                    return Ok(());
                }
                Changed::NotEmpty => {
                    let empty = matches!(change, Change::ZeroEmpty { .. });
                    prop_assert!(empty);
                    let from = range.start.get() / CLUSTER;
                    let to = (from / PER_L2 + 1) * PER_L2;
                    let part =
                        &self.model[from as usize..to.min(from + range.len / CLUSTER) as usize];
                    let data = |is: &Is| matches!(is, Is::Data(_) | Is::Compressed(_));
                    prop_assert!(part.iter().any(data));
                    return Ok(());
                }
                Changed::Wanted(fetch) => self.fetch(fetch)?,
                Changed::Busy(busy) => prop_assert!(false, "nobody else is there: {:?}", busy),
            }
        }
        prop_assert!(!(self.setup.v2 && self.setup.has_backing), "version 2 cannot say it");
        Ok(())
    }

    /// Only data that has its cluster for itself may be forgotten, and nobody writes there meanwhile.
    fn judge_kept(
        &self,
        kept: &Kept,
        changed: std::ops::Range<u64>,
        change: Change,
    ) -> Result<(), TestCaseError> {
        let keeps = matches!(change, Change::ZeroKeep | Change::Discard { keep: true });
        prop_assert!(keeps);
        for place in kept.places() {
            prop_assert!(place.len > 0 && place.len % CLUSTER == 0);
            for host in (place.start.get()..place.start.get() + place.len).step_by(CLUSTER as usize)
            {
                let data = changed.clone().find(|c| self.model[*c as usize] == Is::Data(host));
                prop_assert!(data.is_some(), "no data was at {}", host);
                prop_assert_eq!(self.count(host), 1, "others need it");
            }
        }
        let range = GuestRange { start: GuestOffset::new(changed.start * CLUSTER), len: CLUSTER };
        let write = self.mapping.prepare_write(range);
        prop_assert!(matches!(write, Ok(Prepared::Busy(_))), "{write:?}");
        Ok(())
    }

    fn resolve(&self, at: u64, len: u64) -> Result<(), TestCaseError> {
        let mut range = GuestRange { start: GuestOffset::new(at), len };
        while !range.is_empty() {
            let resolved = self.mapping.resolve(range);
            match resolved.map_err(|e| TestCaseError::fail(e.to_string()))? {
                Resolved::Wanted(fetch) => self.fetch(fetch)?,
                Resolved::Extent(extent) => {
                    prop_assert!(extent.len > 0 && extent.len <= range.len);
                    let start = range.start.get();
                    let first = start / CLUSTER;
                    for cluster in first..=(start + extent.len - 1) / CLUSTER {
                        let is = self.model[cluster as usize];
                        // The offset of the cluster's first byte.
                        let place = |host: HostOffset| host.get() + cluster * CLUSTER - start;
                        let found = match extent.kind {
                            ExtentKind::Unallocated { .. } => Is::Nothing,
                            ExtentKind::Zero { at } => Is::Zero(at.map(place)),
                            ExtentKind::Data { at } => Is::Data(place(at)),
                            ExtentKind::Compressed { skip, run } => {
                                prop_assert_eq!(skip, start % CLUSTER);
                                let raw = run.encode(self.rules.geometry.cluster_bits());
                                Is::Compressed(raw.expect("it was decoded"))
                            }
                        };
                        prop_assert_eq!(found, is, "cluster {}", cluster);
                    }
                    // Merged as far as it goes within what is in memory, so at least the cluster.
                    prop_assert!(extent.len >= range.len.min(CLUSTER - start % CLUSTER));
                    range = range.split_at(extent.len).1;
                }
            }
        }
        Ok(())
    }

    /// The tables in the file say what the model says, and every count is that of its references.
    fn judge_file(&self) -> Result<(), TestCaseError> {
        self.sequencer.flush().expect("memory does not fail");
        prop_assert!(!self.mapping.is_dirty());
        let bytes = self.storage.to_bytes().expect("small");
        let number = |at: u64| {
            bytes
                .get(at as usize..at as usize + 8)
                .map_or(0, |b| u64::from_be_bytes(b.try_into().expect("8 bytes")))
        };
        let mut expected = self.unseen.clone();
        let mut add = |host: u64| *expected.entry(host / CLUSTER).or_insert(0) += 1;
        add(0);
        add(L1 * CLUSTER);
        for index in 0..TABLES {
            let entry = L1Entry::decode(number(L1 * CLUSTER + index * 8), self.rules.geometry);
            let table = match entry.expect("a good entry") {
                L1Entry::Unallocated => None,
                L1Entry::Table { at, sharing } => {
                    add(at.get());
                    if sharing == Sharing::Exclusive {
                        prop_assert_eq!(self.count(at.get()), 1, "the flag of table {}", index);
                    }
                    Some(at)
                }
            };
            for n in 0..PER_L2 {
                let raw = table.map_or(0, |at| number(at.get() + n * 8));
                let state = ClusterState::decode(raw, &self.rules).expect("a good entry");
                let found = match state {
                    ClusterState::Unallocated => Is::Nothing,
                    ClusterState::Zero { at, .. } => Is::Zero(at.map(HostOffset::get)),
                    ClusterState::Data { at, .. } => Is::Data(at.get()),
                    ClusterState::Compressed(_) => Is::Compressed(raw),
                };
                let cluster = index * PER_L2 + n;
                prop_assert_eq!(found, self.model[cluster as usize], "cluster {}", cluster);
                match found {
                    Is::Data(at) | Is::Zero(Some(at)) => add(at),
                    Is::Compressed(raw) => {
                        let bits = self.rules.geometry.cluster_bits();
                        let run = CompressedRun::decode(raw, bits).expect("a good entry");
                        clusters_of(run.range()).for_each(|cluster| add(cluster * CLUSTER));
                    }
                    _ => {}
                }
            }
        }
        let state = self.allocator.0.lock();
        prop_assert!(state.reserved.is_empty(), "reserved for nothing: {:?}", state.reserved);
        prop_assert_eq!(&state.counts, &expected, "counts against references");
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), TestCaseError> {
        self.judge_file()?;
        let (sequencer, mapping, owners) = Self::open(&self.setup, &self.storage, &self.allocator);
        self.sequencer = sequencer;
        self.mapping = mapping;
        self._owners = owners;
        Ok(())
    }
}

/// What a cluster is after a change.
fn changed_to(is: Is, change: Change, setup: &Setup) -> Is {
    let discard = matches!(change, Change::Discard { .. });
    let keep = matches!(
        change,
        Change::Zero { unmap: false }
            | Change::ZeroKeep
            | Change::ZeroEmpty { unmap: false }
            | Change::Discard { keep: true }
    );
    match is {
        // Version 2 has no zero clusters, and without backing nothing is as good.
        _ if setup.v2 => Is::Nothing,
        Is::Zero(None) => is,
        Is::Nothing if discard && !setup.has_backing => is,
        Is::Data(at) | Is::Zero(Some(at)) if keep => Is::Zero(Some(at)),
        _ => Is::Zero(None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_mapping_is_a_map_from_cluster_to_state(
        setup in any_setup(),
        ops in prop::collection::vec(any_op(), 1..50),
    ) {
        let mut world = World::new(&setup);
        for op in ops {
            match op {
                Op::Write(at, len) => world.write(at, len, true)?,
                Op::Give(at, len) => world.write(at, len, false)?,
                Op::Compress(cluster, bytes, link) => world.compress(cluster, bytes, link)?,
                Op::Resolve(at, len) => world.resolve(at, len)?,
                Op::Change(first, count, how) => world.change(first, count, how)?,
                Op::Flush => world.sequencer.flush().expect("memory does not fail"),
                Op::Reopen => world.reopen()?,
            }
        }
        world.resolve(0, SIZE)?;
        world.judge_file()?;
        world.reopen()?;
        world.resolve(0, SIZE)?;
    }
}
