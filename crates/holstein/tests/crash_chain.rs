//! Power cuts and faults in the middle of commit and rebase: C9 and C10.

mod common;

use std::io;
use std::sync::Arc;

use common::{CLUSTER, Clock, Pair, SIZE, chain, contents, over};
use holstein::check::{CheckOptions, check};
use holstein::storage::{MemStorage, Storage};
use holstein::{
    CommitOptions, CommitTarget, CreateOptions, Image, NewBacking, OpenOptions, RawTarget,
    RebaseOptions,
};
use holstein_testkit::{
    Fault, FaultError, FaultStorage, IoKind, Lasting, Partial, RecordingStorage, SampleOptions,
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn quiet(_: u64, _: u64) {}

/// Commits, and calls the base with what opens it.
fn commit(
    top: Arc<dyn Storage>,
    base: Arc<dyn Storage>,
    qcow2: bool,
    how: &dyn Fn(&Image, &dyn CommitTarget) -> Result<(), holstein::Error>,
) -> Result<(), holstein::Error> {
    let overlay = over(top, Arc::default())?;
    if qcow2 {
        let image = OpenOptions::new().open_storage(base)?;
        how(&overlay, &image)?;
        image.close()?;
    } else {
        how(&overlay, &RawTarget::new(base))?;
    }
    overlay.close()
}

fn one_by_one(overlay: &Image, base: &dyn CommitTarget) -> Result<(), holstein::Error> {
    CommitOptions::new().workers(1).run(overlay, base, &mut quiet)
}

/// Runs a commit on recorded files and judges every pair of files that a cut can leave.
fn judge_commit(
    pair: &Pair,
    how: &dyn Fn(&Image, &dyn CommitTarget) -> Result<(), holstein::Error>,
) -> Result<u64, String> {
    let clock = Clock::new([&pair.top, &pair.base]);
    commit(clock.file(0), clock.file(1), pair.qcow2, how).map_err(|e| e.to_string())?;
    clock.for_each_pair(&mut |top, base| {
        let text = |e: holstein::Error| e.to_string();
        let below = chain(Arc::new(base.storage()), pair.qcow2).map_err(text)?;
        let found = contents(Arc::new(top.storage()), below).map_err(text)?;
        if found != pair.model {
            let at = found.iter().zip(&pair.model).position(|(a, b)| a != b);
            return Err(format!("base and overlay read differently at {at:?}"));
        }
        Ok(())
    })
}

#[test]
fn base_and_overlay_read_the_same_at_every_cut_of_a_commit() -> TestResult {
    for qcow2 in [false, true] {
        let pair = Pair::new(qcow2)?;
        let pairs = judge_commit(&pair, &one_by_one)?;
        assert!(pairs > 20, "qcow2 {qcow2}: only {pairs} pairs of files");
    }
    Ok(())
}

#[test]
fn a_commit_that_empties_first_is_found() -> TestResult {
    /// A base whose barriers are left out.
    struct Hasty<'a>(&'a dyn CommitTarget);
    impl CommitTarget for Hasty<'_> {
        fn len(&self) -> u64 {
            self.0.len()
        }
        fn grow(&self, len: u64) -> io::Result<()> {
            self.0.grow(len)
        }
        fn write_at(&self, at: u64, from: &[u8]) -> io::Result<()> {
            self.0.write_at(at, from)
        }
        fn write_zeroes(&self, at: u64, len: u64) -> io::Result<()> {
            self.0.write_zeroes(at, len)
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }
    for qcow2 in [false, true] {
        let pair = Pair::new(qcow2)?;
        let judged = judge_commit(&pair, &|overlay, base| one_by_one(overlay, &Hasty(base)));
        assert!(judged.is_err(), "qcow2 {qcow2}: a missing barrier was not noticed");
    }
    Ok(())
}

/// A new backing file that shows something else everywhere.
fn new_backing() -> Result<Arc<MemStorage>, holstein::Error> {
    let storage = Arc::new(MemStorage::new());
    let options = CreateOptions::new(10 * CLUSTER).cluster_size(1024);
    let image = options.create_on(Arc::<MemStorage>::clone(&storage))?;
    image.write_at(0, &[9; 10 * CLUSTER as usize])?;
    image.close()?;
    Ok(storage)
}

