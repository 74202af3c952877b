//! The refcounts of an open image.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use holstein_cache::{Capture, FetchStart, RankedTables, Rung, Sequencer, TableCache, TableWrite};
use holstein_format::{RefcountOrder, RefcountTableEntry};
use holstein_guard::planted::{Bug, is_planted};
use holstein_guard::{Event, ImageFile, Region};
use holstein_units::{Epoch, Geometry, HostCluster, HostOffset, HostRange, SECTOR};

use crate::quarantine::{Quarantine, Retired};
use crate::reserved::RunSet;
use crate::{
    ClusterAllocator, Counted, DiscardPolicy, Forfeit, ForfeitBytes, Freed, Provenance,
    RefcountError, Reservation, Reserved, ReservedBytes, Wanted,
};

/// Where the refcount structures are, as the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefcountLayout {
    /// The width of a counter.
    pub order: RefcountOrder,
    /// The refcount table.
    pub table: HostOffset,
    /// Its length in clusters.
    pub table_clusters: u32,
}

/// Who owns which host cluster.
///
/// # Concurrency
/// One short lock for the choice of clusters and for the quarantine; never held during I/O. A
/// counter is read without it.
#[derive(Clone)]
pub struct Refcounts(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) file: Arc<ImageFile>,
    pub(crate) sequencer: Arc<Sequencer>,
    pub(crate) cache: Arc<TableCache>,
    pub(crate) order: RefcountOrder,
    pub(crate) geometry: Geometry,
    pub(crate) policy: DiscardPolicy,
    state: Mutex<State>,
    /// Held while the table is read for the first time.
    loading: Mutex<()>,
}

/// Entries of the refcount table in a sector of the file.
const PER_SECTOR: u64 = SECTOR / 8;

/// Refcount blocks that the clusters of one L2 table can lie in.
const RUN_BLOCKS: u64 = 2;

/// How often a full cache is written back before a fetch gives up: others may fill it again.
const FLUSHES_FOR_ROOM: u32 = 8;

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) layout: RefcountLayout,
    /// The refcount table, once it was needed; entries as in the file.
    pub(crate) table: Option<Vec<u64>>,
    /// Entries of the table that the file does not have yet.
    pub(crate) dirty_entries: BTreeSet<u64>,
    /// Entries that the run under way writes.
    captured_entries: BTreeSet<u64>,
    /// No cluster below it is free.
    pub(crate) hint: u64,
    /// Clusters that are spoken for without being counted.
    pub(crate) reserved: RunSet,
    /// The file has never reached this cluster or any past it.
    pub(crate) fresh_from: u64,
    /// Where the last compressed stream ended, within a cluster that is counted; 0 if nowhere.
    pub(crate) stream_end: HostOffset,
    quarantine: Quarantine,
}

impl State {
    /// Clusters are free again.
    pub(crate) fn freed(&mut self, geometry: Geometry, first: u64, count: u64) {
        self.hint = self.hint.min(first);
        if (first..first + count).contains(&geometry.host_cluster(self.stream_end).get()) {
            self.stream_end = HostOffset::new(0);
        }
    }
}

impl std::fmt::Debug for Refcounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refcounts").field("order", &self.0.order).finish_non_exhaustive()
    }
}

impl Refcounts {
    /// The refcounts of the image behind `sequencer`, with room for `blocks` blocks in memory.
    ///
    /// Reads nothing: the table is read when it is first needed.
    #[must_use]
    pub fn new(
        sequencer: Arc<Sequencer>,
        layout: RefcountLayout,
        blocks: u64,
        policy: DiscardPolicy,
    ) -> Self {
        let file = Arc::clone(sequencer.file());
        let geometry = file.geometry();
        Self(Arc::new(Inner {
            cache: TableCache::new(geometry.cluster_size(), blocks),
            file,
            sequencer,
            order: layout.order,
            geometry,
            policy,
            state: Mutex::new(State {
                layout,
                table: None,
                dirty_entries: BTreeSet::new(),
                captured_entries: BTreeSet::new(),
                hint: 1,
                reserved: RunSet::default(),
                fresh_from: u64::MAX,
                stream_end: HostOffset::new(0),
                quarantine: Quarantine::default(),
            }),
            loading: Mutex::new(()),
        }))
    }

    /// Where the refcount structures are now.
    #[must_use]
    pub fn layout(&self) -> RefcountLayout {
        self.0.lock().layout
    }

    /// The owners of tables, for the sequencer: the table before the blocks, as it refers to them.
    #[must_use]
    pub fn owners(&self) -> [Arc<dyn RankedTables>; 2] {
        [Arc::new(TableOwner(Arc::clone(&self.0))), Arc::new(self.clone())]
    }

