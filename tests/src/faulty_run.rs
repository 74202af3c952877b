//! A program, run on storage that fails once or from a call on.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use holstein::Image;
use holstein_storage::Storage;
use holstein_testkit::{DiskImage, Fault, FaultStorage, IoKind, Lasting, SnapshotStorage};

use crate::judge::{Found, expect_contents, judge_files, judge_files_reopened, judge_snapshots};
use crate::recorded::options;
use crate::session::{Session, is_refusal};
use crate::{Base, Moment, Op, Program, Seen, Witness};

/// Which promise a fault broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// Something panicked.
    Panic,
    /// The file does not open, or the check finds more than leaks.
    Corrupt,
    /// A sector is neither old nor new, or not as flushed.
    Lost,
    /// Nobody heard of the fault.
    Unreported,
    /// After a failed flush something was written, or a flush or close succeeded.
    AfterFailedFlush,
    /// The disk reads wrongly while it is open.
    WhileOpen,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Whether the fault came to pass.
    pub fired: bool,
    /// Whether it did without an error to the caller, where that is allowed: a discard is advice, and
    /// a read that only puts off the release of clusters is made again.
    pub absorbed: bool,
}

/// How a request ended, and on a disk of which size it began.
type Answer = (Ending, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ending {
    Done,
    Refused,
    Failed,
}

/// Files of one program that were found right: what they hold, how its requests had ended by then, and
/// whether they were used again. Most faults leave what others left before them.
#[derive(Debug, Default)]
pub struct Judged(HashSet<(Vec<u128>, Vec<Answer>, bool)>);

type Stack = Witness<FaultStorage<SnapshotStorage>>;

/// How many calls a program makes that count for `fault`, closing included.
///
/// # Errors
/// If a request fails without any fault.
pub fn count_calls(program: &Program, base: &Base, fault: &Fault) -> Result<u64, String> {
    let storages = stack(base);
    let storage = &storages[0];
    storage.inner().arm(Fault { after: u64::MAX, ..fault.clone() });
    let text = |e: holstein::Error| format!("{program} without a fault: {e}");
    let files = base.files(storages.iter().map(shared).collect());
    let mut session = Session::over(&files, options(program)).map_err(text)?;
    for (id, &op) in (1..).zip(&program.ops) {
        match session.perform(op, id) {
            Err(error) if !is_refusal(&error) => return Err(text(error)),
            _ => {}
        }
    }
    session.close().map_err(text)?;
    Ok(storage.inner().counted())
}

/// Runs a program with a fault, and judges what callers heard, what the open disk reads as, and what
/// the file holds: if the process is killed after the last request, and after closing.
///
/// # Errors
/// The promise that is broken, and how.
pub fn run_with_fault(
    program: &Program,
    base: &Base,
    fault: &Fault,
    reopen: bool,
    judged: &mut Judged,
) -> Result<Ran, (Breach, String)> {
    let storages = stack(base);
    storages[0].inner().arm(fault.clone());
    let files = base.files(storages.iter().map(shared).collect());
    let of_image = files.of_image();
    let (now, answers) = (base.moment.clone(), Vec::new());
    let mut run = Run { base, storages, of_image, now, answers, reported: false, judged };
    run.now.opening();
    match caught("opening", || Session::over(&files, options(program)))? {
        Ok(session) => run.requests(program, fault, session)?,
        Err(_) => run.reported = true,
    }
    run.judge_file("after the end", reopen)?;
    let seen = run.seen();
    if !run.reported && seen.failed_other_than(&[IoKind::Discard, IoKind::Read]) {
        return Err((Breach::Unreported, format!("no request failed: {seen:?}")));
    }
    Ok(Ran { fired: seen.failed(), absorbed: seen.failed() && !run.reported })
}

/// Copies of all files of a start, any call to which may fail.
fn stack(base: &Base) -> Vec<Arc<Stack>> {
    let mut all: Vec<Arc<Stack>> = Vec::new();
    for image in &base.images {
        let copy = SnapshotStorage::new(image.clone());
        let next = match all.first() {
            None => FaultStorage::new(copy),
            Some(first) => FaultStorage::beside(first.inner(), copy),
        };
        all.push(Arc::new(Witness::new(next)));
    }
    all
}

struct Run<'a> {
    base: &'a Base,
    /// The image's own file first.
    storages: Vec<Arc<Stack>>,
    /// Which of them hold the image itself.
    of_image: std::ops::Range<usize>,
    now: Moment,
    answers: Vec<Answer>,
    reported: bool,
    judged: &'a mut Judged,
}

