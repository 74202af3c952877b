//! Which backing files are opened, and how far a chain goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holstein::chain::{BackingAnswer, BackingPolicy, MAX_LAYERS};
use holstein::format::Version;
use holstein::storage::MemStorage;
use holstein::{CreateOptions, ErrorKind, Format, Image, OpenOptions};
use holstein_testkit::TempDir;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn image(path: &Path, backing: Option<(&str, Option<&str>)>) -> Result<(), holstein::Error> {
    let mut options = CreateOptions::new(1 << 20).cluster_size(4096);
    if let Some((name, format)) = backing {
        let format = format.map(|format| format.as_bytes().to_vec());
        options = options.backing_file(name.as_bytes().to_vec(), format);
    }
    options.create(path).and_then(Image::close)
}

fn first_byte(path: &Path, policy: BackingPolicy) -> Result<u8, holstein::Error> {
    let image = OpenOptions::new().backing_policy(policy).open_read_only(path)?;
    let mut byte = [99];
    image.read_at(0, &mut byte)?;
    Ok(byte[0])
}

fn kind(path: &Path, policy: BackingPolicy) -> Result<ErrorKind, &'static str> {
    first_byte(path, policy).map_or_else(|e| Ok(e.kind()), |_| Err("it opened"))
}

#[test]
fn nothing_is_opened_unless_a_policy_says_so() -> TestResult {
    let dir = TempDir::new("backing")?;
    std::fs::create_dir(dir.file("sub"))?;
    std::fs::write(dir.file("sub/base"), [7; 4096])?;
    let top = dir.file("sub/top");
    image(&top, Some(("base", Some("raw"))))?;
    assert_eq!(kind(&top, BackingPolicy::nothing())?, ErrorKind::Unsupported);
    assert_eq!(first_byte(&top, BackingPolicy::anything())?, 7, "names start at the image");
    assert_eq!(first_byte(&top, BackingPolicy::same_directory())?, 7);
    let out = dir.file("out");
    image(&out, Some(("sub/base", Some("raw"))))?;
    assert_eq!(kind(&out, BackingPolicy::same_directory())?, ErrorKind::PermissionDenied);
    assert_eq!(first_byte(&out, BackingPolicy::below(dir.path()))?, 7);
    let absolute = dir.file("absolute");
    let base = dir.file("sub/base").display().to_string();
    image(&absolute, Some((&format!("file:{base}"), Some("raw"))))?;
    assert_eq!(first_byte(&absolute, BackingPolicy::anything())?, 7);
    Ok(())
}

#[test]
fn only_files_of_a_recorded_format_are_followed() -> TestResult {
    let dir = TempDir::new("backing")?;
    let (base, top) = (dir.file("base"), dir.file("top"));
    image(&base, None)?;
    image(&top, Some(("base", None)))?;
    let error = first_byte(&top, BackingPolicy::anything()).err().ok_or("it was guessed")?;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("\"base\""), "the error names the file: {error}");
    assert_eq!(first_byte(&top, BackingPolicy::anything().probe(true))?, 0);
    for name in ["json:{\"driver\":\"raw\"}", "nbd://host/x", "zzz:base"] {
        image(&top, Some((name, Some("raw"))))?;
        let policy = BackingPolicy::anything().probe(true);
        assert_ne!(kind(&top, policy)?, ErrorKind::NotFound, "{name} is no file name");
    }
    image(&top, Some(("base", Some("vmdk"))))?;
    assert_eq!(kind(&top, BackingPolicy::anything())?, ErrorKind::Unsupported);
    image(&top, Some(("missing", Some("raw"))))?;
    assert_eq!(kind(&top, BackingPolicy::anything())?, ErrorKind::NotFound);
    Ok(())
}

#[test]
fn a_raw_backing_file_stays_raw_whatever_is_in_it() -> TestResult {
    let dir = TempDir::new("backing")?;
    let (secret, base, top) = (dir.file("secret"), dir.file("base"), dir.file("top"));
    std::fs::write(&secret, [9; 4096])?;
    // A guest wrote the header of an image over the start of its disk.
    image(&base, Some(("secret", Some("raw"))))?;
    image(&top, Some(("base", Some("raw"))))?;
    assert_eq!(first_byte(&top, BackingPolicy::anything().probe(true))?, b'Q');
    Ok(())
}

