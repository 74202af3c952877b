//! Images made to exhaust memory or time, and bytes that are hardly an image.

mod common;

use std::time::{Duration, Instant};

use common::{Builder, Image, lines};
use holstein_check::{CheckError, CheckOptions, Corruption, Finding, Phase, Progress, check};
use holstein_format::{COPIED, Version};
use holstein_storage::{MemStorage, Storage};
use holstein_units::HostOffset;
use proptest::prelude::*;

fn small() -> Image {
    let mut b = Builder::new(9, Version::V3, false, 4, 1 << 20);
    (0..300).for_each(|guest| {
        b.data(guest);
    });
    b.finish()
}

fn stored(image: &Image, len: u64) -> MemStorage {
    let storage = MemStorage::new();
    storage.write_at(HostOffset::new(0), &image.bytes).expect("memory takes it");
    if len > image.bytes.len() as u64 {
        storage.set_len(len).expect("sparse");
    }
    storage
}

/// H12: memory follows what is present, not the length of the file.
#[test]
fn h12_a_sparse_file_of_a_terabyte_needs_little_memory() {
    let mut image = small();
    // One cluster at the far end: one entry there, one refcount missing.
    let far = (1 << 40) - 512;
    let l2 = image.l2();
    image.put(l2 + 62 * 8, far | COPIED);
    let storage = stored(&image, 1 << 40);
    let options = CheckOptions { memory_limit: 64 << 10, ..CheckOptions::default() };
    let start = Instant::now();
    let report = check(&storage, &options, &mut |_| {}).expect("little is present");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(report.image_end_offset, 1 << 40);
    let last = ((1_u64 << 40) - 512) / 512;
    assert!(lines(&report).contains(&format!("ERROR cluster {last} refcount=0 reference=1")));
}

/// H12: an entry near 2^55 is past the end, and counts nothing.
#[test]
fn h12_an_entry_at_2_to_the_55_allocates_nothing() {
    let mut image = small();
    image.put(image.l2(), 1 << 55 | COPIED);
    let options = CheckOptions { memory_limit: 64 << 10, ..CheckOptions::default() };
    let report = image.check_with(&options).expect("within the limit");
    assert!(report.findings.iter().any(|finding| matches!(
        finding,
        Finding::Corruption(Corruption::PastEnd { offset, .. }) if *offset == 1 << 55
    )));
}

/// H12: what is present beyond the limit is an error that says so.
#[test]
fn h12_the_memory_limit_is_kept() {
    let options = CheckOptions { memory_limit: 1000, ..CheckOptions::default() };
    let error = small().check_with(&options).expect_err("a chunk is larger");
    assert!(matches!(error, CheckError::MemoryLimit { limit: 1000 }));
    // A LUKS area as long as a sparse file of an exabyte.
    let mut b = Builder::new(9, Version::V3, false, 4, 1 << 20);
    b.header.crypt_method = holstein_format::CryptMethod::Luks;
    b.header.extensions.push(holstein_format::HeaderExtension::EncryptionHeader {
        offset: HostOffset::new(512),
        length: 1 << 59,
    });
    let storage = stored(&b.finish(), 1 << 60);
    let options = CheckOptions { memory_limit: 16 << 20, ..CheckOptions::default() };
    let error = check(&storage, &options, &mut |_| {}).expect_err("too much to count");
    assert!(matches!(error, CheckError::MemoryLimit { .. }));
}

/// H19: millions of entries to one table take the time of two, and are all counted.
#[test]
fn h19_four_million_entries_to_one_table() {
    let mut b = Builder::new(16, Version::V3, false, 6, 1 << 40);
    (0..100).for_each(|guest| {
        b.data(guest);
    });
    let mut image = b.finish();
    // The L1 table at its largest, at the end of the file, all of it naming one L2 table.
    let at = (image.bytes.len() as u64).next_multiple_of(1 << 16);
    let l2 = image.l2();
    image.put_bytes(at, &(l2 | COPIED).to_be_bytes().repeat(4 << 20));
    image.put_bytes(36, &(4_u32 << 20).to_be_bytes());
    image.put(40, at);
    let start = Instant::now();
    let report = image.check().expect("it comes to an end");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    let entry = l2 / (1 << 16) + 1;
    let line = format!("ERROR cluster {entry} refcount=1 reference={}", 4 << 20);
    assert!(lines(&report).contains(&line), "{line}");
    assert_eq!(report.allocated_clusters, 100 * (4 << 20));
}

