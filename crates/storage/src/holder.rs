//! Who holds a lock on a file.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::FileIdentity;

/// The most processes that are named.
const MOST: usize = 8;

/// A process that has a lock on a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Its number.
    pub process: u32,
    /// The name of its program, as the kernel has it: 15 bytes at most.
    pub program: String,
}

impl LockHolder {
    /// Several of them in a sentence.
    #[must_use]
    pub fn all(holders: &[Self]) -> String {
        holders.iter().map(Self::to_string).collect::<Vec<_>>().join(" and ")
    }
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.program, self.process)
    }
}

/// The other processes that have a lock on a file, as far as they can be found, eight at most.
///
/// The kernel does not say who has a lock of an open file description. What `/proc` says of the
/// descriptors of the caller's own processes does, and of all processes where the caller may look at them;
/// without `/proc` nobody is found. Takes some milliseconds, and is true of the moment only.
#[must_use]
pub fn lock_holders(file: FileIdentity) -> Vec<LockHolder> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&process: &u32| process != own && holds(process, file))
        .take(MOST)
        .map(|process| LockHolder { process, program: program(process) })
        .collect()
}

/// Whether one of the process's descriptors is of that file, and has a lock.
fn holds(process: u32, file: FileIdentity) -> bool {
    let folder = Path::new("/proc").join(process.to_string());
    let Ok(descriptors) = fs::read_dir(folder.join("fd")) else { return false };
    descriptors.flatten().any(|entry| {
        // The link is followed to what is open, whatever has become of its name.
        let same = fs::metadata(entry.path()).is_ok_and(|meta| identity(&meta) == file);
        same && fs::read_to_string(folder.join("fdinfo").join(entry.file_name()))
            .is_ok_and(|text| text.lines().any(|line| line.starts_with("lock:")))
    })
}

fn identity(meta: &fs::Metadata) -> FileIdentity {
    if meta.file_type().is_block_device() {
        FileIdentity { dev: meta.rdev(), ino: 0 }
    } else {
        FileIdentity { dev: meta.dev(), ino: meta.ino() }
    }
}

fn program(process: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    // A process may call itself anything.
    let name: String =
        name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if name.is_empty() { "a program".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_holds_what_is_ours_alone() {
        let path = std::env::temp_dir().join(format!("holder-{}", std::process::id()));
        fs::write(&path, b"x").expect("the folder for temporary files can be written");
        let meta = fs::metadata(&path).expect("it is there");
        assert_eq!(lock_holders(identity(&meta)), []);
        fs::remove_file(&path).expect("it is there");
    }
}