    /// Adds `by` to the counts of clusters that are counted already. Blocks on I/O.
    ///
    /// The caller knows that the sum fits.
    ///
    /// # Errors
    /// Whatever reading fails with.
    pub fn add(&self, first: HostCluster, count: u64, by: u64) -> Result<(), RefcountError> {
        let inner = &self.0;
        let per_block = 1_u64 << inner.block_bits();
        let (mut at, end) = (first.get(), first.get() + count);
        while at < end {
            let stop = ((at / per_block + 1) * per_block).min(end);
            match inner.change(HostCluster::new(at), stop - at, |_, old| old.saturating_add(by)) {
                Ok(()) => at = stop,
                Err(RefcountError::Cache(_)) => inner.make_room(None)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Clusters that wait for the change that dropped them to be durable.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.0.lock().quarantine.clusters()
    }

    /// The refcount blocks in memory.
    #[must_use]
    pub fn table_cache(&self) -> &Arc<TableCache> {
        &self.0.cache
    }

    /// Whether a count in memory differs from the file.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.0.cache.is_dirty()
    }
}

impl Inner {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the allocator's lock panics")
    }

    /// Binary logarithm of the counters in a block.
    pub(crate) fn block_bits(&self) -> u32 {
        self.order.block_bits(self.geometry.cluster_bits())
    }

    pub(crate) fn load_table(&self) -> Result<(), RefcountError> {
        let _once = self.loading.lock().expect("no reader of the table panics");
        let layout = {
            let state = self.lock();
            if state.table.is_some() {
                return Ok(());
            }
            state.layout
        };
        let bytes = u64::from(layout.table_clusters) * self.geometry.cluster_size();
        let len = usize::try_from(bytes).expect("the header allows at most 8 MiB of table");
        let mut raw = vec![0; len];
        self.file.note(Event::RefcountTableLoad);
        self.file.read(layout.table, &mut raw)?;
        let table: Vec<u64> = raw
            .chunks_exact(8)
            .map(|b| u64::from_be_bytes(b.try_into().expect("chunks of 8 bytes")))
            .collect();
        let regions = self.file.regions();
        regions.insert(
            Region::RefcountTable,
            self.geometry.host_cluster(layout.table),
            u64::from(layout.table_clusters),
        );
        for entry in &table {
            if let Ok(RefcountTableEntry::Block(at)) =
                RefcountTableEntry::decode(*entry, self.geometry)
            {
                regions.insert(Region::RefcountBlock, self.geometry.host_cluster(at), 1);
            }
        }
        let end = self.geometry.clusters_for(self.file.len()?);
        let fresh = self.file.storage().capabilities().zero_beyond_end;
        let mut state = self.lock();
        state.fresh_from = if fresh { end } else { u64::MAX };
        state.table = Some(table);
        Ok(())
    }

    /// The block that entry `index` of the table at `at` names: `None` if it names none.
    pub(crate) fn block_in(
        &self,
        at: HostOffset,
        table: &[u64],
        index: u64,
    ) -> Result<Option<HostOffset>, RefcountError> {
        let raw = usize::try_from(index).ok().and_then(|i| table.get(i)).copied().unwrap_or(0);
        match RefcountTableEntry::decode(raw, self.geometry) {
            Ok(RefcountTableEntry::Absent) => Ok(None),
            Ok(RefcountTableEntry::Block(block)) if block.get() != 0 => Ok(Some(block)),
            _ => Err(RefcountError::BadTableEntry { table: at, index, raw }),
        }
    }

    /// The block of table entry `index`; the table is in memory.
    pub(crate) fn block_at(&self, index: u64) -> Result<Option<HostOffset>, RefcountError> {
        let state = self.lock();
        self.block_in(state.layout.table, state.table.as_deref().unwrap_or_default(), index)
    }

    /// Reads what is missing to see a count. Blocks on I/O.
    pub(crate) fn fetch_missing(&self, wanted: Wanted) -> Result<(), RefcountError> {
        match wanted {
            Wanted::Table => self.load_table(),
            Wanted::Block(at) => self.fetch_block(at),
            Wanted::Growth { index, after } => self.grow(index, after),
        }
    }

    /// Reads the block at `at` into memory. Blocks on I/O.
    pub(crate) fn fetch_block(&self, at: HostOffset) -> Result<(), RefcountError> {
        match self.cache.begin_fetch(at) {
            FetchStart::Present => Ok(()),
            FetchStart::Busy => {
                self.cache.wait_for_fetch(at);
                Ok(())
            }
            FetchStart::Mine(ticket) => {
                let len = usize::try_from(self.geometry.cluster_size())
                    .expect("a cluster is at most 2 MiB");
                let mut block = vec![0; len];
                self.file.read(at, &mut block)?;
                Ok(ticket.install(&block)?)
            }
        }
    }

