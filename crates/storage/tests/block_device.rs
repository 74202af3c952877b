//! A block device behaves as a byte vector whose length does not change.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use holstein_storage::{Create, FileOptions, FileStorage, LockMode, MappedStorage, Storage};
use holstein_testkit::{Pattern, Rng, TempDir, skipped};
use holstein_units::{HostOffset, HostRange};

const SIZE: usize = 1 << 20;

/// A loop device over a file, detached when dropped.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn attach(file: &Path) -> Result<Self, String> {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .map_err(|error| format!("losetup: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self(String::from_utf8_lossy(&output.stdout).trim().into()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        drop(Command::new("losetup").arg("--detach").arg(&self.0).status());
    }
}

fn small(n: u64) -> usize {
    usize::try_from(n).expect("small")
}

#[test]
fn a_block_device_is_a_vector_of_fixed_length() -> Result<(), Box<dyn Error>> {
    let dir = TempDir::new("loop")?;
    let backing = dir.file("disk");
    std::fs::write(&backing, vec![0; SIZE])?;
    let device = match LoopDevice::attach(&backing) {
        Ok(device) => device,
        Err(reason) => {
            skipped(&format!("block device: {reason}"));
            return Ok(());
        }
    };
    let mut model = vec![0; SIZE];
    for direct in [false, true] {
        let options = FileOptions {
            write: true,
            create: Create::Truncate,
            direct,
            lock: LockMode::Write,
            ..FileOptions::default()
        };
        let s = FileStorage::open(&device.0, &options)?;
        let capabilities = s.capabilities();
        assert!(!capabilities.resizable && !capabilities.zero_beyond_end);
        assert_eq!(capabilities.alignment > 1, direct);
        assert_eq!(s.len()?, SIZE as u64);
        assert!(s.is_block_device());
        s.set_len(SIZE as u64)?;
        let error = s.set_len(0).expect_err("a device keeps its length");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(s.write_at(HostOffset::new(SIZE as u64 - 1), &[1; 2]).is_err());
        let mut last = [0; 16];
        assert_eq!(s.read_at(HostOffset::new(SIZE as u64 - 10), &mut last)?, 10);
        model[SIZE - 1] = last[9];

        let mut rng = Rng::new(u64::from(direct));
        for id in 1..200 {
            let at = rng.below(SIZE as u64);
            let len = rng.below(30_000).min(SIZE as u64 - at);
            let (at, len) = if rng.coin() { (at, len) } else { (at & !511, len & !511) };
            let range = HostRange::new(HostOffset::new(at), len).expect("on the device");
            let part = small(at)..small(at + len);
            match rng.below(4) {
                0 => {
                    s.write_zeroes(range)?;
                    model[part].fill(0);
                }
                1 => {
                    s.discard(range)?;
                    // Any content is right; go on with what it is.
                    s.read_at(range.start, &mut model[part])?;
                }
                _ => {
                    let bytes = Pattern::new(id).bytes(at, small(len));
                    s.write_at(range.start, &bytes)?;
                    model[part].copy_from_slice(&bytes);
                }
            }
        }
        let mut found = vec![0xee; SIZE];
        assert_eq!(s.read_at(HostOffset::new(0), &mut found)?, SIZE);
        assert!(found == model, "content differs, direct {direct}");
        assert_eq!(s.extent_at(HostOffset::new(512))?, (true, SIZE as u64 - 512));
        s.flush()?;
        let other = FileStorage::open(&device.0, &FileOptions::default());
        assert!(other.is_err(), "a device is locked like a file");
    }
    assert!(MappedStorage::open(&device.0).is_err(), "devices are not mapped");
    Ok(())
}
