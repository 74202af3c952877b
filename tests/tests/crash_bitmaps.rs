//! A session with bitmaps, cut anywhere: a bitmap that is not in use knows of every change (C12).
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::sync::Arc;

use holstein::check::{CheckOptions, check};
use holstein::storage::{MemStorage, Storage};
use holstein::{CreateOptions, Granularity, Image, OpenOptions, Preallocation};
use holstein_guard::planted::{Bug, plant};
use holstein_testkit::{
    CrashState, Fault, FaultError, FaultStorage, IoKind, Lasting, Partial, RecordingStorage,
    SampleOptions,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
type Verdict = std::result::Result<(), String>;

const SIZE: u64 = 64 << 10;
const UNIT: u64 = 512;

fn granularity() -> Granularity {
    Granularity::new(UNIT).expect("a granularity")
}

/// An image with data and three bitmaps: one that records and has recorded, one that has and does not,
/// and one that is all dirty.
fn base(cluster: u64) -> Result<(Vec<u8>, Vec<u8>)> {
    let memory = Arc::new(MemStorage::new());
    let image =
        CreateOptions::new(SIZE).cluster_size(cluster).create_on(Arc::clone(&memory) as _)?;
    image.write_at(0, &vec![1; 40 << 10])?;
    for (name, on) in [("records", true), ("rests", false), ("full", true)] {
        image.add_bitmap(name, granularity(), on)?;
    }
    image.write_zeroes(0, SIZE, false)?;
    image.clear_bitmap("records")?;
    image.write_at(8 << 10, &[2; 1024])?;
    image.merge_bitmap("rests", &image.bitmap("records")?)?;
    image.close()?;
    let image = OpenOptions::new().open_storage_read_only(Arc::clone(&memory) as _)?;
    let mut disk = vec![0; usize::try_from(SIZE)?];
    image.read_at(0, &mut disk)?;
    Ok((memory.to_bytes()?, disk))
}

/// Changes of all kinds, with flushes between.
fn session(image: &Image) -> std::result::Result<(), holstein::Error> {
    image.write_at(1024, &[3; 512])?;
    image.flush()?;
    image.write_at(50 << 10, &[4; 3000])?;
    image.write_zeroes(16 << 10, 4096, true)?;
    image.discard(20 << 10, 4096)?;
    image.flush()?;
    image.add_bitmap("new", granularity(), true)?;
    image.write_compressed_at(60 << 10, &vec![5; 4096])?;
    image.resize(SIZE + 1024, Preallocation::Off)?;
    image.write_at(SIZE, &[6; 700])
}

/// A bitmap that can be used has a bit for each sector that is not as it was.
fn judge(file: Arc<dyn Storage>, disk: &[u8], over: bool) -> Verdict {
    let text = |e: holstein::Error| e.to_string();
    let report = check(&*file, &CheckOptions::default(), &mut |_| {}).map_err(|e| e.to_string())?;
    if report.corruptions + report.check_errors > 0 {
        return Err(format!("{:?}", report.findings));
    }
    let image = OpenOptions::new().open_storage_read_only(Arc::clone(&file)).map_err(text)?;
    let mut now = vec![0; image.virtual_size() as usize];
    image.read_at(0, &mut now).map_err(text)?;
    let list = image.bitmaps().map_err(text)?;
    for bitmap in &list {
        let name = String::from_utf8_lossy(&bitmap.name);
        if bitmap.inconsistent {
            if over {
                return Err(format!("{name} is in use after the end"));
            }
            continue;
        }
        let bits = image.bitmap(&bitmap.name).map_err(text)?;
        if name == "rests" || name == "new" {
            continue;
        }
        for (n, sector) in now.chunks(UNIT as usize).enumerate() {
            let at = n as u64 * UNIT;
            let old = disk.get(at as usize..(at as usize + sector.len()).min(disk.len()));
            if old.is_some_and(|old| old != sector) && !bits.is_dirty(at) {
                return Err(format!("{name} does not know that {at:#x} has changed"));
            }
        }
        if !bits.is_all_dirty(8 << 10, 1024) {
            return Err(format!("{name} has lost a bit"));
        }
    }
    if over && list.len() != 4 {
        return Err(format!("{} bitmaps", list.len()));
    }
    // The next writer takes it as it is.
    let image = OpenOptions::new().open_storage(file).map_err(text)?;
    image.write_at(0, &[9; 512]).map_err(text)?;
    image.close().map_err(text)
}

/// The first cut after which a promise is broken.
fn first_violation(cluster: u64) -> Result<Option<String>> {
    let (bytes, disk) = base(cluster)?;
    let storage = Arc::new(RecordingStorage::new(MemStorage::from_bytes(&bytes))?);
    let image = OpenOptions::new().open_storage(Arc::clone(&storage) as _)?;
    session(&image)?;
    image.close()?;
    storage.mark(1);
    storage.flush()?;
    plant(None);
    let sample = SampleOptions { max_exhaustive: 4, samples: 6, ..SampleOptions::default() };
    let (mut states, mut found) = (0_u64, None);
    let visited: std::result::Result<_, Infallible> =
        storage.log().for_each_state(&sample, &mut |state: &CrashState| {
            states += 1;
            if found.is_none()
                && let Err(what) =
                    judge(Arc::new(state.storage()), &disk, state.flushed_mark == Some(1))
            {
                found = Some(format!("cut {:?}: {what}", state.choice));
            }
            Ok(())
        });
    visited?;
    assert!(states > 100, "{states} states");
    Ok(found)
}

#[test]
fn c12_a_cut_leaves_bitmaps_that_hold_or_say_that_they_do_not() -> Result<()> {
    for cluster in [512, 4096] {
        assert_eq!(first_violation(cluster)?, None, "clusters of {cluster}");
    }
    Ok(())
}

#[test]
fn crash_finds_bitmaps_that_are_not_in_use() -> Result<()> {
    for bug in [Bug::BitmapNotInUse, Bug::HeaderBeforeRun, Bug::BitmapNotRecorded] {
        plant(Some(bug));
        let found = first_violation(512);
        plant(None);
        assert!(found?.is_some(), "{bug:?}");
    }
    Ok(())
}

#[test]
fn a_cut_in_a_removal_leaves_the_old_list_or_the_new() -> Result<()> {
    for (left, cluster) in [(3, 512), (1, 4096)] {
        let (bytes, _) = base(cluster)?;
        let memory = Arc::new(MemStorage::from_bytes(&bytes));
        let image = OpenOptions::new().open_storage(Arc::clone(&memory) as _)?;
        for name in ["rests", "full"].into_iter().skip(if left == 3 { 2 } else { 0 }) {
            image.remove_bitmap(name)?;
        }
        image.close()?;
        let memory = MemStorage::from_bytes(&memory.to_bytes()?);
        let storage = Arc::new(RecordingStorage::new(memory)?);
        let image = OpenOptions::new().open_storage(Arc::clone(&storage) as _)?;
        image.remove_bitmap("records")?;
        storage.mark(1);
        image.close()?;
        let sample = SampleOptions { max_exhaustive: 5, samples: 6, ..SampleOptions::default() };
        let visited: std::result::Result<_, Infallible> =
            storage.log().for_each_state(&sample, &mut |state: &CrashState| {
                let file: Arc<dyn Storage> = Arc::new(state.storage());
                let report = check(&*file, &CheckOptions::default(), &mut |_| {}).expect("checked");
                assert_eq!(report.corruptions, 0, "cut {:?}", state.choice);
                let image = OpenOptions::new().open_storage_read_only(file).expect("opened");
                let found = image.bitmaps().expect("listed").len();
                let gone = state.flushed_mark == Some(1);
                assert!(found == left - 1 || (found == left && !gone), "cut {:?}", state.choice);
                Ok(())
            });
        visited?;
    }
    Ok(())
}

#[test]
fn a_fault_anywhere_leaves_bitmaps_that_hold_or_say_that_they_do_not() -> Result<()> {
    let (bytes, disk) = base(512)?;
    let mut fired = 0;
    for lasting in [Lasting::Once, Lasting::FromThereOn] {
        for after in 0.. {
            let storage = Arc::new(FaultStorage::new(MemStorage::from_bytes(&bytes)));
            storage.arm(Fault {
                after,
                kinds: IoKind::CHANGES.to_vec(),
                error: if after % 2 == 0 { FaultError::Eio } else { FaultError::Enospc },
                lasting,
                partial: [Partial::Nothing, Partial::Half, Partial::Everything][after as usize % 3],
            });
            let result =
                OpenOptions::new().open_storage(Arc::clone(&storage) as _).and_then(|image| {
                    let result = session(&image);
                    image.close().and(result)
                });
            if storage.fired() == 0 {
                assert!(result.is_ok(), "{result:?}");
                break;
            }
            fired += 1;
            storage.disarm();
            let file = Arc::new(MemStorage::from_bytes(&storage.inner().to_bytes()?));
            judge(file, &disk, false)
                .map_err(|what| format!("fault {after}, {lasting:?}: {what}"))?;
        }
    }
    assert!(fired > 60, "{fired} faults");
    Ok(())
}
