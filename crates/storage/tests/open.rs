//! What a name may lead to, and what opening it changes.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use holstein_storage::{
    Create, FileKind, FileOptions, FileStorage, LockMode, MappedStorage, OpenError, Storage,
    SyncMode,
};
use holstein_testkit::TempDir;
use holstein_units::{HostOffset, HostRange};

type TestResult = Result<(), Box<dyn Error>>;

const READ: FileOptions = FileOptions {
    write: false,
    create: Create::No,
    direct: false,
    lock: LockMode::Read,
    sync: SyncMode::Normal,
    allow_special: false,
    streaming: false,
    skip_holders: false,
};
const WRITE: FileOptions = FileOptions { write: true, lock: LockMode::Write, ..READ };

fn os_kind(error: &OpenError) -> Option<io::ErrorKind> {
    match error {
        OpenError::Io { source, .. } => Some(source.kind()),
        _ => None,
    }
}

/// H35: a FIFO, a device or a directory in place of an image neither blocks nor is read.
#[test]
fn special_files_are_refused_without_waiting() -> TestResult {
    let dir = TempDir::new("open")?;
    let fifo = dir.file("fifo");
    rustix::fs::mknodat(
        File::open(dir.path())?.as_fd(),
        "fifo",
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )?;
    let link = dir.file("link");
    symlink(&fifo, &link)?;
    let start = Instant::now();
    for special in [false, true] {
        for options in [READ, WRITE] {
            let options = FileOptions { allow_special: special, ..options };
            for path in [&fifo, &link] {
                match FileStorage::open(path, &options) {
                    Err(OpenError::FileType { kind: FileKind::Fifo, .. }) => {}
                    other => panic!("a fifo gave {other:?}"),
                }
            }
        }
    }
    match FileStorage::open("/dev/zero", &READ) {
        Err(OpenError::FileType { kind: FileKind::CharacterDevice, path }) => {
            assert_eq!(path.to_str(), Some("/dev/zero"));
        }
        other => panic!("a character device gave {other:?}"),
    }
    match FileStorage::open(dir.path(), &READ) {
        Err(OpenError::FileType { kind: FileKind::Directory, .. }) => {}
        other => panic!("a directory gave {other:?}"),
    }
    let error = FileStorage::open(dir.path(), &WRITE).expect_err("a directory is not written");
    assert_eq!(os_kind(&error), Some(io::ErrorKind::IsADirectory));
    assert!(start.elapsed() < Duration::from_secs(5));

    let options = FileOptions { allow_special: true, lock: LockMode::None, ..READ };
    let zero = FileStorage::open("/dev/zero", &options)?;
    let mut bytes = [1; 100];
    assert_eq!(zero.read_at(HostOffset::new(0), &mut bytes)?, 100);
    assert_eq!(bytes, [0; 100]);
    assert!(!zero.capabilities().resizable);
    Ok(())
}

#[test]
fn creating_makes_new_files_and_cuts_old_ones_only_under_their_lock() -> TestResult {
    let dir = TempDir::new("open")?;
    let path = dir.file("f");
    let new = FileOptions { create: Create::New, ..WRITE };
    let truncate = FileOptions { create: Create::Truncate, ..WRITE };

    let error = FileStorage::open(&path, &WRITE).expect_err("it is not there");
    assert_eq!(os_kind(&error), Some(io::ErrorKind::NotFound));
    let error = FileStorage::open(&path, &FileOptions { write: false, ..new })
        .expect_err("a created file must be writable");
    assert_eq!(os_kind(&error), Some(io::ErrorKind::InvalidInput));
    assert!(!path.exists());

    let first = FileStorage::open(&path, &new)?;
    first.write_at(HostOffset::new(0), b"content")?;
    let error = FileStorage::open(&path, &new).expect_err("it is there already");
    assert_eq!(os_kind(&error), Some(io::ErrorKind::AlreadyExists));
    let error = FileStorage::open(&path, &truncate).expect_err("it is locked");
    assert!(matches!(error, OpenError::Lock { .. }), "{error}");
    assert_eq!(fs::read(&path)?, b"content", "a refused cut changes nothing");
    drop(first);
    let second = FileStorage::open(&path, &truncate)?;
    assert_eq!(second.len()?, 0);
    Ok(())
}

