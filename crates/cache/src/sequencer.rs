//! Runs: copy what is dirty, write the copies rung by rung, one run at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use holstein_guard::planted::{Bug, is_planted};
use holstein_guard::{GuardError, ImageFile, Intent, Region};
use holstein_units::{Epoch, HostOffset};

use crate::PinTable;

/// When a table is written: what stands on an earlier rung is durable before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// With the payload: refcount blocks, and L2 tables that no durable L1 entry names.
    Counts,
    /// What makes new refcount blocks count: entries of the refcount table.
    Roots,
    /// What refers to counted clusters: L2 tables and L1 entries.
    Links,
    /// What refers to all the rest: the header.
    Header,
}

/// A copy of a dirty part of a table.
#[derive(Clone, Debug)]
pub struct TableWrite {
    /// The table it belongs to.
    pub table: HostOffset,
    /// Where the bytes go.
    pub at: HostOffset,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// When they go there.
    pub rung: Rung,
}

/// What one owner gives to a run.
#[derive(Debug, Default)]
pub struct Capture {
    /// The copies, on any rung.
    pub writes: Vec<TableWrite>,
}

/// An owner of tables. Owners are asked in the order in which they were registered, the one whose
/// tables refer to the others' first: a reference in the capture then has its target in it too.
pub trait RankedTables: Send + Sync {
    /// What the tables are.
    fn region(&self) -> Region;

    /// Copies what is dirty.
    fn capture(&self, capture: &mut Capture);

    /// The copies are durable, or must be counted as dirty again; `attempted` says whether the
    /// rung of links was begun, so that the file may hold some of them.
    fn settle(&self, writes: &[TableWrite], durable: bool, attempted: bool);

    /// Called after a run whose number is `run` has passed its last barrier; `oldest` is the
    /// lowest pin. Releases what waited for it; what cannot be released now waits for a later run.
    fn release(&self, _run: Epoch, _oldest: Option<Epoch>) {}
}

/// Owns the order in which metadata reaches the file.
///
/// # Concurrency
/// One run at a time; a flush that comes while a run is writing waits for it and joins the next.
pub struct Sequencer {
    file: Arc<ImageFile>,
    pins: PinTable,
    owners: OnceLock<Vec<Weak<dyn RankedTables>>>,
    run: Mutex<()>,
    done: AtomicU64,
    /// The last run that made everything but counts durable.
    linked: AtomicU64,
}

impl std::fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sequencer").field("done", &self.done).finish_non_exhaustive()
    }
}

/// The right to write metadata outside a run: while it lives no run is under way.
#[derive(Debug)]
pub struct RunGuard<'a> {
    sequencer: &'a Sequencer,
    _lock: MutexGuard<'a, ()>,
}

impl Sequencer {
    /// A sequencer for `file` that owns no tables yet.
    #[must_use]
    pub fn new(file: Arc<ImageFile>) -> Self {
        Self {
            file,
            pins: PinTable::new(),
            owners: OnceLock::new(),
            run: Mutex::new(()),
            done: AtomicU64::new(0),
            linked: AtomicU64::new(0),
        }
    }

    /// Names the owners, the top of the tree first. Called once, when the image is opened.
    ///
    /// The sequencer does not keep them alive, as they keep it: the caller does, for as long as
    /// there is anything to write back.
    ///
    /// # Panics
    /// If it was called before.
    pub fn register(&self, owners: &[Arc<dyn RankedTables>]) {
        let owners = owners.iter().map(Arc::downgrade).collect();
        assert!(self.owners.set(owners).is_ok(), "the owners are registered once");
    }

    /// The file written to.
    #[must_use]
    pub fn file(&self) -> &Arc<ImageFile> {
        &self.file
    }

    /// Requests in flight and the number of the open run.
    #[must_use]
    pub fn pins(&self) -> &PinTable {
        &self.pins
    }

    /// The number of the open run: what is changed now is durable when that run is.
    #[must_use]
    pub fn open_epoch(&self) -> Epoch {
        self.pins.open_epoch()
    }

