//! Options that older drivers have too, by what they do to the file.
#![forbid(unsafe_code)]

mod hazard;

use std::sync::Arc;

use hazard::{CLUSTER, COPIED, Crafted, OFFSET};
use holstein::{
    CreateOptions, ErrorKind, Image, OpenOptions, OverlapCheck, Preallocation, Region, Secret,
};
use holstein_storage::MemStorage;
use holstein_testkit::{Entry, RecordingStorage};

type TestResult = Result<(), Box<dyn std::error::Error>>;

#[test]
fn clusters_are_64_kib_unless_told_otherwise() -> TestResult {
    let image = CreateOptions::new(1 << 20).create_on(Arc::new(MemStorage::new()))?;
    assert_eq!(image.cluster_size(), 65_536);
    assert_eq!(holstein::format::limits::DEFAULT_CLUSTER_BITS, 16);
    Ok(())
}

/// Memory for what is encrypted is bounded by a step, however long the request.
#[test]
fn encrypted_writes_go_in_steps() -> TestResult {
    let storage = Arc::new(RecordingStorage::new(MemStorage::new())?);
    let secret = Secret::new(b"pass".to_vec());
    let image = CreateOptions::new(16 << 20)
        .legacy_aes(secret)
        .create_on(Arc::<RecordingStorage<MemStorage>>::clone(&storage))?;
    let written = vec![0x5a; 9 << 20];
    image.write_at(1 << 20, &written)?;
    image.write_at(1 << 20, &written)?;
    let lengths = storage
        .log()
        .entries()
        .iter()
        .map(|entry| match entry {
            Entry::Write { data, .. } => data.len(),
            _ => 0,
        })
        .collect::<Vec<_>>();
    assert_eq!(lengths.iter().max(), Some(&(2 << 20)), "no write is longer than a step");
    let mut read = vec![0; written.len()];
    image.read_at(1 << 20, &mut read)?;
    assert!(read == written);
    image.close()?;
    Ok(())
}

/// What frees a cluster: returns where it was in the file. It held nothing but 0xaa, or was a table.
type Free = fn(&Image) -> Result<u64, holstein::Error>;

fn by_a_discard(image: &Image) -> Result<u64, holstein::Error> {
    let at = image.extent_at(0, 512)?.host.expect("it has data");
    image.discard(0, 512)?;
    Ok(at)
}

fn with_a_snapshot(image: &Image) -> Result<u64, holstein::Error> {
    let at = image.extent_at(0, 512)?.host.expect("it has data");
    image.create_snapshot("s")?;
    image.write_at(0, &[0xbb; 512])?;
    image.delete_snapshot("s")?;
    Ok(at)
}

fn by_a_table_that_moves(image: &Image) -> Result<u64, holstein::Error> {
    let at = image.header().l1_table_offset.get();
    image.resize(64 << 20, Preallocation::Off)?;
    assert_ne!(image.header().l1_table_offset.get(), at);
    Ok(at)
}

#[test]
fn freed_space_is_told_to_the_host_as_the_options_say() -> TestResult {
    let ways: [(u8, Free); 3] =
        [(1, by_a_discard), (2, with_a_snapshot), (4, by_a_table_that_moves)];
    for passed in 0..8_u8 {
        for (switch, free) in ways {
            let storage = Arc::new(MemStorage::new());
            let new = CreateOptions::new(1 << 20).cluster_size(512);
            let image = new.create_on(Arc::<MemStorage>::clone(&storage))?;
            image.write_at(0, &[0xaa; 512])?;
            image.close()?;
            let image = OpenOptions::new()
                .pass_discard_request(passed & 1 != 0)
                .pass_discard_snapshot(passed & 2 != 0)
                .pass_discard_other(passed & 4 != 0)
                .open_storage(Arc::<MemStorage>::clone(&storage))?;
            let at = usize::try_from(free(&image)?)?;
            image.close()?;
            let bytes = storage.to_bytes()?;
            let is_hole = bytes[at..at + 512].iter().all(|byte| *byte == 0);
            assert_eq!(is_hole, passed & switch != 0, "switch {switch}, passed {passed}");
        }
    }
    Ok(())
}

#[test]
fn structures_are_protected_as_the_option_says() -> TestResult {
    // A disk with a snapshot, and an L2 table of its own.
    let storage = Crafted::new().storage();
    let image = OpenOptions::new().open_storage(Arc::<MemStorage>::clone(&storage))?;
    let l1 = image.create_snapshot("s")?.l1_table_offset.get();
    image.write_at(0, &[5; 512])?;
    image.close()?;
    let good = Crafted { bytes: storage.to_bytes()? };
    let places = [
        (Region::ActiveL1, good.u64(40)),
        (Region::ActiveL2, good.l2_at(0)),
        (Region::RefcountTable, good.u64(48)),
        (Region::RefcountBlock, good.block()),
        (Region::SnapshotTable, good.u64(64)),
        (Region::InactiveL1, l1),
        (Region::InactiveL2, good.u64(l1) & OFFSET),
    ];
    let templates =
        [OverlapCheck::NONE, OverlapCheck::CONSTANT, OverlapCheck::CACHED, OverlapCheck::ALL];
    let masks = templates.into_iter().chain(Region::ALL.into_iter().map(Region::mask));
    for mask in masks {
        for (region, host) in places {
            // Cluster 1 of the disk lies on the structure.
            let image = good.clone().put_u64(good.l2_at(1), COPIED | host);
            let open = OpenOptions::new().overlap_check(mask).open_storage(image.storage())?;
            let result = open.write_at(CLUSTER, &[7; 512]);
            let protected = !mask.intersection(region.mask()).is_empty();
            assert_eq!(
                result.err().map(|error| (error.kind(), error.overlap())),
                protected.then_some((ErrorKind::Corrupt, Some(region))),
                "{region}, {mask:?}"
            );
        }
    }
    Ok(())
}