#[test]
fn names_of_one_file_have_one_identity() -> TestResult {
    let dir = TempDir::new("open")?;
    let (a, b, c, d) = (dir.file("a"), dir.file("b"), dir.file("c"), dir.file("d"));
    fs::write(&a, b"a")?;
    fs::hard_link(&a, &b)?;
    symlink(&a, &c)?;
    fs::write(&d, b"a")?;
    let identity =
        |path| -> Result<_, OpenError> { Ok(FileStorage::open(path, &READ)?.identity()) };
    assert_eq!(identity(&a)?, identity(&b)?);
    assert_eq!(identity(&a)?, identity(&c)?);
    assert_eq!(identity(&a)?, MappedStorage::open(&b)?.identity());
    assert_ne!(identity(&a)?, identity(&d)?);
    Ok(())
}

#[test]
fn open_files_are_taken_over_if_their_mode_fits() -> TestResult {
    let dir = TempDir::new("open")?;
    let path = dir.file("f");
    fs::write(&path, [5; 8192])?;
    let take = |how: &mut OpenOptions, options: &FileOptions| {
        FileStorage::from_file(how.open(&path)?, &path, options).map_err(Box::<dyn Error>::from)
    };
    let refused = |result: Result<FileStorage, Box<dyn Error>>| {
        let error = result.expect_err("the mode does not fit");
        assert!(error.to_string().contains("it is open for"), "{error}");
    };
    refused(take(OpenOptions::new().read(true), &WRITE));
    refused(take(OpenOptions::new().write(true), &WRITE));
    refused(take(OpenOptions::new().read(true).append(true), &WRITE));
    assert!(
        take(OpenOptions::new().read(true), &FileOptions { create: Create::New, ..READ }).is_err()
    );
    for direct in [false, true] {
        let options = FileOptions { direct, ..WRITE };
        let s = take(OpenOptions::new().read(true).write(true), &options)?;
        assert_eq!(s.capabilities().alignment > 1, direct);
        s.write_at(HostOffset::new(4095), &[6; 2])?;
        let mut bytes = [0; 4];
        s.read_at(HostOffset::new(4094), &mut bytes)?;
        assert_eq!(bytes, [5, 6, 6, 5]);
    }
    take(
        OpenOptions::new().read(true).write(true),
        &FileOptions { create: Create::Truncate, ..WRITE },
    )?;
    assert_eq!(fs::metadata(&path)?.len(), 0);
    Ok(())
}

#[test]
fn read_only_files_refuse_every_change() -> TestResult {
    let dir = TempDir::new("open")?;
    let path = dir.file("f");
    fs::write(&path, [5; 512])?;
    let file = FileStorage::open(&path, &READ)?;
    let mapped = MappedStorage::open(&path)?;
    let range = HostRange::new(HostOffset::new(0), 512).expect("small");
    for s in [&file as &dyn Storage, &mapped] {
        assert!(s.capabilities().read_only);
        for result in [
            s.write_at(HostOffset::new(0), &[1]),
            s.write_zeroes(range),
            s.discard(range),
            s.set_len(0),
            s.allocate(range),
        ] {
            assert_eq!(result.expect_err("read-only").kind(), io::ErrorKind::PermissionDenied);
        }
        s.flush()?;
    }
    assert_eq!(fs::read(&path)?, [5; 512]);
    Ok(())
}

#[test]
fn offsets_past_every_file_are_the_end_or_an_error() -> TestResult {
    let dir = TempDir::new("open")?;
    for direct in [false, true] {
        let options = FileOptions { direct, create: Create::Truncate, ..WRITE };
        let s = FileStorage::open(dir.file("f"), &options)?;
        for at in [i64::MAX as u64 - 1, i64::MAX as u64, u64::MAX - 1, u64::MAX] {
            let at = HostOffset::new(at);
            let mut two = [[0; 4], [0; 4]];
            let [a, b] = &mut two;
            assert_eq!(s.read_at(at, a)?, 0);
            let mut both = [io::IoSliceMut::new(a), io::IoSliceMut::new(b)];
            assert_eq!(s.read_vectored_at(at, &mut both)?, 0);
            let error = s.write_at(at, &[0; 4]).expect_err("too far");
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
        assert_eq!(s.len()?, 0);
    }
    Ok(())
}

#[test]
fn a_streamed_file_holds_what_was_written() {
    let dir = TempDir::new("streamed").expect("a directory");
    let path = dir.path().join("a");
    let options = FileOptions { write: true, create: Create::New, streaming: true, ..READ };
    let file = FileStorage::open(&path, &options).expect("it is new");
    // More than one window, so that pages are sent early.
    let piece: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    for n in 0..20 {
        file.write_at(HostOffset::new(n << 20), &piece).expect("there is room");
    }
    file.flush().expect("it reaches the disk");
    let bytes = std::fs::read(&path).expect("it is there");
    assert!(bytes.chunks(1 << 20).all(|chunk| chunk == piece));
    assert_eq!(bytes.len(), 20 << 20);
}
