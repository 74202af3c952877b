//! Makes the directory that becomes the tour's file system.
//!
//! Real files: the project's own sources and libraries of the Rust toolchain. Made ones: text, bytes that
//! do not compress, sparse files with islands of data, a deep path, links, and the marker file.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::marker;
use crate::workspace::Workspace;

/// The file that the tour writes into under the file system's feet.
pub(super) const MARKER: &str = "marker.bin";

/// What was made.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) files: u64,
    pub(super) folders: u64,
    /// Bytes of files that are data.
    pub(super) data: u64,
    /// Bytes of files that are holes.
    pub(super) holes: u64,
}

/// Makes the directory `folder` with about `wanted` bytes of data in it.
pub(super) fn make(workspace: &Workspace, folder: &Path, wanted: u64) -> Result<Made> {
    let mut maker = Maker { folder: folder.to_owned(), made: Made::default(), seed: 0x9e37_79b9 };
    maker.folder("")?;
    maker.file(MARKER, &marker::contents())?;
    maker.sources(workspace)?;
    maker.links()?;
    maker.sparse()?;
    maker.toolchain(wanted / 2)?;
    maker.texts(wanted / 8)?;
    while maker.made.data < wanted {
        maker.noise()?;
    }
    Ok(maker.made)
}

struct Maker {
    folder: PathBuf,
    made: Made,
    seed: u64,
}

impl Maker {
    fn folder(&mut self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        let mut new = 0;
        let mut above = path.as_path();
        while !above.exists() {
            new += 1;
            let Some(parent) = above.parent() else { break };
            above = parent;
        }
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        self.made.folders += new;
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        if let Some(parent) = Path::new(name).parent() {
            self.folder(&parent.to_string_lossy())?;
        }
        let path = self.folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        self.made.files += 1;
        self.made.data += u64::try_from(bytes.len()).context("a file's length")?;
        Ok(())
    }

    fn copy(&mut self, from: &Path, name: &str) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.file(name, &bytes)
    }

    /// The project's own files.
    fn sources(&mut self, workspace: &Workspace) -> Result<()> {
        let files = workspace.files().unwrap_or_else(|_| vec![PathBuf::from("Cargo.toml")]);
        for path in files {
            self.copy(&workspace.root.join(&path), &format!("holstein/{}", path.display()))?;
        }
        Ok(())
    }

    /// Libraries of the Rust toolchain that built this program, up to `limit` bytes.
    fn toolchain(&mut self, limit: u64) -> Result<()> {
        let output = Command::new("rustc").args(["--print", "target-libdir"]).output();
        let Ok(output) = output.context("ask rustc for its libraries") else { return Ok(()) };
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let Ok(entries) = fs::read_dir(&folder) else { return Ok(()) };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let mut left = limit;
        for path in paths {
            let Ok(meta) = path.metadata() else { continue };
            if meta.is_file() && meta.len() <= left {
                left -= meta.len();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.copy(&path, &format!("toolchain/{name}"))?;
            }
        }
        Ok(())
    }

    fn links(&mut self) -> Result<()> {
        self.file("links/target.txt", b"one file, three names\n")?;
        let folder = self.folder.join("links");
        fs::hard_link(folder.join("target.txt"), folder.join("hard.txt")).context("hard link")?;
        symlink("target.txt", folder.join("soft.txt")).context("symbolic link")?;
        let deep = "deep/".repeat(30);
        self.file(&format!("{deep}bottom.txt"), b"thirty folders down\n")
    }

    /// Files of 64 MiB with data here and there.
    fn sparse(&mut self) -> Result<()> {
        const LENGTH: u64 = 64 << 20;
        for number in 0..4_u64 {
            let name = format!("sparse/disk-{number}.img");
            self.file(&name, b"")?;
            let path = self.folder.join(name);
            let file = File::options().write(true).open(&path).context("open a sparse file")?;
            file.set_len(LENGTH).context("lengthen a sparse file")?;
            let mut data = 0;
            for island in 0..8_u64 {
                let bytes = self.random(4096 << (island % 5));
                file.write_all_at(&bytes, island * (LENGTH / 8) + number * 12_288)
                    .context("write into a sparse file")?;
                data += u64::try_from(bytes.len()).context("an island's length")?;
            }
            self.made.data += data;
            self.made.holes += LENGTH - data;
        }
        Ok(())
    }

    /// Logs as a program would write them, in files of growing size.
    fn texts(&mut self, limit: u64) -> Result<()> {
        let mut written = 0;
        for number in 0..200_u64 {
            let mut text = String::new();
            let size = (1000 + number * number * 40).min(limit - written);
            let mut line = 0_u64;
            while u64::try_from(text.len()).unwrap_or(u64::MAX) < size {
                line += 1;
                let id = self.next();
                text.push_str(&format!("{line:08} request {id:016x} served from the cache\n"));
            }
            written += size;
            self.file(&format!("logs/{:02}/service-{number}.log", number % 10), text.as_bytes())?;
            if written >= limit {
                break;
            }
        }
        Ok(())
    }

    /// A file of 1 to 4 MiB that does not compress.
    fn noise(&mut self) -> Result<()> {
        let number = self.made.files;
        let length = usize::try_from((1 << 20) + self.next() % (3 << 20)).context("a length")?;
        let bytes = self.random(length);
        self.file(&format!("noise/{number}.bin"), &bytes)
    }

    fn random(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.next().to_be_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// The next number of a fixed series (splitmix64): every tour makes the same files.
    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
