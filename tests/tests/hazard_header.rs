//! Hazards of headers: sizes, arithmetic and names, each in an image made for it.
//!
//! | rows | where |
//! |---|---|
//! | H1 to H7, H9 to H13, H23, H24, H36, H39 | here |
//! | H14 to H20 | `hazard_tables.rs` |
//! | H21 (deflate), H30 to H32, H35 | `hazard_names.rs` |
//! | H40 to H48, H51 to H54 | `hazard_data.rs` |
//! | H26, H27 | `hazard_bitmaps.rs` |
//! | H29, H33, H34, H38 | the program's own tests: what opens files by name |
//! | H8, H25, H49 (snapshots, shrinking) | the issue of snapshots |
//! | H22 (extended entries), H21 (zstd), H50 (compressed writes), H28 (LUKS) | their issues; the structures are judged in the format crate's tests |
//! | H37 (other formats) | the issue of other formats |

mod hazard;

use std::sync::Arc;

use hazard::{CLUSTER, Crafted, SIZE, report};
use holstein::check::{CheckError, CheckOptions, check};
use holstein::format::{DecodePurpose, FormatError, Header, Table, Version};
use holstein::{CreateOptions, ErrorKind, OpenOptions, Preallocation};
use holstein_storage::{MemStorage, Storage};