    pub(crate) fn count(&self, cluster: HostCluster) -> Result<Counted, RefcountError> {
        let index = cluster.get() >> self.block_bits();
        let slot = cluster.get() & ((1 << self.block_bits()) - 1);
        let block = {
            let state = self.lock();
            let Some(table) = &state.table else { return Ok(Counted::Wanted(Wanted::Table)) };
            match self.block_in(state.layout.table, table, index)? {
                None => return Ok(Counted::Count(0)),
                Some(at) => at,
            }
        };
        let place = self.order.locate(slot);
        let mask = self.order.mask();
        Ok(match self.cache.read(block, |words| words.get(place.word) >> place.shift & mask) {
            Some(count) => Counted::Count(count),
            None => Counted::Wanted(Wanted::Block(block)),
        })
    }

    /// Changes the counts of `count` clusters from `first` by `f`, reading what is missing. Every
    /// block must exist. Blocks on I/O.
    pub(crate) fn change(
        &self,
        first: HostCluster,
        count: u64,
        mut f: impl FnMut(u64, u64) -> u64,
    ) -> Result<(), RefcountError> {
        let per_block = 1_u64 << self.block_bits();
        let mut at = first.get();
        let end = at + count;
        while at < end {
            let stop = ((at / per_block + 1) * per_block).min(end);
            let hold = loop {
                let block = self
                    .block_at(at / per_block)?
                    .ok_or(RefcountError::Underflow { cluster: HostCluster::new(at) })?;
                match self.cache.hold(block) {
                    Some(hold) => break hold,
                    None => self.fetch_block(block)?,
                }
            };
            change_slots(&hold, self.order, at % per_block, stop - at, |slot, n| {
                f(at - at % per_block + slot, n)
            });
            at = stop;
        }
        Ok(())
    }

    pub(crate) fn retire(&self, first: HostCluster, count: u64, freed: Freed) {
        self.file.note(Event::ClusterFree);
        let mut state = self.lock();
        let epoch = self.sequencer.open_epoch();
        let retired = Retired { epoch, first, count, freed };
        if is_planted(Bug::QuarantineSkipped) {
            drop(state);
            let _ = self.lower(retired);
            return;
        }
        state.quarantine.push(retired);
    }

    /// Lowers the counts of clusters that left quarantine and frees those that reach 0, one block
    /// at a time. Returns what is left to do where that failed.
    fn lower(&self, retired: Retired) -> Result<(), (RefcountError, Retired)> {
        self.load_table().map_err(|error| (error, retired))?;
        let per_block = 1_u64 << self.block_bits();
        let mut left = retired;
        while left.count > 0 {
            let at = left.first.get();
            let n = ((at / per_block + 1) * per_block - at).min(left.count);
            self.lower_in_block(left.first, n, self.policy.passes(left.freed))
                .map_err(|error| (error, left))?;
            left.first = HostCluster::new(at + n);
            left.count -= n;
        }
        Ok(())
    }

    fn lower_in_block(&self, first: HostCluster, n: u64, pass: bool) -> Result<(), RefcountError> {
        // Spoken for from before a count can be seen at 0 until its hole is punched.
        self.lock().reserved.insert(first.get(), n);
        let mut freed: Vec<(u64, u64)> = Vec::new();
        let result = self.change(first, n, |cluster, count| {
            if count == 1 {
                match freed.last_mut() {
                    Some((first, n)) if *first + *n == cluster => *n += 1,
                    _ => freed.push((cluster, 1)),
                }
            }
            count.saturating_sub(1)
        });
        if pass {
            for (first, n) in &freed {
                let start = self.geometry.host_offset(HostCluster::new(*first));
                self.file.discard(HostRange { start, len: n * self.geometry.cluster_size() });
            }
        }
        let mut state = self.lock();
        state.reserved.remove(first.get());
        for (first, n) in freed {
            state.freed(self.geometry, first, n);
        }
        result
    }
}

/// Applies `f(slot, count)` to `n` counters from `slot` on in a held block.
pub(crate) fn change_slots(
    hold: &holstein_cache::Hold,
    order: RefcountOrder,
    slot: u64,
    n: u64,
    mut f: impl FnMut(u64, u64) -> u64,
) {
    let first = order.locate(slot).word;
    let last = order.locate(slot + n - 1).word;
    let per_word = 64 / u64::from(order.bits());
    hold.update(first, last - first + 1, |i, mut word| {
        let base = i as u64 * per_word;
        for s in base.max(slot)..(base + per_word).min(slot + n) {
            let place = order.locate(s);
            let old = word >> place.shift & order.mask();
            let new = f(s, old) & order.mask();
            word = word & !(order.mask() << place.shift) | new << place.shift;
        }
        word
    });
}

impl ClusterAllocator for Refcounts {
    fn reserve(&self, want: u64) -> Result<Reserved, RefcountError> {
        self.0.file.note(Event::ClusterAlloc);
        let forfeit: Arc<dyn Forfeit> = Arc::<Inner>::clone(&self.0);
        self.0.reserve(want, forfeit)
    }

