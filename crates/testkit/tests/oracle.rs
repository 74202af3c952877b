//! The runners say what the reference programs say.

use std::io;

use holstein_testkit::{DiskImage, Held, Oracle, Pattern, TempDir, Verdict, Version};

const OLDEST: Version = Version { major: 8, minor: 0, patch: 0 };

#[test]
fn a_round_through_the_reference_programs() -> io::Result<()> {
    let Some(oracle) = Oracle::find_or_skip("oracle round", OLDEST) else { return Ok(()) };
    let dir = TempDir::new("oracle")?;
    let (image, raw) = (dir.file("a.qcow2"), dir.file("a.raw"));
    oracle.create(&image, "cluster_size=4k", 1 << 20)?;
    oracle.io((&image, "qcow2"), &["write -P 7 4096 8192".into()])?;
    assert_eq!(oracle.check(&image)?.0, Verdict::Clean);
    oracle.convert((&image, "qcow2"), (&raw, "raw"))?;
    assert!(oracle.same((&image, "qcow2"), (&raw, "raw"))?);
    let bytes = std::fs::read(&raw)?;
    assert!(bytes[4096..12_288].iter().all(|&byte| byte == 7));
    oracle.io((&raw, "raw"), &["write -P 8 0 512".into()])?;
    assert!(!oracle.same((&image, "qcow2"), (&raw, "raw"))?);

    let wrong = oracle.io((&image, "qcow2"), &["read -P 9 4096 512".into()]);
    assert!(wrong.is_err(), "a pattern that is not there was found");
    std::fs::write(&image, b"no image")?;
    assert!(oracle.check(&image).is_err());
    Ok(())
}

#[test]
fn a_held_image_is_held_until_dropped() -> io::Result<()> {
    let Some(oracle) = Oracle::find_or_skip("oracle hold", OLDEST) else { return Ok(()) };
    let dir = TempDir::new("hold")?;
    let image = dir.file("a.qcow2");
    oracle.create(&image, "", 1 << 20)?;
    let mut held = Held::open(&oracle, [image.as_os_str()])?;
    let busy = oracle.check(&image).expect_err("it is open for writing").to_string();
    assert!(busy.contains("Failed to get shared \"write\" lock"), "{busy}");
    assert!(held.command("write -P 1 0 512")?.contains("wrote 512/512"));
    drop(held);
    assert_eq!(oracle.check(&image)?.0, Verdict::Clean);
    Ok(())
}

#[test]
fn images_are_written_to_files_with_their_holes() -> io::Result<()> {
    let dir = TempDir::new("image")?;
    let mut image = DiskImage::new();
    image.write(1 << 20, &Pattern::new(1).bytes(1 << 20, 5000));
    image.set_len((1 << 20) + 9000);
    image.write_to(&dir.file("i"))?;
    assert_eq!(std::fs::read(dir.file("i"))?, image.to_bytes()?);
    let path = dir.path().to_path_buf();
    drop(dir);
    assert!(!path.exists());
    Ok(())
}
