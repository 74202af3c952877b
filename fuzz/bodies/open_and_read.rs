//! Fuzz body: a whole image, opened, mapped, read, checked, and written.

use std::sync::Arc;

use holstein::check::{CheckOptions, check};
use holstein::storage::MemStorage;
use holstein::{Image, OpenOptions, ReadOnlyImage};

/// Reads of this size show every kind of extent, whatever the cluster size.
const CHUNK: u64 = 64 << 10;
/// Chunks read from the start and from the end of the disk, which may be of any size.
const CHUNKS: u64 = 32;
/// Extents looked at.
const EXTENTS: usize = 2000;
/// Enough for any input of a fuzzer, and a bound on what one may make the check take.
const CHECK_MEMORY: u64 = 32 << 20;

/// The bytes are the file. Whatever it holds, each call answers or names an error.
///
/// Data that is written is not compared: tables of a hostile image may lie on its data with counts that say
/// so, and a check finds nothing wrong with that.
pub(crate) fn run(data: &[u8]) {
    judge(data);
    let options = OpenOptions::new().no_backing();
    let file = Arc::new(MemStorage::from_bytes(data));
    match options.open_storage_read_only(file.clone()) {
        Ok(image) => read(&image),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert_eq!(Arc::strong_count(&file), 1, "an image that is gone holds its file, locks and all");
    if let Ok(image) = options.open_storage(file.clone()) {
        write(image);
    }
    assert_eq!(
        Arc::strong_count(&file),
        1,
        "an image that is closed holds its file, locks and all"
    );
}

fn judge(data: &[u8]) {
    let options = CheckOptions { memory_limit: CHECK_MEMORY, max_findings: 1000 };
    match check(&MemStorage::from_bytes(data), &options, &mut |_| ()) {
        Ok(report) => assert!(report.findings.len() <= 1000),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn read(image: &ReadOnlyImage) {
    let size = image.virtual_size();
    let mut at = 0;
    for _ in 0..EXTENTS {
        if at >= size {
            break;
        }
        let Ok(extent) = image.extent_at(at, size - at) else { break };
        assert!(extent.len > 0 && extent.len <= size - at, "an extent of {} at {at}", extent.len);
        at += extent.len;
    }
    let mut buffer = vec![0; usize::try_from(CHUNK).expect("a chunk fits in memory")];
    let chunks = size.div_ceil(CHUNK);
    let last = chunks.saturating_sub(CHUNKS).max(CHUNKS.min(chunks));
    for chunk in (0..chunks.min(CHUNKS)).chain(last..chunks) {
        let at = chunk * CHUNK;
        let length = usize::try_from(CHUNK.min(size - at)).expect("a chunk fits in memory");
        let _ = image.read_at(at, buffer.get_mut(..length).expect("as long as a chunk"));
    }
    assert!(image.read_at(size, &mut [0]).is_err(), "a byte past the end was read");
}

fn write(image: Image) {
    let size = image.virtual_size();
    for at in [0, size / 2, size.saturating_sub(3000)] {
        let room = usize::try_from(size - at).unwrap_or(usize::MAX);
        let bytes = vec![0x5a; room.min(3000)];
        let _ = image.write_at(at, &bytes);
    }
    let length = size.min(100_000);
    let _ = image.write_zeroes(size / 3, length.min(size - size / 3), true);
    let _ = image.discard(size / 4, length.min(size - size / 4));
    let _ = image.flush();
    let _ = image.write_at(0, &[1]);
    let _ = image.close();
}
