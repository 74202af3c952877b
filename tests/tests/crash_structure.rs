//! Changes of an image's shape, cut anywhere: the old shape or the new one, and no errors.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::sync::Arc;

use holstein::check::{CheckOptions, check};
use holstein::format::Version;
use holstein::storage::{MemStorage, Storage};
use holstein::{CreateOptions, Image, OpenOptions, Preallocation};
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
    change: impl FnOnce(Image) -> Result<()>,
    judge: impl Fn(&Image, bool) -> std::result::Result<(), String>,
) -> Result<()> {
    let memory = Arc::new(MemStorage::new());
    let image = options.create_on(Arc::clone(&memory) as _)?;
    image.write_at(0, &content(size))?;
    image.close()?;
    let memory = MemStorage::from_bytes(&memory.to_bytes()?);
    let storage = Arc::new(RecordingStorage::new(memory)?);
    change(OpenOptions::new().open_storage(Arc::clone(&storage) as _)?)?;
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
    assert!(states > 20, "{states} states");
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
                |image| {
                    image.shrink(new)?;
                    Ok(image.close()?)
                },
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
