//! Locks exclude the reference programs as they exclude each other, with their words.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use holstein_storage::{
    FileOptions, FileStorage, ImageLock, LockMode, MappedStorage, OpenError, Storage,
};
use holstein_testkit::{Held, Oracle, TempDir, Version};

const SHARED_WRITE: &str = "Failed to get shared \"write\" lock";
const WRITE: &str = "Failed to get \"write\" lock";
const SHARED_RESIZE: &str = "Failed to get shared \"resize\" lock";
const OLDEST: Version = Version { major: 8, minor: 0, patch: 0 };

type TestResult = Result<(), Box<dyn Error>>;

fn open(path: &Path, lock: LockMode) -> Result<FileStorage, OpenError> {
    let write = matches!(lock, LockMode::Write) || matches!(lock, LockMode::Exact(_));
    FileStorage::open(path, &FileOptions { write, lock, ..FileOptions::default() })
}

/// The lock's own words if it could not be had.
fn refusal(result: Result<FileStorage, OpenError>) -> Option<String> {
    match result {
        Ok(_) => None,
        Err(OpenError::Lock { source, .. }) => Some(source.to_string()),
        Err(other) => panic!("not a lock: {other}"),
    }
}

const MODES: [LockMode; 6] = [
    LockMode::Read,
    LockMode::Write,
    LockMode::ReadShared,
    LockMode::Exact(ImageLock::WRITE_SHARED),
    LockMode::Exact(ImageLock::CREATE),
    LockMode::None,
];

/// What each of [`MODES`] meets when somebody else holds a lock of the row's mode.
const TABLE: [(LockMode, [Option<&str>; 6]); 5] = [
    (LockMode::Read, [None, Some(WRITE), None, Some(WRITE), Some(WRITE), None]),
    (LockMode::Write, [Some(SHARED_WRITE), Some(WRITE), None, Some(WRITE), Some(WRITE), None]),
    (LockMode::ReadShared, [None; 6]),
    (
        LockMode::Exact(ImageLock::WRITE_SHARED),
        [Some(SHARED_WRITE), Some(SHARED_WRITE), None, None, None, None],
    ),
    (LockMode::None, [None; 6]),
];

#[test]
fn our_own_locks_exclude_each_other() -> TestResult {
    let dir = TempDir::new("locks")?;
    let path = dir.file("f");
    std::fs::write(&path, [0; 512])?;
    for (holder, expected) in TABLE {
        let held = open(&path, holder)?;
        assert_eq!(held.lock(), holder.permissions());
        for (mode, expected) in MODES.into_iter().zip(expected) {
            let got = refusal(open(&path, mode));
            assert_eq!(got.as_deref(), expected, "{mode:?} while {holder:?}");
        }
        drop(held);
        // What was refused left nothing behind.
        open(&path, LockMode::Write)?;
    }
    let cutter = ImageLock { unshared: ImageLock::READ.used, ..ImageLock::CREATE };
    let held = open(&path, LockMode::Exact(cutter))?;
    let got = refusal(open(&path, LockMode::Exact(ImageLock::CREATE)));
    assert_eq!(got.as_deref(), Some(SHARED_RESIZE));
    let got = refusal(open(&path, LockMode::ReadShared));
    assert_eq!(got.as_deref(), Some("Failed to get \"consistent read\" lock"));
    drop(held);
    Ok(())
}

#[test]
fn a_refused_or_dropped_lock_is_gone_though_the_description_lives_on() -> TestResult {
    let dir = TempDir::new("locks")?;
    let path = dir.file("f");
    std::fs::write(&path, [0; 512])?;
    let file = File::options().read(true).write(true).open(&path)?;
    let options = FileOptions { write: true, lock: LockMode::Write, ..FileOptions::default() };
    let take = || FileStorage::from_file(file.try_clone()?, &path, &options).map_err(Box::from);
    let reader = open(&path, LockMode::Read)?;
    let error: Box<dyn Error> = take().expect_err("a reader is there");
    assert_eq!(error.source().map(ToString::to_string).as_deref(), Some(WRITE));
    drop(reader);
    drop(open(&path, LockMode::Write)?);
    let writer = take()?;
    assert_eq!(refusal(open(&path, LockMode::Read)).as_deref(), Some(SHARED_WRITE));
    drop(writer);
    open(&path, LockMode::Read)?;
    drop(file);
    Ok(())
}

