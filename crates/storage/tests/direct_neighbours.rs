//! H54: writes of parts of blocks beside each other, each of which must survive.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use holstein_storage::{Create, FileOptions, FileStorage, LockMode, Storage, SyncMode};
use holstein_testkit::TempDir;
use holstein_units::{HostOffset, HostRange};

const ROUNDS: u8 = 40;

#[test]
fn parts_of_one_block_are_not_lost() -> io::Result<()> {
    let dir = TempDir::new("direct")?;
    let options = FileOptions {
        write: true,
        create: Create::New,
        direct: true,
        lock: LockMode::Write,
        sync: SyncMode::Unsafe,
        ..FileOptions::default()
    };
    let s = FileStorage::open(dir.file("f"), &options).map_err(io::Error::other)?;
    let block = u64::from(s.capabilities().alignment);
    let part = block / 4;
    s.set_len(3 * block + 1)?;
    let failed = AtomicBool::new(false);
    // Four writers share block 1; one rewrites block 0 as a whole, one clears a part of block 2 and
    // one writes over the border of blocks 1 and 2, where nobody else does.
    let worker = |at: u64, len: u64, zero: bool| {
        for round in 1..=ROUNDS {
            let bytes = vec![round; usize::try_from(len).expect("small")];
            s.write_at(HostOffset::new(at), &bytes).expect("the disk takes it");
            let range = HostRange::new(HostOffset::new(at), len).expect("small");
            if zero {
                s.write_zeroes(range).expect("the disk takes it");
            }
            let mut found = vec![0xee; bytes.len()];
            s.read_at(HostOffset::new(at), &mut found).expect("the disk gives it");
            let expected = if zero { 0 } else { round };
            if found.iter().any(|&byte| byte != expected) {
                failed.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| worker(0, block, false));
        for n in 0..3 {
            scope.spawn(move || worker(block + n * part, part, false));
        }
        scope.spawn(|| worker(block + 3 * part, 2 * part, false));
        scope.spawn(|| worker(2 * block + part, part, true));
        scope.spawn(|| worker(2 * block + 2 * part, block - 2 * part + 1, false));
    });
    assert!(!failed.into_inner(), "a neighbour's write was undone");
    assert_eq!(s.len()?, 3 * block + 1, "padding does not show in the length");
    Ok(())
}