#[test]
fn the_caller_may_put_something_in_the_place() -> TestResult {
    let dir = TempDir::new("backing")?;
    let top = dir.file("top");
    image(&top, Some(("nbd://anything", Some("raw"))))?;
    let asked = BackingPolicy::ask(|request| {
        assert_eq!((request.path, request.depth), (None, 1));
        assert_eq!(request.stored, b"nbd://anything");
        assert_eq!(request.format, Some(b"raw".as_slice()));
        let storage = Arc::new(MemStorage::from_bytes(&[5; 512]));
        BackingAnswer::Use { storage, format: Format::Raw }
    });
    assert_eq!(first_byte(&top, asked)?, 5);
    let refused = BackingPolicy::ask(|_| BackingAnswer::Refuse);
    assert_eq!(kind(&top, refused)?, ErrorKind::PermissionDenied);
    Ok(())
}

#[test]
fn options_of_the_driver_are_those_of_the_image_on_top() -> TestResult {
    let dir = TempDir::new("backing")?;
    let (base, top) = (dir.file("base"), dir.file("top"));
    let old = CreateOptions::new(1 << 20).version(Version::V2).cluster_size(512).create(&base)?;
    old.write_at(0, &[7; 512])?;
    old.close()?;
    image(&top, Some(("base", Some("qcow2"))))?;
    let options = OpenOptions::new().backing_policy(BackingPolicy::anything());
    let options = options.l2_cache_entry_size(4096).discard_no_unref(true).lazy_refcounts(true);
    let image = options.open(&top)?;
    let mut byte = [99];
    image.read_at(0, &mut byte)?;
    assert_eq!(byte, [7]);
    image.close()?;
    let smaller = options.open(&base).expect_err("its clusters are smaller");
    assert_eq!(smaller.kind(), ErrorKind::InvalidInput);
    Ok(())
}

#[test]
fn what_version_2_cannot_say_is_refused() -> TestResult {
    let dir = TempDir::new("backing")?;
    let path = dir.file("old");
    CreateOptions::new(1 << 20).version(Version::V2).create(&path)?.close()?;
    let options = OpenOptions::new();
    let wrong = [options.clone().discard_no_unref(true), options.lazy_refcounts(true)];
    for options in wrong {
        let error = options.open(&path).expect_err("for writing");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = options.open_read_only(&path).expect_err("for reading");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    Ok(())
}

#[test]
fn loops_are_found_by_identity() -> TestResult {
    let dir = TempDir::new("backing")?;
    let (a, b) = (dir.file("a"), dir.file("b"));
    image(&a, Some(("a", Some("qcow2"))))?;
    assert_eq!(kind(&a, BackingPolicy::anything())?, ErrorKind::Unsupported);
    image(&a, Some(("b", Some("qcow2"))))?;
    std::os::unix::fs::symlink(&a, dir.file("link"))?;
    image(&b, Some(("./link", Some("qcow2"))))?;
    let error = first_byte(&a, BackingPolicy::anything()).err().ok_or("it opened")?;
    assert!(error.to_string().contains("./link"), "the error names the file: {error}");
    Ok(())
}

#[test]
fn a_chain_has_two_hundred_images_and_no_more() -> TestResult {
    let dir = TempDir::new("backing")?;
    let path = |n: usize| -> PathBuf { dir.file(&n.to_string()) };
    image(&path(0), None)?;
    let bottom = OpenOptions::new().open(path(0))?;
    bottom.write_at(0, &[3])?;
    bottom.close()?;
    for n in 1..=MAX_LAYERS {
        image(&path(n), Some((&(n - 1).to_string(), Some("qcow2"))))?;
    }
    // A thread with little stack: depth costs none.
    let top = path(MAX_LAYERS - 1);
    let read = std::thread::Builder::new()
        .stack_size(256 << 10)
        .spawn(move || first_byte(&top, BackingPolicy::same_directory()))?;
    assert_eq!(read.join().map_err(|_| "the stack is gone")??, 3);
    assert_eq!(kind(&path(MAX_LAYERS), BackingPolicy::anything())?, ErrorKind::Unsupported);
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_fifo_in_the_place_of_a_backing_file_is_refused_at_once() -> TestResult {
    let dir = TempDir::new("backing")?;
    let made = std::process::Command::new("mkfifo").arg(dir.file("base")).status()?;
    assert!(made.success());
    let top = dir.file("top");
    image(&top, Some(("base", Some("raw"))))?;
    assert_eq!(kind(&top, BackingPolicy::anything())?, ErrorKind::InvalidInput);
    Ok(())
}