    fn reserve_bytes(&self, bytes: u64) -> Result<ReservedBytes, RefcountError> {
        let forfeit: Arc<dyn ForfeitBytes> = Arc::<Inner>::clone(&self.0);
        self.0.reserve_bytes(bytes, forfeit)
    }

    fn commit(&self, mut reservation: Reservation) -> HostCluster {
        self.0.file.note(Event::RefcountBlockAlloc);
        self.0.file.note(Event::RefcountBlockLoad);
        let first = reservation.first();
        let per_block = 1_u64 << self.0.block_bits();
        let end = first.get() + reservation.count();
        let mut at = first.get();
        for hold in reservation.blocks() {
            let stop = ((at / per_block + 1) * per_block).min(end);
            change_slots(hold, self.0.order, at % per_block, stop - at, |_, _| 1);
            at = stop;
        }
        assert_eq!(at, end, "a reservation holds the blocks of all its clusters");
        reservation.defuse();
        self.0.lock().reserved.remove(first.get());
        first
    }

    fn retire(&self, first: HostCluster, count: u64, freed: Freed) {
        self.0.retire(first, count, freed);
    }

    fn count(&self, cluster: HostCluster) -> Result<Counted, RefcountError> {
        self.0.count(cluster)
    }

    fn fetch(&self, wanted: Wanted) -> Result<(), RefcountError> {
        for _ in 0..FLUSHES_FOR_ROOM {
            if self.0.cache.clean_slots() < RUN_BLOCKS {
                // A run of clusters can lie in two blocks, and both must find room at once.
                self.0.sequencer.flush()?;
            }
            match self.0.fetch_missing(wanted) {
                Err(RefcountError::Cache(_)) => self.0.sequencer.flush()?,
                result => return result,
            }
        }
        self.0.fetch_missing(wanted)
    }

    fn allocate(&self, want: u64) -> Result<(HostCluster, Provenance), RefcountError> {
        self.0.load_table()?;
        self.0.file.note(Event::ClusterAlloc);
        self.0.allocate(want)
    }
}

impl Forfeit for Inner {
    fn forfeit(&self, first: HostCluster, count: u64, left: Provenance) {
        let mut state = self.lock();
        state.reserved.remove(first.get());
        if left == Provenance::Fresh && state.fresh_from == first.get() + count {
            state.fresh_from = first.get();
        }
        state.hint = state.hint.min(first.get());
    }
}

/// The refcount table as an owner: it refers to the blocks.
struct TableOwner(Arc<Inner>);

impl RankedTables for TableOwner {
    fn region(&self) -> Region {
        Region::RefcountTable
    }

    fn capture(&self, capture: &mut Capture) {
        let mut state = self.0.lock();
        let dirty = std::mem::take(&mut state.dirty_entries);
        let at = state.layout.table;
        let table = state.table.as_deref().unwrap_or_default();
        let rung = if is_planted(Bug::BlockEntryBeforeBlock) { Rung::Counts } else { Rung::Roots };
        let sectors: BTreeSet<u64> = dirty.iter().map(|index| index / PER_SECTOR).collect();
        for sector in sectors {
            let entries = (sector * PER_SECTOR..(sector + 1) * PER_SECTOR).map(|index| {
                usize::try_from(index).ok().and_then(|i| table.get(i)).copied().unwrap_or(0)
            });
            let bytes = entries.flat_map(u64::to_be_bytes).collect();
            capture.writes.push(TableWrite { table: at, at: at + sector * SECTOR, bytes, rung });
        }
        state.captured_entries = dirty;
    }

    fn settle(&self, _writes: &[TableWrite], durable: bool, _attempted: bool) {
        let mut state = self.0.lock();
        let captured = std::mem::take(&mut state.captured_entries);
        if !durable {
            state.dirty_entries.extend(captured);
        }
    }
}

impl RankedTables for Refcounts {
    fn region(&self) -> Region {
        Region::RefcountBlock
    }

    fn capture(&self, capture: &mut Capture) {
        self.0.cache.capture(&mut capture.writes, |_| Rung::Counts);
    }

    fn settle(&self, writes: &[TableWrite], durable: bool, _attempted: bool) {
        self.0.cache.settle(writes, durable);
    }

    fn release(&self, run: Epoch, oldest: Option<Epoch>) {
        // What finds no room among the clean blocks waits for the next run, which writes these.
        while self.0.cache.clean_slots() > 0 {
            let retired = self.0.lock().quarantine.pop(run, oldest);
            let Some(retired) = retired else { break };
            if let Err((_, left)) = self.0.lower(retired) {
                // They stay counted until the next run can read their block: a leak at worst.
                self.0.lock().quarantine.put_back(left);
                break;
            }
        }
    }
}
