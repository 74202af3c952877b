//! Images that give up all they hold, or the tables at their end.

use std::sync::Arc;

use holstein::check::{CheckOptions, check};
use holstein::format::Version;
use holstein::storage::{MemStorage, Storage};
use holstein::{CreateOptions, ExtentKind, Image};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// The kinds of entries: version 2, version 3, and subclusters.
const KINDS: [(Version, bool); 3] =
    [(Version::V2, false), (Version::V3, false), (Version::V3, true)];

fn image(
    (version, extended): (Version, bool),
    size: u64,
) -> Result<(Arc<MemStorage>, Image), holstein::Error> {
    let file = Arc::new(MemStorage::new());
    let image = CreateOptions::new(size)
        .version(version)
        .cluster_size(16 << 10)
        .extended_l2(extended)
        .create_on(Arc::<MemStorage>::clone(&file))?;
    // Data in several tables, whole clusters and parts, and zeros.
    for at in (0..size).step_by(3 << 20) {
        image.write_at(at + 512, &[7; 40 << 10])?;
        image.write_zeroes(at + (256 << 10), 32 << 10, true)?;
    }
    Ok((file, image))
}

fn clean(file: &MemStorage) -> Result<bool, holstein::check::CheckError> {
    Ok(check(file, &CheckOptions::default(), &mut |_| {})?.is_clean())
}

#[test]
fn an_image_that_was_emptied_holds_nothing_and_is_short() -> TestResult {
    for kind in KINDS {
        let size = 100 << 20;
        let (file, image) = image(kind, size)?;
        image.make_empty()?;
        let mut at = 0;
        while at < size {
            let extent = image.extent_at(at, size - at)?;
            assert_eq!(extent.kind, ExtentKind::Unallocated, "{kind:?} at {at}");
            at += extent.len;
        }
        image.write_at(0, &[1; 512])?;
        image.close()?;
        assert!(clean(&file)?, "{kind:?}");
        assert!(file.len()? < 10 * (16 << 10), "{kind:?}: {} bytes are left", file.len()?);
    }
    Ok(())
}

#[test]
fn tables_past_the_end_of_a_smaller_disk_are_given_up_whatever_their_entries() -> TestResult {
    for kind in KINDS {
        let (file, image) = image(kind, 100 << 20)?;
        image.shrink(1 << 20)?;
        image.close()?;
        assert!(clean(&file)?, "{kind:?}");
    }
    Ok(())
}
