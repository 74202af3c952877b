//! Images made here are read and checked by the real tools.
#![forbid(unsafe_code)]

use std::process::Command;

use holstein::format::Version;
use holstein::{CreateOptions, OpenOptions};

#[test]
fn smoke() {
    let dir = std::env::temp_dir().join(format!("holstein-smoke-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch folder");
    for bits in 9..=21_u32 {
        for (version, widths) in
            [(Version::V2, &[16_u32][..]), (Version::V3, &[1, 2, 4, 8, 16, 32, 64])]
        {
            for &width in widths {
                eprintln!("CONFIG {bits} {version:?} {width}");
                let path = dir.join("a.qcow2");
                let size = 8 << 20;
                let image = CreateOptions::new(size)
                    .version(version)
                    .cluster_size(1 << bits)
                    .refcount_bits(width)
                    .create(&path)
                    .expect("create");
                let mut model = vec![0_u8; size as usize];
                let mut seed = 12345_u64 + u64::from(bits * 100 + width);
                for step in 0..200 {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let at = (seed >> 20) % size;
                    let len = ((seed >> 10) % 100_000).min(size - at) as usize;
                    match step % 10 {
                        8 => {
                            image.write_zeroes(at, len as u64, step % 20 == 8).expect("zero");
                            model[at as usize..at as usize + len].fill(0);
                        }
                        9 => image.flush().expect("flush"),
                        _ => {
                            let byte = (seed >> 33) as u8 | 1;
                            image.write_at(at, &vec![byte; len]).expect("write");
                            model[at as usize..at as usize + len].fill(byte);
                        }
                    }
                }
                let mut back = vec![0; size as usize];
                image.read_at(0, &mut back).expect("read");
                assert!(back == model, "live {bits} {version:?} {width}");
                image.close().expect("close");
                let check =
                    Command::new("qemu-img").arg("check").arg(&path).output().expect("qemu-img");
                assert!(
                    check.status.success(),
                    "{bits} {version:?} {width} {}{}",
                    String::from_utf8_lossy(&check.stdout),
                    String::from_utf8_lossy(&check.stderr)
                );
                let raw = dir.join("a.raw");
                let ok = Command::new("qemu-img")
                    .args(["convert", "-f", "qcow2", "-O", "raw"])
                    .arg(&path)
                    .arg(&raw)
                    .status()
                    .expect("qemu-img");
                assert!(ok.success());
                assert!(
                    std::fs::read(&raw).expect("raw") == model,
                    "qemu {bits} {version:?} {width}"
                );
                let image = OpenOptions::new().open_read_only(&path).expect("open");
                image.read_at(0, &mut back).expect("read");
                assert!(back == model, "reopened {bits} {version:?} {width}");
            }
        }
    }
    std::fs::remove_dir_all(&dir).expect("clean");
}