impl Run<'_> {
    fn fault(&self) -> &FaultStorage<SnapshotStorage> {
        self.storages[0].inner()
    }

    /// Whether a flush of the image has failed, be it of its data file.
    fn flush_failed(&self) -> bool {
        self.storages[self.of_image.clone()].iter().any(|storage| storage.seen().flush_failed)
    }

    /// What was seen of all files.
    fn seen(&self) -> Seen {
        let mut all = Seen::default();
        self.storages.iter().for_each(|storage| all.add(&storage.seen()));
        all
    }

    fn requests(
        &mut self,
        program: &Program,
        fault: &Fault,
        mut session: Session<'_>,
    ) -> Result<(), (Breach, String)> {
        for (id, &op) in (1..).zip(&program.ops) {
            let size = session.image().map_or(self.now.model.size(), Image::virtual_size);
            if !self.now.allows(op, size) {
                continue;
            }
            let flush_had_failed = self.flush_failed();
            match caught(op, || session.perform(op, id)) {
                Ok(Ok(())) => {
                    if matches!(op, Op::Flush | Op::Reopen) && flush_had_failed {
                        let what = format!("flush {id} succeeds after one that failed");
                        return Err((Breach::AfterFailedFlush, what));
                    }
                    self.answers.push((Ending::Done, size));
                    self.now.done(op, id, size);
                }
                Ok(Err(error)) if is_refusal(&error) => {
                    self.answers.push((Ending::Refused, size));
                    self.now.refused(op, id, size);
                }
                Ok(Err(_)) => {
                    self.reported = true;
                    self.answers.push((Ending::Failed, size));
                    self.now.attempt(op, id, size);
                    if session.image().is_none() {
                        // What was not flushed went with it, unless it was.
                        return Ok(());
                    }
                }
                Err(breach) => {
                    session.abandon();
                    return Err(breach);
                }
            }
        }
        if self.seen().failed() {
            self.fault().disarm();
            if let Some(image) = session.image() {
                expect_contents(image, &self.now, false).map_err(|e| (Breach::WhileOpen, e))?;
            }
            self.judge_file("if killed", false)?;
            if fault.lasting == Lasting::FromThereOn {
                self.fault().arm(Fault { after: 0, ..fault.clone() });
            }
        }
        let flush_had_failed = self.flush_failed();
        self.now.closing();
        match caught("close", || session.close())? {
            Ok(()) if flush_had_failed => {
                let what = "closing succeeds after a failed flush".to_owned();
                return Err((Breach::AfterFailedFlush, what));
            }
            Ok(()) => {
                self.answers.push((Ending::Done, 0));
                self.now.closed();
            }
            Err(_) => {
                self.answers.push((Ending::Failed, 0));
                self.reported = true;
            }
        }
        match self.seen().changes_after {
            0 => Ok(()),
            n => Err((Breach::AfterFailedFlush, format!("{n} changes after a failed flush"))),
        }
    }

    fn judge_file(&mut self, when: &str, reopen: bool) -> Result<(), (Breach, String)> {
        let mut images: Vec<_> = self.storages.iter().map(|s| s.inner().inner().image()).collect();
        let hashes: Vec<_> = images.iter_mut().map(DiskImage::content_hash).collect();
        let known = |reopen| (hashes.clone(), self.answers.clone(), reopen);
        if self.judged.0.contains(&known(reopen)) || self.judged.0.contains(&known(true)) {
            return Ok(());
        }
        let copy =
            |image: &DiskImage| Arc::new(SnapshotStorage::new(image.clone())) as Arc<dyn Storage>;
        let files = || self.base.files(images.iter().map(copy).collect());
        let breach = |(corrupt, what)| {
            let breach = if corrupt { Breach::Corrupt } else { Breach::Lost };
            (breach, format!("{when}: {what}"))
        };
        judge_files(&files(), &self.now).map_err(breach)?;
        judge_snapshots(&files(), &images[0], &self.now, &mut Found::default())
            .map_err(|what| breach((false, what)))?;
        if reopen {
            judge_files_reopened(&files(), &self.now)
                .map_err(|what| (Breach::Corrupt, format!("{when}: {what}")))?;
        }
        self.judged.0.insert(known(reopen));
        Ok(())
    }
}

fn shared(storage: &Arc<Stack>) -> Arc<dyn Storage> {
    Arc::<Stack>::clone(storage)
}

/// Calls and turns a panic into a breach.
fn caught<T>(
    what: impl std::fmt::Display,
    call: impl FnOnce() -> T,
) -> Result<T, (Breach, String)> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_default();
        (Breach::Panic, format!("{what} panicked: {said}"))
    })
}