    /// Makes everything that was acknowledged before this call durable.
    ///
    /// Joins a run whose capture comes after the call; otherwise makes one. Costs no barrier if
    /// nothing was written, one if only payload was, two if tables were.
    ///
    /// # Errors
    /// [`GuardError`]; after a failed write the copies are dirty again and the call may be
    /// repeated; after a failed barrier nothing is written any more.
    pub fn flush(&self) -> Result<(), GuardError> {
        let wanted = self.open_epoch();
        let guard = self.lock();
        if self.done.load(Ordering::SeqCst) >= wanted.get() {
            return Ok(());
        }
        guard.flush()
    }

    /// As [`Self::flush`], but refcount blocks and the refcount table stay behind: the file says that
    /// they do.
    ///
    /// # Errors
    /// As for [`Self::flush`].
    ///
    /// # Spec
    /// "Dirty bit and lazy refcounts".
    pub fn flush_links(&self) -> Result<(), GuardError> {
        let wanted = self.open_epoch();
        let guard = self.lock();
        if self.linked.load(Ordering::SeqCst) >= wanted.get() {
            return Ok(());
        }
        guard.run(|region| !matches!(region, Region::RefcountTable | Region::RefcountBlock))?;
        Ok(())
    }

    /// Waits for the run under way and keeps others from starting.
    #[must_use]
    pub fn lock(&self) -> RunGuard<'_> {
        let lock = self.run.lock().expect("no run panics");
        RunGuard { sequencer: self, _lock: lock }
    }
}

impl RunGuard<'_> {
    /// Makes one run, whether or not anything is dirty.
    ///
    /// # Errors
    /// As for [`Sequencer::flush`].
    pub fn flush(&self) -> Result<(), GuardError> {
        let number = self.run(|_| true)?;
        self.sequencer.done.store(number.get(), Ordering::SeqCst);
        Ok(())
    }

    /// A run of the owners of the tables of some kinds; returns its number.
    fn run(&self, takes_part: impl Fn(Region) -> bool) -> Result<Epoch, GuardError> {
        let sequencer = self.sequencer;
        let owners: Vec<Arc<dyn RankedTables>> =
            sequencer.owners.get().into_iter().flatten().filter_map(Weak::upgrade).collect();
        let number = sequencer.pins.advance();
        let mut captures: Vec<Capture> = Vec::with_capacity(owners.len());
        for owner in &owners {
            let mut capture = Capture::default();
            if takes_part(owner.region()) {
                owner.capture(&mut capture);
            }
            captures.push(capture);
        }
        let mut attempted = false;
        let result = self.write(&owners, &captures, &mut attempted);
        for (owner, capture) in owners.iter().zip(&captures) {
            if takes_part(owner.region()) {
                owner.settle(&capture.writes, result.is_ok(), attempted);
            }
        }
        result?;
        sequencer.linked.store(number.get(), Ordering::SeqCst);
        let oldest = sequencer.pins.oldest();
        for owner in &owners {
            owner.release(number, oldest);
        }
        Ok(number)
    }

    fn write(
        &self,
        owners: &[Arc<dyn RankedTables>],
        captures: &[Capture],
        attempted: &mut bool,
    ) -> Result<(), GuardError> {
        let file = &self.sequencer.file;
        let has = |rung| captures.iter().any(|c| c.writes.iter().any(|w| w.rung == rung));
        let rungs = match () {
            () if is_planted(Bug::L2BeforeRefcount) => {
                [Rung::Links, Rung::Counts, Rung::Roots, Rung::Header]
            }
            () => [Rung::Counts, Rung::Roots, Rung::Links, Rung::Header],
        };
        let last = rungs.into_iter().rev().find(|&rung| has(rung));
        for rung in rungs {
            if rung == Rung::Links && has(rung) {
                *attempted = true;
            }
            let mut wrote = false;
            for (owner, capture) in owners.iter().zip(captures) {
                for write in capture.writes.iter().filter(|w| w.rung == rung) {
                    file.write(Intent::Metadata(owner.region()), write.at, &write.bytes)?;
                    wrote = true;
                }
            }
            let skipped = match rung {
                Rung::Counts => is_planted(Bug::FirstBarrierMissing) && last != Some(rung),
                _ => is_planted(Bug::LastBarrierMissing),
            };
            // The first rung carries the payload, which the door knows of.
            if (wrote || (rung == Rung::Counts && file.has_unflushed())) && !skipped {
                file.barrier()?;
            }
        }
        Ok(())
    }

    /// The file written to.
    #[must_use]
    pub fn file(&self) -> &Arc<ImageFile> {
        &self.sequencer.file
    }
}