#[test]
fn qemu_keeps_us_out() -> TestResult {
    let Some(oracle) = Oracle::find_or_skip("qemu keeps us out", OLDEST) else { return Ok(()) };
    let dir = TempDir::new("locks")?;
    let (image, raw) = (dir.file("a.qcow2"), dir.file("a.raw"));
    oracle.create(&image, "", 1 << 20)?;
    std::fs::write(&raw, [1; 4096])?;
    let arguments: [(&[&str], &Path, LockMode); 4] = [
        (&["-f", "qcow2", "-r"], &image, LockMode::Read),
        (&["-f", "qcow2"], &image, LockMode::Write),
        (&["-f", "qcow2", "-r", "-U"], &image, LockMode::ReadShared),
        (&["-f", "raw"], &raw, LockMode::Exact(ImageLock::WRITE_SHARED)),
    ];
    for (args, path, like) in arguments {
        let name = path.to_str().ok_or("a temporary path is text")?;
        let held = Held::open(&oracle, args.iter().chain(&[name]))?;
        let (_, expected) = TABLE.into_iter().find(|(mode, _)| *mode == like).ok_or("a row")?;
        for (mode, expected) in MODES.into_iter().zip(expected) {
            let got = refusal(open(path, mode));
            assert_eq!(got.as_deref(), expected, "{mode:?} while qemu-io {args:?}");
        }
        for (skip_holders, named) in [(false, 1), (true, 0)] {
            let options = FileOptions { lock: LockMode::Read, skip_holders, ..Default::default() };
            if let Err(OpenError::Lock { holders, .. }) = FileStorage::open(path, &options) {
                assert_eq!(holders.len(), named, "{holders:?}");
            }
        }
        drop(held);
        open(path, LockMode::Write)?;
    }
    Ok(())
}

#[test]
fn we_keep_qemu_out() -> TestResult {
    let Some(oracle) = Oracle::find_or_skip("we keep qemu out", OLDEST) else { return Ok(()) };
    let dir = TempDir::new("locks")?;
    let image = dir.file("a.qcow2");
    let name = image.to_str().ok_or("a temporary path is text")?;
    let says = |args: &[&str]| -> Result<Option<String>, Box<dyn Error>> {
        let output = oracle.img(args)?;
        let text = String::from_utf8(output.stderr)?;
        let lock = text.lines().find_map(|line| line.find("Failed to").map(|at| &line[at..]));
        Ok((!output.status.success()).then(|| lock.unwrap_or(&text).to_owned()))
    };
    let info: &[&str] = &["info", "-f", "qcow2", name];
    let shared: &[&str] = &["info", "-U", "-f", "qcow2", name];
    let resize: &[&str] = &["resize", "-q", "-f", "qcow2", name, "+512"];
    let create: &[&str] = &["create", "-q", "-f", "qcow2", name, "1M"];
    for (mode, expected) in [
        (LockMode::Read, [None, None, Some(WRITE), Some(WRITE)]),
        (LockMode::Write, [Some(SHARED_WRITE), None, Some(WRITE), Some(WRITE)]),
        (LockMode::ReadShared, [None; 4]),
        (LockMode::None, [None; 4]),
        (
            LockMode::Exact(ImageLock::WRITE_SHARED),
            // create makes the file before it opens it as an image, and removes it again.
            [Some(SHARED_WRITE), None, Some(SHARED_WRITE), Some(SHARED_WRITE)],
        ),
    ] {
        oracle.create(&image, "", 1 << 20)?;
        let held = open(&image, mode)?;
        for (args, expected) in [info, shared, resize, create].into_iter().zip(expected) {
            assert_eq!(says(args)?.as_deref(), expected, "{args:?} while {mode:?}");
        }
        drop(held);
        assert_eq!(says(create)?, None);
    }
    let mapped = MappedStorage::open(&image)?;
    assert_eq!(says(resize)?.as_deref(), Some(WRITE));
    assert!(mapped.len()? > 0);
    Ok(())
}