const NEW: Option<(&[u8], Option<&[u8]>)> = Some((b"new", Some(b"qcow2")));

/// Judges every file that a cut can leave while `how` rebases.
fn judge_rebase(
    pair: &Pair,
    how: &dyn Fn(&Image, NewBacking<'_>) -> Result<(), holstein::Error>,
    standalone: bool,
) -> Result<u64, String> {
    let text = |e: holstein::Error| e.to_string();
    let record = RecordingStorage::new(pair.top.clone()).map_err(|e| e.to_string())?;
    let record = Arc::new(record);
    let old = || chain(Arc::new(pair.base.clone()), pair.qcow2).map_err(text);
    let storage = new_backing().map_err(text)?;
    let new = || chain(Arc::<MemStorage>::clone(&storage), true).map_err(text);
    let image = over(Arc::<RecordingStorage<MemStorage>>::clone(&record), old()?).map_err(text)?;
    let chain = new()?;
    how(&image, if standalone { NewBacking::Nothing } else { NewBacking::Chain(&chain) })
        .and_then(|()| image.close())
        .map_err(text)?;
    let log = record.log();
    let options = SampleOptions { max_exhaustive: 6, samples: 8, ..SampleOptions::default() };
    let counts = log.for_each_state(&options, &mut |state| {
        let alone = OpenOptions::new().no_backing();
        let header = alone
            .open_storage_read_only(Arc::new(state.storage()))
            .map_err(|e| format!("{e}: {state}"))?
            .header();
        let below = match header.backing_file.as_deref() {
            Some(b"old") => old()?,
            Some(b"new") if !standalone => new()?,
            None if standalone => Arc::default(),
            other => return Err(format!("the name is {other:?}: {state}")),
        };
        let found = contents(Arc::new(state.storage()), below).map_err(text)?;
        if found != pair.model {
            return Err(format!("over {:?} it reads differently: {state}", header.backing_file));
        }
        let report = check(&state.storage(), &CheckOptions::default(), &mut |_| {})
            .map_err(|e| format!("{e}: {state}"))?;
        if report.corruptions > 0 { Err(format!("{report:?}: {state}")) } else { Ok(()) }
    })?;
    Ok(counts.states)
}

#[test]
fn an_image_reads_the_same_at_every_cut_of_a_rebase() -> TestResult {
    for standalone in [false, true] {
        let pair = Pair::new(!standalone)?;
        let name = if standalone { None } else { NEW };
        let rebase = |image: &Image, new: NewBacking<'_>| {
            RebaseOptions::new().workers(1).run(image, new, name, &mut quiet)
        };
        let states = judge_rebase(&pair, &rebase, standalone)?;
        assert!(states > 30, "only {states} states");
        // The name before the copies, as QEMU does it.
        let hasty = |image: &Image, new: NewBacking<'_>| {
            image.set_backing_file(name)?;
            rebase(image, new)
        };
        assert!(judge_rebase(&pair, &hasty, standalone).is_err(), "it was not noticed");
    }
    Ok(())
}

/// Arms every call of the kinds in turn, and says for which it fired.
fn each_fault(
    error: FaultError,
    run: &mut dyn FnMut(Fault) -> Result<bool, Box<dyn std::error::Error>>,
) -> TestResult {
    for lasting in [Lasting::Once, Lasting::FromThereOn] {
        let mut after = 0;
        loop {
            let kinds = IoKind::CHANGES.to_vec();
            let fault = Fault { after, kinds, error, lasting, partial: Partial::Half };
            if !run(fault)? {
                break;
            }
            after += 1;
        }
        assert!(after > 3, "only {after} calls");
    }
    Ok(())
}

