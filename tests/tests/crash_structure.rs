//! Changes of an image's shape, cut anywhere: the old shape or the new one, and no errors.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::sync::Arc;

use holstein::check::{CheckOptions, check};
use holstein::format::Version;
use holstein::storage::{MemStorage, Storage};
use holstein::{AmendOptions, CreateOptions, Image, OpenOptions, Preallocation};
use holstein_testkit::{CrashState, RecordingStorage, SampleOptions};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What is on the disk before.
fn content(len: u64) -> Vec<u8> {
    (0..len).map(|n| (n / 512 % 250 + 1) as u8).collect()
}

/// Makes an image full of data, changes it, and gives all files that a cut may leave to `judge`, which
/// also hears whether the change was over.
fn each_cut(
    options: &CreateOptions,
    size: u64,
    change: impl FnOnce(&mut Image) -> Result<()>,
    judge: impl Fn(&Image, bool) -> std::result::Result<(), String>,
) -> Result<()> {
    let memory = Arc::new(MemStorage::new());
    let image = options.create_on(Arc::clone(&memory) as _)?;
    image.write_at(0, &content(size))?;
    image.close()?;
    let memory = MemStorage::from_bytes(&memory.to_bytes()?);
    let storage = Arc::new(RecordingStorage::new(memory)?);
    let mut image = OpenOptions::new().open_storage(Arc::clone(&storage) as _)?;
    change(&mut image)?;
    image.close()?;
    storage.mark(1);
    storage.flush()?;
    let sample = SampleOptions { max_exhaustive: 5, samples: 6, ..SampleOptions::default() };
    let mut states = 0_u64;
    let visited: std::result::Result<_, Infallible> =
        storage.log().for_each_state(&sample, &mut |state: &CrashState| {
            states += 1;
            let file: Arc<dyn Storage> = Arc::new(state.storage());
            let report = check(&*file, &CheckOptions::default(), &mut |_| {}).expect("checked");
            assert_eq!(
                (report.corruptions, report.check_errors),
                (0, 0),
                "cut {:?}: {:?}",
                state.choice,
                report.findings
            );
            let image = OpenOptions::new().open_storage(file).expect("it opens");
            judge(&image, state.flushed_mark == Some(1))
                .unwrap_or_else(|what| panic!("cut {:?}: {what}", state.choice));
            Ok(())
        });
    visited?;
    assert!(states > 10, "{states} states");
    Ok(())
}

fn read(image: &Image) -> Vec<u8> {
    let size = usize::try_from(image.virtual_size()).expect("small");
    let mut bytes = vec![0; size];
    image.read_at(0, &mut bytes).expect("readable");
    bytes
}

#[test]
fn a_cut_in_a_shrink_leaves_the_old_disk_or_the_new() -> Result<()> {
    // The small one has eight tables, of which the new size cuts one and leaves five.
    for (bits, old, new) in [(9, 256 << 10, 100_352), (12, 1 << 20, 512), (16, 1 << 20, 66_048)] {
        for version in [Version::V2, Version::V3] {
            let options = CreateOptions::new(old).cluster_size(1 << bits).version(version);
            let full = content(old);
            let kept = full[..usize::try_from(new)?].to_vec();
            each_cut(
                &options,
                old,
                |image| Ok(image.shrink(new)?),
                |image, over| {
                    let size = image.virtual_size();
                    if size == old && !over {
                        return if read(image) == full { Ok(()) } else { Err("old".into()) };
                    }
                    if size != new || read(image) != kept {
                        return Err(format!("{size} bytes, neither old nor new"));
                    }
                    // Whatever the cut left past the end is never seen.
                    image.resize(old, Preallocation::Off).map_err(|e| e.to_string())?;
                    let grown = read(image);
                    let (head, tail) = grown.split_at(kept.len());
                    if head != kept || tail.iter().any(|byte| *byte != 0) {
                        return Err("old bytes came back".into());
                    }
                    Ok(())
                },
            )?;
        }
    }
    Ok(())
}

#[test]
fn a_cut_in_an_amend_leaves_one_of_its_stages() -> Result<()> {
    // Zero clusters with and without space of their own, to be expanded on the way down.
    let zeros = |image: &Image, cluster: u64| -> Result<()> {
        image.write_zeroes(cluster, 2 * cluster, false)?;
        image.write_zeroes(5 * cluster, 2 * cluster, true)?;
        Ok(image.flush()?)
    };
    for bits in [9, 12] {
        let (cluster, size) = (1_u64 << bits, 24_u64 << bits);
        let mut full = content(size);
        for zero in [1..3, 5..7] {
            let bytes =
                usize::try_from(zero.start * cluster)?..usize::try_from(zero.end * cluster)?;
            full[bytes].fill(0);
        }
        let new = AmendOptions::new;
        let stages: [(Version, u32, AmendOptions); 4] = [
            (Version::V3, 16, new().refcount_bits(64)),
            (Version::V3, 64, new().refcount_bits(1)),
            (Version::V3, 8, new().version(Version::V2).refcount_bits(16)),
            (Version::V2, 16, new().version(Version::V3).refcount_bits(2).lazy_refcounts(true)),
        ];
        for (version, width, amended) in stages {
            let options = CreateOptions::new(size)
                .cluster_size(cluster)
                .version(version)
                .refcount_bits(width);
            let mut first = true;
            each_cut(
                &options,
                size,
                |image| {
                    zeros(image, cluster)?;
                    image.amend(&amended, &mut |_, _| first = false)?;
                    assert!(!first, "progress was told");
                    Ok(())
                },
                |image, over| {
                    let found = read(image);
                    let differs = |n: &usize| found[*n] != full[*n];
                    let zeroed = |n: &usize| found[*n] == content(size)[*n];
                    // The zeros themselves were written within the same recording.
                    match (0..found.len()).filter(differs).find(|n| over || !zeroed(n)) {
                        None => Ok(()),
                        Some(n) => Err(format!("byte {n} is {}", found[n])),
                    }
                },
            )?;
        }
    }
    Ok(())
}
