//! A program, run on storage that remembers all.

use std::sync::Arc;

use holstein::{Image, OpenOptions};
use holstein_guard::planted::{Bug, plant};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{CrashLog, Fault, FaultStorage, RecordingStorage};

use crate::judge::expect_contents;
use crate::session::{Session, is_refusal};
use crate::{Base, Feature, Files, Moment, Program, Start, WholeSectors};

/// What a run of a program did to its file, and what it owes when.
#[derive(Debug)]
pub struct Recorded {
    /// Everything that happened to the file, and to its base. Without a fault, request `n` begins at mark `2 * n + 1`
    /// and is acknowledged at mark `2 * n + 2`; closing counts as the last request.
    pub log: CrashLog,
    /// What the disk may hold, by mark.
    pub moments: Vec<Moment>,
}

impl Recorded {
    /// Runs `program` on a copy of `base`, with a bug in the library if one is given, and with a
    /// fault if one is given.
    ///
    /// # Errors
    /// If a request fails without a fault, or the disk reads wrongly while in use.
    pub fn new(
        program: &Program,
        base: &Base,
        bug: Option<Bug>,
        fault: Option<Fault>,
    ) -> Result<Self, String> {
        let storages = stack(base).map_err(|e| format!("copy the start: {e}"))?;
        let storage = Arc::clone(&storages[0]);
        let shared = |storage: &Arc<Stack>| Arc::<Stack>::clone(storage) as Arc<dyn Storage>;
        let files = base.files(storages.iter().map(shared).collect());
        // With a fault to come the reads of a judge would be among the calls that fail.
        let judged = bug.is_none() && fault.is_none();
        if let Some(fault) = fault {
            storage.arm(fault);
        }
        let _planted = Planted::new(bug);
        let mut run = Run { storage, files, moments: Vec::new(), now: base.moment.clone() };
        run.now.opening();
        run.moments.push(run.now.clone());
        run.whole(program, judged)?;
        Ok(Self { log: run.recording().log(), moments: run.moments })
    }

    /// What the disk may hold after a cut when `mark` was the last mark.
    #[must_use]
    pub fn moment(&self, mark: Option<u64>) -> &Moment {
        let mark = mark.and_then(|mark| usize::try_from(mark).ok()).unwrap_or(0);
        &self.moments[mark.min(self.moments.len() - 1)]
    }
}

type Stack = FaultStorage<WholeSectors<RecordingStorage<MemStorage>>>;

/// Copies of all files of a start, recorded together.
fn stack(base: &Base) -> std::io::Result<Vec<Arc<Stack>>> {
    let mut all: Vec<Arc<Stack>> = Vec::new();
    for file in &base.storages {
        let next = match all.first() {
            None => FaultStorage::new(WholeSectors::new(RecordingStorage::new(file.clone())?)),
            Some(first) => {
                let recorded = RecordingStorage::beside(first.inner().inner(), file.clone())?;
                FaultStorage::beside(first, WholeSectors::new(recorded))
            }
        };
        all.push(Arc::new(next));
    }
    Ok(all)
}

/// A run under way.
struct Run {
    /// The first file.
    storage: Arc<Stack>,
    files: Files,
    moments: Vec<Moment>,
    now: Moment,
}

impl Run {
    fn whole(&mut self, program: &Program, judged: bool) -> Result<(), String> {
        let opened = Session::over(&self.files, options(program));
        let Some(mut session) = self.unless_faulty("open for the program", opened)? else {
            return Ok(());
        };
        for (id, &op) in (1..).zip(&program.ops) {
            let size = session.image().map_or(self.now.model.size(), Image::virtual_size);
            if !self.now.allows(op, size) {
                continue;
            }
            let mut meanwhile = self.now.clone();
            meanwhile.attempt(op, id, size);
            self.mark(meanwhile.clone());
            match session.perform(op, id) {
                Ok(()) => self.now.done(op, id, size),
                Err(_) if self.storage.fired() > 0 && session.image().is_none() => {
                    // What was not flushed went with the image that could not be closed or opened.
                    self.mark(meanwhile);
                    return Ok(());
                }
                Err(_) if self.storage.fired() > 0 => self.now = meanwhile,
                Err(error) if is_refusal(&error) => self.now.refused(op, id, size),
                Err(error) => return Err(format!("{op}: {error}")),
            }
            self.mark(self.now.clone());
        }
        if let Some(image) = session.image().filter(|_| judged) {
            expect_contents(image, &self.now, false).map_err(|e| format!("while in use: {e}"))?;
        }
        self.now.closing();
        self.mark(self.now.clone());
        if self.unless_faulty("close", session.close())?.is_some() {
            self.now.closed();
        }
        self.mark(self.now.clone());
        Ok(())
    }

    /// From here on this may be on the disk, or is owed.
    fn mark(&mut self, moment: Moment) {
        self.recording().mark(self.moments.len() as u64);
        self.moments.push(moment);
    }

    fn recording(&self) -> &RecordingStorage<MemStorage> {
        self.storage.inner().inner()
    }

    /// The result; `None` if it is an error and a fault has come to pass.
    fn unless_faulty<T>(
        &self,
        what: impl std::fmt::Display,
        result: Result<T, holstein::Error>,
    ) -> Result<Option<T>, String> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(_) if self.storage.fired() > 0 => Ok(None),
            Err(error) => Err(format!("{what}: {error}")),
        }
    }
}

/// How images are opened for programs: with some starts freed clusters become holes, with some the
/// caches hold two slices of tables, so that programs start runs by themselves.
pub(crate) fn options(program: &Program) -> OpenOptions {
    let holes = matches!(program.start, Start::Reuse | Start::Snapshot | Start::Lost);
    let keep = program.config.has(Feature::NoUnref);
    let options = OpenOptions::new()
        .discard_no_unref(keep)
        .pass_discard_request(holes || keep)
        .pass_discard_other(holes);
    if matches!(program.start, Start::Zeroed | Start::TableEdge) {
        let slice = program.config.cluster.min(4096);
        options.l2_cache_entry_size(slice).l2_cache_size(2 * slice)
    } else {
        options
    }
}

/// A bug that is planted on this thread while this lives.
struct Planted;

impl Planted {
    fn new(bug: Option<Bug>) -> Self {
        plant(bug);
        Self
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        plant(None);
    }
}
