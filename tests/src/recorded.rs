//! A program, run on storage that remembers all.

use std::sync::Arc;

use holstein::OpenOptions;
use holstein_guard::planted::{Bug, plant};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{CrashLog, RecordingStorage};

use crate::judge::expect_contents;
use crate::perform::perform;
use crate::{Base, Moment, Op, Program, Start, WholeSectors};

/// What a run of a program did to its file, and what it owes when.
#[derive(Debug)]
pub struct Recorded {
    /// Everything that happened to the file. Request `n` begins at mark `2 * n + 1` and is
    /// acknowledged at mark `2 * n + 2`; closing counts as the last request.
    pub log: CrashLog,
    /// What the disk may hold, by mark.
    pub moments: Vec<Moment>,
}

impl Recorded {
    /// Runs `program` on a copy of `base`, with a bug in the library if one is given.
    ///
    /// # Errors
    /// If a request fails, or the disk reads wrongly while in use.
    pub fn new(program: &Program, base: &Base, bug: Option<Bug>) -> Result<Self, String> {
        let storage = RecordingStorage::new(base.storage.clone())
            .map_err(|e| format!("copy the start: {e}"))?;
        let storage = Arc::new(WholeSectors::new(storage));
        let _planted = Planted::new(bug);
        let on = || {
            Arc::<WholeSectors<RecordingStorage<MemStorage>>>::clone(&storage) as Arc<dyn Storage>
        };
        let image = options(program.start)
            .open_storage(on())
            .map_err(|e| format!("open for the program: {e}"))?;
        let mut now = base.moment.clone();
        let mut moments = vec![now.clone()];
        let mut mark = 0;
        for (id, &op) in (1..).zip(&program.ops) {
            let size = image.virtual_size();
            mark += 1;
            storage.inner().mark(mark);
            let mut meanwhile = now.clone();
            meanwhile.attempt(op, id, size);
            moments.push(meanwhile);
            perform(&image, op, id).map_err(|e| format!("{op}: {e}"))?;
            now.done(op, id, size);
            mark += 1;
            storage.inner().mark(mark);
            moments.push(now.clone());
        }
        if bug.is_none() {
            expect_contents(&image, &now, false).map_err(|e| format!("while in use: {e}"))?;
        }
        storage.inner().mark(mark + 1);
        moments.push(now.clone());
        image.close().map_err(|e| format!("close: {e}"))?;
        now.done(Op::Flush, 0, now.model.size());
        storage.inner().mark(mark + 2);
        moments.push(now);
        Ok(Self { log: storage.inner().log(), moments })
    }

    /// What the disk may hold after a cut when `mark` was the last mark.
    #[must_use]
    pub fn moment(&self, mark: Option<u64>) -> &Moment {
        let mark = mark.and_then(|mark| usize::try_from(mark).ok()).unwrap_or(0);
        &self.moments[mark.min(self.moments.len() - 1)]
    }
}

/// How images are opened for programs: some starts let freed clusters be holes.
pub(crate) fn options(start: Start) -> OpenOptions {
    let holes = matches!(start, Start::Reuse | Start::Snapshot);
    OpenOptions::new().pass_discard_request(holes).pass_discard_other(holes)
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