/// The same with a fault in the table: findings are bounded, counts are not.
#[test]
fn findings_past_the_limit_are_counted() {
    let mut b = Builder::new(9, Version::V3, false, 4, 64 << 20);
    b.data(0);
    let mut image = b.finish();
    let l2 = image.l2();
    let l1 = image.get(40);
    // Reserved bits in one entry of the one table that all L1 entries name.
    image.put(l2 + 8, 1 << 60);
    let entries = u64::from(image.header().l1_size);
    for index in 0..entries {
        image.put(l1 + index * 8, l2 | COPIED);
    }
    let unlimited = image.check().expect("checked");
    assert_eq!(unlimited.findings_dropped, 0);
    for max_findings in [0, 1, 7, 100, 3000] {
        let options = CheckOptions { max_findings, ..CheckOptions::default() };
        let report = image.check_with(&options).expect("checked");
        let kept = max_findings.min(unlimited.findings.len());
        assert_eq!(report.findings, unlimited.findings[..kept]);
        assert_eq!(report.findings_dropped, (unlimited.findings.len() - kept) as u64);
        assert_eq!(report.corruptions, unlimited.corruptions, "{max_findings}");
        assert_eq!(report.leaks, unlimited.leaks);
        assert_eq!(report.allocated_clusters, unlimited.allocated_clusters);
    }
}

/// H13: cut anywhere, the check ends, and says so where metadata is gone.
#[test]
fn h13_a_file_cut_at_any_sector_is_checked_or_refused() {
    let image = small();
    let whole = image.bytes.len();
    for length in (0..whole).step_by(512).chain(0..160) {
        let cut = Image { bytes: image.bytes[..length].to_vec() };
        match cut.check() {
            Ok(report) => assert!(!report.is_clean(), "cut at {length}"),
            Err(error) => assert!(matches!(error, CheckError::Header(_)), "{length}: {error}"),
        }
    }
}

#[test]
fn progress_comes_phase_by_phase_and_never_passes_its_total() {
    let mut image = small();
    image.put(image.l2(), image.get(image.l2()) & !COPIED);
    let mut seen: Vec<Progress> = Vec::new();
    let storage = stored(&image, 0);
    check(&storage, &CheckOptions::default(), &mut |p| seen.push(p)).expect("checked");
    assert!(seen.iter().all(|p| p.done < p.total));
    let phases: Vec<Phase> = seen.iter().map(|p| p.phase).collect();
    for phase in [Phase::ActiveTables, Phase::Refcounts, Phase::CopiedFlags] {
        assert!(phases.contains(&phase), "{phase:?}");
    }
    let mut in_order = phases.clone();
    in_order.sort_by_key(|phase| match phase {
        Phase::ActiveTables => 0,
        Phase::Snapshots => 1,
        Phase::Refcounts => 2,
        Phase::CopiedFlags => 3,
    });
    assert_eq!(phases, in_order);
}

/// Reads of the file from `from` on fail.
struct Failing {
    inner: MemStorage,
    from: u64,
}

impl Storage for Failing {
    fn read_vectored_at(
        &self,
        at: HostOffset,
        into: &mut [std::io::IoSliceMut<'_>],
    ) -> std::io::Result<usize> {
        if at.get() >= self.from {
            return Err(std::io::Error::other("planted"));
        }
        self.inner.read_vectored_at(at, into)
    }
    fn write_vectored_at(
        &self,
        at: HostOffset,
        from: &[std::io::IoSlice<'_>],
    ) -> std::io::Result<()> {
        self.inner.write_vectored_at(at, from)
    }
    fn write_zeroes(&self, range: holstein_units::HostRange) -> std::io::Result<()> {
        self.inner.write_zeroes(range)
    }
    fn discard(&self, range: holstein_units::HostRange) -> std::io::Result<()> {
        self.inner.discard(range)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.inner.flush()
    }
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.inner.set_len(len)
    }
    fn allocate(&self, range: holstein_units::HostRange) -> std::io::Result<()> {
        self.inner.allocate(range)
    }
    fn capabilities(&self) -> holstein_storage::Capabilities {
        self.inner.capabilities()
    }
}

#[test]
fn a_table_that_cannot_be_read_is_named() {
    let image = small();
    let mut named = Vec::new();
    for from in [0, 512, image.l2(), image.refcount_table(), image.get(image.refcount_table())] {
        let storage = Failing { inner: stored(&image, 0), from };
        match check(&storage, &CheckOptions::default(), &mut |_| {}) {
            Err(CheckError::Read { what, .. }) => named.push(what),
            other => panic!("reads from {from} on fail: {other:?}"),
        }
    }
    assert_eq!(
        named,
        ["the header", "an L1 table", "an L2 table", "the refcount table", "a refcount block"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is done to the metadata, the check ends with a report or an error.
    #[test]
    fn mutated_images_are_not_a_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
        near in prop::collection::vec((0_usize..512, any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        cut_it: bool,
    ) {
        let mut image = small();
        for (at, byte) in edits {
            let at = at.index(image.bytes.len());
            image.bytes[at] = byte;
        }
        for (at, byte) in near {
            image.bytes[at] = byte;
        }
        if cut_it {
            image.bytes.truncate(cut.index(image.bytes.len()));
        }
        let options = CheckOptions { memory_limit: 4 << 20, max_findings: 1000 };
        if let Ok(report) = image.check_with(&options) {
            prop_assert!(report.findings.len() <= 1000);
            let kept = report.findings.len() as u64 + report.findings_dropped;
            prop_assert_eq!(kept, report.corruptions + report.leaks + report.check_errors);
            prop_assert!(lines(&report).iter().all(|line| !line.is_empty()));
        }
    }
}
