//! Encrypted payload: what is in the file, and writers that meet in one sector.

mod common;

use std::sync::Arc;

use holstein_codec::Deflate;
use holstein_crypto::{LegacyAes, Secret, SectorCipher};
use holstein_engine::{Disk, DiskConfig, EngineError, NoProgress, Preallocation};
use holstein_format::{Header, HeaderExtension, Version};
use holstein_guard::{GuardError, Region, RegionMask};
use holstein_storage::{MemStorage, Storage};
use holstein_units::HostOffset;

const CLUSTER: u64 = 4096;
const SIZE: u64 = 1 << 20;

/// A disk that is encrypted under `passphrase`, in `storage`.
fn open(storage: &Arc<MemStorage>, header: &Header, passphrase: &str) -> Disk {
    let secret = Secret::new(passphrase.as_bytes().to_vec());
    let cipher: Arc<dyn SectorCipher> = Arc::new(LegacyAes::new(&secret));
    let config = DiskConfig {
        writable: true,
        overlap: RegionMask::ALL,
        cipher: Some(cipher),
        ..DiskConfig::reading(Arc::new(Deflate::default()))
    };
    Disk::open(Arc::<MemStorage>::clone(storage), header, config).expect("opened")
}

/// An empty disk.
fn create() -> (Arc<MemStorage>, Disk) {
    let (storage, header) = common::empty(Version::V3, CLUSTER.trailing_zeros(), false, 4);
    let disk = open(&storage, &header, "abc");
    disk.resize(SIZE, Preallocation::Off, &mut NoProgress).expect("grown");
    (storage, disk)
}

fn read(disk: &Disk, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    disk.read_at(at, &mut bytes).expect("read");
    bytes
}

#[test]
fn the_file_holds_nothing_that_was_written() {
    let (storage, disk) = create();
    let text = b"attack at dawn: ".repeat(1000);
    disk.write_at(100, &text).expect("written");
    // In place, within a sector and across some.
    disk.write_at(5000, &text[..10]).expect("written");
    disk.write_at(3000, &text[..1600]).expect("written");
    disk.close().expect("closed");
    let file = storage.to_bytes().expect("small");
    assert!(!file.windows(8).any(|part| part == &text[..8]));
    // Nor zeros where new clusters were filled up.
    let data = &file[7 * CLUSTER as usize..];
    assert!(!data.windows(64).any(|part| part.iter().all(|byte| *byte == 0)));
    assert_eq!(read(&disk, 3000, 1600), text[..1600]);
}

#[test]
fn a_wrong_passphrase_reads_something_else() {
    let (storage, disk) = create();
    disk.write_at(0, &[7; 4096]).expect("written");
    disk.close().expect("closed");
    let header = disk.header();
    let other = open(&storage, &header, "abd");
    assert_ne!(read(&other, 0, 512), [7; 512]);
    // Zeros that are no data are zeros under any passphrase.
    assert_eq!(read(&other, 8192, 512), [0; 512]);
}

#[test]
fn space_that_is_prepared_reads_as_zeros() {
    let (_storage, disk) = create();
    for (n, mode) in [Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full]
        .into_iter()
        .enumerate()
    {
        let size = SIZE + (n as u64 + 1) * 3 * 1024 * 1024;
        let old = disk.size();
        disk.resize(size, mode, &mut NoProgress).expect("grown");
        let extent = disk.extent_at(old, size - old).expect("mapped");
        assert_eq!((extent.len, extent.host), (size - old, None), "{mode:?}");
        assert!(read(&disk, old, (size - old) as usize).iter().all(|byte| *byte == 0), "{mode:?}");
    }
}

/// Parts of one sector, and the whole of its neighbour and of itself: no write is lost in the
/// reading and writing again that the others do.
#[test]
fn writers_of_one_sector_lose_nothing() {
    let (_storage, disk) = create();
    disk.write_at(0, &[0; 4096]).expect("written");
    let rounds = 300_u32;
    std::thread::scope(|scope| {
        for (at, len) in [(0, 100), (100, 200), (300, 212 + 100)] {
            let disk = &disk;
            scope.spawn(move || {
                for round in 1..=rounds {
                    let byte = (round % 251) as u8;
                    disk.write_at(at, &vec![byte; len]).expect("written");
                    assert!(read(disk, at, len).iter().all(|found| *found == byte), "at {at}");
                }
            });
        }
        scope.spawn(|| {
            for round in 1..=rounds {
                disk.write_at(1024, &[(round % 13) as u8; 1024]).expect("written");
                disk.write_at(700, &[(round % 17) as u8; 300]).expect("written");
            }
        });
    });
    let last = (rounds % 251) as u8;
    assert!(read(&disk, 0, 612).iter().all(|found| *found == last));
    assert!(read(&disk, 1024, 1024).iter().all(|found| *found == (rounds % 13) as u8));
    assert!(read(&disk, 700, 300).iter().all(|found| *found == (rounds % 17) as u8));
}

/// A table that leads into the clusters of the LUKS header: they are no more for data than others with
/// metadata are. How long the area says it is costs nothing.
#[test]
fn h28_data_over_the_luks_header_is_not_written() {
    let (storage, header) = common::empty(Version::V3, CLUSTER.trailing_zeros(), false, 4);
    let disk = open(&storage, &header, "abc");
    disk.resize(SIZE, Preallocation::Off, &mut NoProgress).expect("grown");
    disk.write_at(0, &[7; 2 * CLUSTER as usize]).expect("written");
    disk.close().expect("closed");
    let mut header = disk.header();
    let last = storage.len().expect("memory") - CLUSTER;
    for length in [592, u64::MAX >> 1] {
        let area = HeaderExtension::EncryptionHeader { offset: HostOffset::new(last), length };
        header.extensions = vec![area];
        let disk = open(&storage, &header, "abc");
        disk.write_at(0, &[8; 512]).expect("the first cluster is another");
        let error = disk.write_at(CLUSTER, &[8; 512]).expect_err("it would be lost");
        let EngineError::Guard(GuardError::Overlap { hit, .. }) = error else { panic!("{error}") };
        assert_eq!(hit, Region::EncryptionHeader);
        assert_eq!(read(&disk, CLUSTER, 512), [7; 512]);
    }
}