#[test]
fn h01_huge_l1_size_is_refused() {
    for entries in [(32 << 20) / 8 + 1, 1 << 31, u32::MAX] {
        let error = Crafted::new().put_u32(36, entries).refused();
        let FormatError::TableTooLarge { table: Table::L1, size, limit } = error else {
            panic!("{error}")
        };
        assert_eq!((size, limit), (u64::from(entries) * 8, 32 << 20));
    }
    // The largest one that is allowed ends past this file: an error, and no memory for what is not
    // there is a promise of the next test.
    let error = Crafted::new().put_u32(36, (32 << 20) / 8).open().expect_err("too short");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn h02_cluster_bits_out_of_range_is_refused() {
    for bits in [0, 8, 22, 31, 32, 63, 64, u32::MAX] {
        let error = Crafted::new().put_u32(20, bits).refused();
        assert_eq!(error, FormatError::ClusterBits { bits });
    }
}

#[test]
fn h03_too_many_snapshots_and_tables_past_the_end_are_refused() {
    for n in [65_537, u32::MAX] {
        let error = Crafted::new().put_u32(60, n).put_u64(64, 8 * CLUSTER).refused();
        assert!(matches!(error, FormatError::TableTooLarge { table: Table::Snapshot, .. }));
    }
    for at in [0, 1, 512, u64::MAX, 1 << 63, (1 << 63) - CLUSTER] {
        let error = Crafted::new().put_u32(60, 65_536).put_u64(64, at).refused();
        assert!(
            matches!(error, FormatError::TableOffset { table: Table::Snapshot, .. }),
            "{at:#x}"
        );
    }
    // Allowed by its numbers, and past the end of the file: the table ends early.
    let error =
        Crafted::new().put_u32(60, 65_536).put_u64(64, 1 << 40).open().expect_err("not there");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn h04_offsets_with_high_bits_are_no_negative_numbers() {
    // Data at the highest cluster of the format: past the end, so it reads as zeros, has count 0,
    // and a write there is refused rather than counted somewhere else.
    for at in [1_u64 << 55, (1 << 56) - CLUSTER, 1 << 47, 1 << 43] {
        let image = Crafted::new();
        let entry = image.l2_at(1);
        let image = image.put_u64(entry, at | 1 << 63);
        let mut bytes = [1; 512];
        let open = image.open_read_only().expect("the header is fine");
        open.read_at(CLUSTER, &mut bytes).expect("past the end");
        assert_eq!(bytes, [0; 512]);
        let storage = image.storage();
        let open = OpenOptions::new()
            .open_storage(Arc::<MemStorage>::clone(&storage))
            .expect("the header is fine");
        let error = open.write_at(CLUSTER, &[7; 512]).expect_err("counted as free");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        drop(open);
        assert!(storage.len().expect("memory") < 1 << 20, "nothing was written there");
    }
}

#[test]
fn h05_the_old_format_is_refused_whatever_it_says() {
    for (size, bits) in [(u64::MAX, 255), (1 << 63, 0), (0, 9)] {
        let error = Crafted::new().put_u32(4, 1).put_u64(24, size).put_u32(20, bits).refused();
        assert_eq!(error, FormatError::UnsupportedVersion { version: 1 });
    }
    for version in [0, 4, u32::MAX] {
        let error = Crafted::new().put_u32(4, version).refused();
        assert_eq!(error, FormatError::UnsupportedVersion { version });
    }
}

#[test]
fn h06_bad_refcount_tables_are_refused() {
    for at in [0, 1, 512, CLUSTER + 8, 1 << 63, u64::MAX, (1 << 63) - CLUSTER] {
        let error = Crafted::new().put_u64(48, at).refused();
        assert!(
            matches!(error, FormatError::TableOffset { table: Table::Refcount, .. }),
            "{at:#x}"
        );
    }
    for clusters in [2049, 1 << 31, u32::MAX] {
        let error = Crafted::new().put_u32(56, clusters).refused();
        assert!(matches!(error, FormatError::TableTooLarge { table: Table::Refcount, .. }));
    }
    // Without a table: for check alone.
    let image = Crafted::new().put_u32(56, 0);
    assert_eq!(image.refused(), FormatError::NoRefcountTable);
    let len = image.bytes.len() as u64;
    assert!(Header::decode(&image.bytes, len, DecodePurpose::Check).is_ok());
    assert!(report(&*image.storage()).corruptions > 0);
    // Past the end of the file: reads work, the first write finds the table missing.
    let image = Crafted::new().put_u64(48, 1 << 40);
    let mut bytes = [0; 4];
    image.open_read_only().expect("not needed").read_at(0, &mut bytes).expect("read");
    assert_eq!(bytes, [1; 4]);
    let error = image.open().expect("not needed yet").write_at(SIZE - 512, &[1; 512]);
    assert_eq!(error.expect_err("no table").kind(), ErrorKind::Corrupt);
}

#[test]
fn h07_images_outgrow_their_refcount_table_in_every_width() {
    for width in [1, 2, 4, 8, 16, 32, 64] {
        // 64 entries of 512 * 8 / width counters of 512 bytes each.
        let covered = 64 * (512 * 8 / width) * 512_u64;
        let storage = Arc::new(MemStorage::new());
        let image = CreateOptions::new(512)
            .cluster_size(512)
            .refcount_bits(u32::try_from(width).expect("small"))
            .create_on(Arc::<MemStorage>::clone(&storage))
            .expect("created");
        let before = image.header().refcount_table_clusters;
        image.resize(covered, Preallocation::Metadata).expect("grown");
        assert!(image.header().refcount_table_clusters > before, "width {width}: it grew");
        image.write_at(covered - 600, &[7; 600]).expect("written");
        let mut back = [0; 700];
        image.read_at(covered - 700, &mut back).expect("read");
        assert!(back[..100] == [0; 100] && back[100..] == [7; 600]);
        image.close().expect("closed");
        assert!(report(&*storage).is_clean(), "width {width}");
    }
    // A cluster past the table counts as free.
    let image = Crafted::new();
    let entry = image.l2_at(0);
    let image = image.put_u64(entry, 1 << 50 | 1 << 63);
    assert!(report(&*image.storage()).corruptions > 0, "count 0 of a referenced cluster");
}

#[test]
fn h09_header_lengths_are_exact_bounds() {
    for length in [0, 72, 96, 100, 103] {
        let error = Crafted::new().put_u32(100, length).refused();
        assert_eq!(error, FormatError::HeaderTooShort { length });
    }
    for length in [CLUSTER as u32 + 1, 1 << 31, u32::MAX] {
        let error = Crafted::new().put_u32(100, length).refused();
        assert!(matches!(error, FormatError::HeaderTooLong { .. }));
    }
    // A version 2 header ends at 72: whatever lies behind is no feature.
    let image = Crafted::version(Version::V2).put_u64(72, u64::MAX).put_u32(96, 6).put_u32(100, 9);
    let error = Header::decode(&image.bytes, image.bytes.len() as u64, DecodePurpose::Use);
    // It is read as extensions, and their lengths are nonsense.
    assert!(matches!(error, Err(FormatError::ExtensionTooLarge { .. })), "{error:?}");
    let image = Crafted::version(Version::V2).put_u64(80, u64::MAX).put_u32(96, 6);
    let header = Header::decode(&image.bytes, image.bytes.len() as u64, DecodePurpose::Use)
        .expect("behind the end of the extensions");
    assert_eq!(header.refcount_order.bits(), 16);
    assert_eq!((header.incompatible.bits(), header.autoclear.bits()), (0, 0));
}

#[test]
fn h10_extensions_stay_in_the_first_cluster() {
    for length in [u32::MAX, u32::MAX - 7, CLUSTER as u32, CLUSTER as u32 - 112 - 8 + 1] {
        let image = Crafted::new().put_u32(112, 0x1234_5678).put_u32(116, length);
        assert!(matches!(image.refused(), FormatError::ExtensionTooLarge { .. }), "{length:#x}");
    }
    // No end marker, only empty extensions to the end of the cluster: as many as fit, no loop.
    let mut image = Crafted::new();
    for at in (112..CLUSTER).step_by(8) {
        image = image.put_u32(at, 0x1234_5678).put_u32(at + 4, 0);
    }
    let header = image.open_read_only().expect("strange and allowed").header();
    assert_eq!(header.extensions.len() as u64, (CLUSTER - 112) / 8);
}

#[test]
fn h11_disk_sizes_that_no_l1_table_maps_are_refused_and_tiny_ones_work() {
    for size in [1 << 63, u64::MAX, u64::MAX - 511, 1 << 53] {
        let error = Crafted::new().put_u64(24, size).refused();
        let refused =
            matches!(error, FormatError::DiskTooLarge { .. } | FormatError::L1TooSmall { .. });
        assert!(refused, "{size:#x}: {error}");
    }
    for size in [0, 1, 511, 512, 513, CLUSTER + 1] {
        let open = Crafted::new().put_u64(24, size).open().expect("small disks work");
        assert_eq!(open.virtual_size(), size / 512 * 512);
        let len = open.virtual_size() as usize;
        open.read_at(0, &mut vec![0; len]).expect("read");
        open.write_at(0, &vec![5; len]).expect("written");
        assert!(open.read_at(size / 512 * 512, &mut [0]).is_err());
        open.close().expect("closed");
        let image = CreateOptions::new(size)
            .create_on(Arc::new(MemStorage::new()))
            .expect("sizes are rounded up");
        assert_eq!(image.virtual_size(), size.next_multiple_of(512));
        image.close().expect("closed");
    }
    assert!(CreateOptions::new(u64::MAX).create_on(Arc::new(MemStorage::new())).is_err());
    assert!(CreateOptions::new(1 << 63).create_on(Arc::new(MemStorage::new())).is_err());
}

#[test]
fn h12_a_far_offset_costs_check_no_memory() {
    let image = Crafted::new();
    let entry = image.l2_at(2);
    let image = image.put_u64(entry, 1 << 55 | 1 << 63);
    let limit = CheckOptions { memory_limit: 1 << 16, ..CheckOptions::default() };
    let report = check(&*image.storage(), &limit, &mut |_| {}).expect("within 64 KiB");
    assert!(report.corruptions > 0);
    // A sparse file of 1 TiB with small clusters.
    let storage = Arc::new(MemStorage::new());
    let small = CreateOptions::new(1 << 20).cluster_size(512);
    let image = small.create_on(Arc::<MemStorage>::clone(&storage)).expect("created");
    image.write_at(0, &[1; 512]).expect("written");
    image.close().expect("closed");
    storage.set_len(1 << 40).expect("memory");
    let limit = CheckOptions { memory_limit: 1 << 20, ..CheckOptions::default() };
    assert!(check(&*storage, &limit, &mut |_| {}).expect("within 1 MiB").is_clean());
    // Where it does not fit, an error that says so.
    let none = CheckOptions { memory_limit: 0, ..CheckOptions::default() };
    let error = check(&*storage, &none, &mut |_| {}).expect_err("no memory at all");
    assert!(!matches!(error, CheckError::Header(_)), "{error}");
}

#[test]
fn h13_a_file_cut_anywhere_opens_with_an_error_or_reads_what_is_there() {
    let whole = Crafted::new();
    let expected = {
        let mut disk = vec![0; SIZE as usize];
        whole.open_read_only().expect("whole").read_at(0, &mut disk).expect("read");
        disk
    };
    let mut cuts: Vec<usize> = (0..600).collect();
    cuts.extend((600..whole.bytes.len()).step_by(509));
    let mut opened = 0;
    for cut in cuts {
        let image = Crafted { bytes: whole.bytes[..cut].to_vec() };
        let Ok(open) = image.open_read_only() else { continue };
        opened += 1;
        for cluster in 0..SIZE / CLUSTER {
            let mut bytes = vec![1; CLUSTER as usize];
            // A table that is cut is an error; data that is cut reads as zeros.
            if open.read_at(cluster * CLUSTER, &mut bytes).is_ok() {
                let at = (cluster * CLUSTER) as usize;
                for (found, expected) in bytes.iter().zip(&expected[at..]) {
                    assert!(found == expected || *found == 0, "cut at {cut}, cluster {cluster}");
                }
            }
        }
    }
    assert!(opened > 0);
    // The L1 table is cut: no zeros are read instead.
    let l1 = whole.u64(40) as usize;
    let image = Crafted { bytes: whole.bytes[..l1 + 8].to_vec() };
    assert_eq!(image.open().expect_err("l1 is cut").kind(), ErrorKind::Corrupt);
    // The list of snapshots lies past the end: it is not taken for one of empty records.
    let image = Crafted::new().put_u32(60, 1 << 16).put_u64(64, 16 << 20);
    assert_eq!(image.open().expect_err("the list is not there").kind(), ErrorKind::Corrupt);
    // An L2 table is cut.
    let l2 = (whole.l2_at(0)) as usize;
    let image = Crafted { bytes: whole.bytes[..l2 + 100].to_vec() };
    let open = image.open_read_only().expect("l1 is whole");
    assert_eq!(open.read_at(0, &mut [0; 512]).expect_err("cut").kind(), ErrorKind::Corrupt);
}

#[test]
fn h23_features_exist_only_where_their_bit_says_so() {
    // The zero flag in version 2 is no zero cluster.
    let image = Crafted::version(Version::V2);
    let (entry, at) = (image.l2_at(0), image.data_at(0));
    let image = image.put_u64(entry, at | 1 << 63 | 1);
    let open = image.open_read_only().expect("the header is fine");
    assert_eq!(
        open.read_at(0, &mut [0; 512]).expect_err("no zero flag").kind(),
        ErrorKind::Corrupt
    );
    // A compression type without its feature bit, and the bit without a type.
    let error = Crafted::new().put(104, &[1]).refused();
    assert_eq!(error, FormatError::CompressionBit { kind: 1, bit: false });
    let error = Crafted::new().put_u64(72, 1 << 3).refused();
    assert_eq!(error, FormatError::CompressionBit { kind: 0, bit: true });
    // Extended entries in clusters that are too small for them.
    let error = Crafted::new().put_u64(72, 1 << 4).refused();
    assert_eq!(error, FormatError::SubclusterSize { cluster_size: CLUSTER });
}

#[test]
fn h24_unknown_incompatible_bits_are_refused_by_name() {
    let error = Crafted::new().put_u64(72, 1 << 40).refused();
    assert!(matches!(&error, FormatError::UnknownFeatures { bits, .. } if *bits == 1 << 40));
    // The image's own table names it.
    let mut row = vec![0, 40];
    row.extend(b"time travel");
    row.resize(48, 0);
    let image = Crafted::new().put_u64(72, 1 << 40).put_u32(112, 0x6803_f857).put_u32(116, 48);
    let error = image.put(120, &row).refused();
    assert!(error.to_string().contains("time travel"), "{error}");
    // Unknown compatible bits do not matter.
    Crafted::new().put_u64(80, 1 << 40).open().expect("compatible").close().expect("closed");
}

#[test]
fn h36_backing_names_have_bounds() {
    for (offset, length) in [(200, 1024), (CLUSTER - 10, 11), (200, u32::MAX), (8, 1 << 20)] {
        let error = Crafted::new().put_u64(8, offset).put_u32(16, length).refused();
        assert!(
            matches!(
                error,
                FormatError::BackingNameTooLong { .. } | FormatError::ExtensionTooLarge { .. }
            ),
            "{offset} {length}: {error}"
        );
    }
    for offset in [CLUSTER + 1, 1 << 32, u64::MAX] {
        let error = Crafted::new().put_u64(8, offset).put_u32(16, 5).refused();
        assert_eq!(error, FormatError::BackingOffset { offset });
    }
    let error = Crafted::new().put_u64(8, 200).put_u32(16, 3).put(200, b"a\0b").refused();
    assert!(matches!(error, FormatError::ZeroByteInName { .. }));
    // Control characters are kept, and escaped where people read them.
    let image = Crafted::new().put_u64(8, 200).put_u32(16, 5).put(200, b"a\n\x1b[m");
    let error = image.open().expect_err("no backing given").to_string();
    assert!(!error.contains('\x1b') && !error.contains('\n'), "{error:?}");
}

#[test]
fn h39_a_huge_disk_in_a_tiny_file_costs_little() {
    let storage = Arc::new(MemStorage::new());
    // 1 PiB of 2 MiB clusters: an L1 table of 16 KiB.
    let huge = CreateOptions::new(1 << 50).cluster_size(2 << 20);
    let image = huge.create_on(Arc::<MemStorage>::clone(&storage)).expect("created");
    image.write_at((1 << 50) - 512, &[3; 512]).expect("written");
    image.close().expect("closed");
    assert!(storage.allocated() < 16 << 20, "{} bytes", storage.allocated());
    let open = OpenOptions::new()
        .open_storage_read_only(Arc::<MemStorage>::clone(&storage))
        .expect("opened");
    let extent = open.extent_at(0, 1 << 50).expect("mapped");
    assert!(extent.len > 1 << 49, "one extent for what is not there: {extent:?}");
    assert!(report(&*storage).is_clean());
}
