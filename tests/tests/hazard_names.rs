//! Hazards of names that lead elsewhere, and of streams: each in an image or file made for it.

mod hazard;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hazard::{CLUSTER, Crafted, SIZE};
use holstein::format::{Header, HeaderExtension, IncompatibleFeatures};
use holstein::{CreateOptions, ErrorKind, OpenOptions};
use holstein_storage::{FileKind, MemStorage, OpenError, Storage};
use holstein_testkit::TempDir;

/// An image with a backing name.
fn overlay(name: &[u8]) -> Arc<MemStorage> {
    let storage = Arc::new(MemStorage::new());
    CreateOptions::new(SIZE)
        .cluster_size(CLUSTER)
        .backing_file(name.to_vec(), Some(b"raw".to_vec()))
        .create_on(Arc::<MemStorage>::clone(&storage))
        .expect("names are stored as they are")
        .close()
        .expect("closed");
    storage
}

#[test]
fn h21_a_decompression_bomb_gives_one_cluster_or_an_error() {
    // A stream of stored blocks that goes on, and one that repeats for ever: 4 KiB come out.
    let good = Crafted::new();
    let at = good.data_at(3);
    let entry = 1 << 62 | 7 << 58 | at;
    let l2 = good.l2_at(3);
    // Fixed Huffman codes: a literal 0, then matches of 258 at distance 1, without an end.
    let mut bits: Vec<bool> = vec![true, true, false];
    let code = |bits: &mut Vec<bool>, value: u32, n: u32| {
        bits.extend((0..n).rev().map(|i| value >> i & 1 == 1));
    };
    code(&mut bits, 0x30, 8);
    while bits.len() < 7 * 512 * 8 {
        code(&mut bits, 0xc5, 8);
        code(&mut bits, 0, 5);
    }
    let stream: Vec<u8> = bits
        .chunks(8)
        .map(|byte| byte.iter().enumerate().fold(0, |b, (i, bit)| b | u8::from(*bit) << i))
        .collect();
    let image = good.clone().put_u64(l2, entry).put(at, &stream);
    let open = image.open_read_only().expect("the header is fine");
    let mut bytes = vec![1; CLUSTER as usize];
    // A cluster of zeros, or an error because more would come: never more than a cluster.
    match open.read_at(3 * CLUSTER, &mut bytes) {
        Ok(()) => assert!(bytes.iter().all(|&b| b == 0)),
        Err(error) => assert_eq!(error.raw_os_error(), Some(5)),
    }
    // A stream that gives too little is an error.
    let short = good.put_u64(l2, entry).put(at, &[0x03, 0x00, 0, 0]);
    let open = short.open_read_only().expect("the header is fine");
    assert_eq!(open.read_at(3 * CLUSTER, &mut bytes).expect_err("empty").raw_os_error(), Some(5));
}

#[test]
fn h30_a_backing_name_opens_nothing() {
    for name in ["/etc/passwd", "../../secret", "/proc/self/environ", "json:{}", "nbd:host:1"] {
        let storage = overlay(name.as_bytes());
        let mem = || Arc::<MemStorage>::clone(&storage);
        // By default there is no guess: an error that says what is missing.
        let error = OpenOptions::new().open_storage_read_only(mem()).expect_err("no backing");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(OpenOptions::new().open_storage(mem()).is_err());
        // Without it on request: zeros, and the name is there to be read.
        let image =
            OpenOptions::new().no_backing().open_storage_read_only(mem()).expect("no backing");
        assert_eq!(image.header().backing_file.as_deref(), Some(name.as_bytes()));
        let mut bytes = vec![1; SIZE as usize];
        image.read_at(0, &mut bytes).expect("read");
        assert!(bytes.iter().all(|&b| b == 0), "{name}");
    }
}

#[test]
fn h31_h32_a_data_file_is_refused_whatever_its_name() {
    for name in ["/etc/shadow", "json:{\"driver\":\"file\"}", "fuse:/dev/kvm"] {
        let image = Crafted::new();
        let mut header = image.open_read_only().expect("fine").header();
        header.incompatible.insert(IncompatibleFeatures::DATA_FILE);
        header.extensions.push(HeaderExtension::DataFile(name.as_bytes().to_vec()));
        let cluster = header.encode().expect("encoded");
        let image = image.put(0, &cluster);
        for error in
            [image.open().expect_err("refused"), image.open_read_only().expect_err("refused")]
        {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
        }
    }
}

/// Opens a name both ways and returns why that failed; none of it may wait.
fn kind_of(path: &Path) -> FileKind {
    let start = Instant::now();
    let errors = [
        OpenOptions::new().open(path).map(drop),
        OpenOptions::new().open_read_only(path).map(drop),
    ];
    assert!(start.elapsed() < Duration::from_secs(5), "opening {} waited", path.display());
    let mut kinds = errors.into_iter().map(|result| {
        let error = result.expect_err("no regular file");
        match error.open_error() {
            Some(OpenError::FileType { kind, .. }) => Some(*kind),
            // A directory cannot be opened for writing at all.
            Some(OpenError::Io { .. }) => None,
            other => panic!("{other:?}"),
        }
    });
    let (writing, reading) = (kinds.next().flatten(), kinds.next().flatten());
    assert!(writing.is_none() || writing == reading);
    reading.expect("a kind for reading")
}

#[test]
fn h35_fifos_devices_and_directories_are_refused_without_waiting() {
    let dir = TempDir::new("h35").expect("a scratch folder");
    let fifo = dir.file("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    assert_eq!(kind_of(&fifo), FileKind::Fifo);
    assert_eq!(kind_of(dir.path()), FileKind::Directory);
    assert_eq!(kind_of(Path::new("/dev/zero")), FileKind::CharacterDevice);
    // A name that leads to one is no better.
    let link = dir.file("link");
    std::os::unix::fs::symlink(&fifo, &link).expect("linked");
    assert_eq!(kind_of(&link), FileKind::Fifo);
    // Nor is creating over one.
    let error = CreateOptions::new(1 << 20).create(&fifo).expect_err("a fifo");
    assert!(matches!(error.open_error(), Some(OpenError::FileType { .. })), "{error}");
}

#[test]
fn a_backing_that_is_given_is_the_only_thing_that_is_read() {
    struct Given;
    impl holstein::Backing for Given {
        fn len(&self) -> u64 {
            CLUSTER + 10
        }
        fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
            assert!(at + into.len() as u64 <= self.len(), "reads stay within the backing");
            into.fill(0x42);
            Ok(())
        }
    }
    let storage = overlay(b"/etc/passwd");
    let image = OpenOptions::new()
        .backing(Some(Arc::new(Given)))
        .open_storage(Arc::<MemStorage>::clone(&storage))
        .expect("given");
    let mut bytes = vec![1; 2 * CLUSTER as usize];
    image.read_at(0, &mut bytes).expect("read");
    assert!(bytes[..CLUSTER as usize + 10].iter().all(|&b| b == 0x42));
    assert!(bytes[CLUSTER as usize + 10..].iter().all(|&b| b == 0));
    image.close().expect("closed");
    let mut first = vec![0; 4096];
    storage.read_at(holstein_units::HostOffset::new(0), &mut first).expect("memory");
    let len = storage.len().expect("memory");
    let header = Header::decode(&first, len, holstein::format::DecodePurpose::Use).expect("whole");
    assert_eq!(header.backing_file.as_deref(), Some(&b"/etc/passwd"[..]));
    assert_eq!(header.backing_format(), Some(&b"raw"[..]));
}
