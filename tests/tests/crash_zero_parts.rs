//! Zeros over a part of a large cluster are written in pieces that end where sectors end.
//!
//! Found by the crash explorer with clusters of 2 MiB: zeros from the middle of a sector on were cut
//! every 64 KiB from there, so that a power cut between two writes left half of a sector new and half
//! of it old.
#![forbid(unsafe_code)]

use std::sync::Arc;

use holstein::CreateOptions;
use holstein_storage::MemStorage;
use holstein_testkit::{Entry, RecordingStorage};
use holstein_units::SECTOR;

#[test]
fn zeros_over_part_of_a_cluster_are_cut_at_sectors() -> Result<(), Box<dyn std::error::Error>> {
    let storage = Arc::new(RecordingStorage::new(MemStorage::new())?);
    let image =
        CreateOptions::new(4 << 20).cluster_size(2 << 20).create_on(Arc::clone(&storage) as _)?;
    image.write_at(0, &vec![0x55; 4 << 20])?;
    image.flush()?;
    let before = storage.log().entries().len();
    let (at, len) = (1000, 2_000_001);
    image.write_zeroes(at, len, false)?;
    let log = storage.log();
    let writes: Vec<(u64, u64)> = log.entries()[before..]
        .iter()
        .filter_map(|entry| match entry {
            Entry::Write { at, data } => Some((at.get(), data.len() as u64)),
            _ => None,
        })
        .collect();
    assert!(writes.len() > 1, "the range is longer than one piece: {writes:?}");
    assert_eq!(writes.iter().map(|(_, len)| len).sum::<u64>(), len);
    for pair in writes.windows(2) {
        let end = pair[0].0 + pair[0].1;
        assert_eq!(end, pair[1].0, "{writes:?}");
        assert_eq!(end % SECTOR, 0, "a sector is cut in two: {writes:?}");
    }
    image.close()?;
    Ok(())
}