#[test]
fn a_base_that_fails_leaves_both_usable() -> TestResult {
    for (qcow2, error) in [(false, FaultError::Enospc), (true, FaultError::Eio)] {
        let pair = Pair::new(qcow2)?;
        each_fault(error, &mut |fault| {
            let top = Arc::new(pair.top.clone());
            let base = Arc::new(FaultStorage::new(pair.base.clone()));
            base.arm(fault.clone());
            let on = Arc::<FaultStorage<MemStorage>>::clone(&base);
            let result = commit(Arc::<MemStorage>::clone(&top), on, qcow2, &one_by_one);
            if base.fired() == 0 {
                result?;
                return Ok(false);
            }
            assert!(result.is_err() || fault.kinds.len() > 1, "{fault:?} was not noticed");
            // What the fault let through is there; the two read as before, and it works again.
            let left = base.inner().clone();
            let below = chain(Arc::new(left.clone()), qcow2)?;
            let found = contents(Arc::<MemStorage>::clone(&top), below)?;
            assert!(found == pair.model, "{fault:?}: they read differently");
            let left = Arc::new(left);
            let again = commit(
                Arc::<MemStorage>::clone(&top),
                Arc::<MemStorage>::clone(&left),
                qcow2,
                &one_by_one,
            );
            again.map_err(|e| format!("{fault:?}: {e}"))?;
            let found = contents(top, chain(left, qcow2)?)?;
            assert!(found == pair.model, "{fault:?}: they read differently after a second commit");
            Ok(true)
        })?;
    }
    Ok(())
}

#[test]
fn an_overlay_that_fails_is_still_over_its_old_backing_file() -> TestResult {
    let pair = Pair::new(false)?;
    let storage = new_backing()?;
    each_fault(FaultError::Enospc, &mut |fault| {
        let top = Arc::new(FaultStorage::new(pair.top.clone()));
        let on = Arc::<FaultStorage<MemStorage>>::clone(&top);
        let image = over(on, chain(Arc::new(pair.base.clone()), false)?)?;
        top.arm(fault.clone());
        let new = chain(Arc::<MemStorage>::clone(&storage), true)?;
        let result =
            RebaseOptions::new().workers(1).run(&image, NewBacking::Chain(&new), NEW, &mut quiet);
        let fired = top.fired();
        drop(image);
        if fired == 0 {
            result?;
            return Ok(false);
        }
        let left: Arc<dyn Storage> = Arc::new(top.inner().clone());
        let header = OpenOptions::new()
            .no_backing()
            .open_storage_read_only(Arc::clone(&left))
            .map_err(|e| format!("{fault:?}: {e}"))?
            .header();
        let below = match header.backing_file.as_deref() {
            Some(b"old") => chain(Arc::new(pair.base.clone()), false)?,
            Some(b"new") => new,
            other => return Err(format!("{fault:?}: the name is {other:?}").into()),
        };
        let found = contents(left, below)?;
        assert!(found == pair.model, "{fault:?}: it reads differently");
        Ok(true)
    })
}

#[test]
fn copy_on_write_from_a_backing_file_is_one_write() -> TestResult {
    let cluster = 64 << 10;
    let base = Arc::new(MemStorage::from_bytes(&vec![7; 4 * cluster]));
    let file = Arc::new(MemStorage::new());
    CreateOptions::new(4 * cluster as u64)
        .backing_file(b"base".to_vec(), Some(b"raw".to_vec()))
        .create_on(Arc::<MemStorage>::clone(&file))?
        .close()?;
    let record = Arc::new(RecordingStorage::new(MemStorage::clone(&file))?);
    let image = over(Arc::<RecordingStorage<MemStorage>>::clone(&record), chain(base, false)?)?;
    image.write_at(0, &[1; 512])?;
    let before = record.log().entries().len();
    image.write_at(cluster as u64 + 8192, &[8; 4096])?;
    let log = record.log();
    let lengths: Vec<usize> = log.entries()[before..]
        .iter()
        .filter_map(|entry| match entry {
            holstein_testkit::Entry::Write { data, .. } => Some(data.len()),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [cluster], "head, data and tail go in one write");
    image.close()?;
    assert_eq!(SIZE % CLUSTER, 0);
    Ok(())
}
