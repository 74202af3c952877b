//! The bare file: what one system call for each request costs.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::offsets::Numbers;

/// Bytes written at once where a file is filled: a cluster, so that the page cache holds images and bare
/// files in pieces of the same size.
pub(crate) const FILL: usize = 64 << 10;

/// Makes a new file.
pub(crate) fn create(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    file.with_context(|| format!("create {}", path.display()))
}

/// Hands `len` bytes of content to `write`, piece by piece; the same bytes for the same seed.
pub(crate) fn content(
    seed: u64,
    len: u64,
    mut write: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut numbers = Numbers::new(seed);
    let mut piece = vec![0; FILL];
    let mut at = 0;
    while at < len {
        numbers.fill(&mut piece);
        let rest = usize::try_from(len - at).unwrap_or(usize::MAX).min(FILL);
        write(at, &piece[..rest])?;
        at += rest as u64;
    }
    Ok(())
}

/// Makes a file of `len` bytes of content.
pub(crate) fn filled(path: &Path, seed: u64, len: u64) -> Result<File> {
    let file = create(path)?;
    content(seed, len, |at, bytes| Ok(file.write_all_at(bytes, at)?))?;
    file.sync_all()?;
    Ok(file)
}
