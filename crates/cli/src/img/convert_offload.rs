//! Copies between raw files that the system makes without us.

use std::fs::{File, OpenOptions};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::copy_file_range;
use rustix::io::{Errno, retry_on_intr};

use super::convert_source::Sources;
use crate::disk::Disk;

/// The target's file, for as long as the system copies.
pub(super) struct Offload {
    target: File,
    start: u64,
    works: AtomicBool,
}

impl Offload {
    /// Offloading into the target, if it is a raw file.
    pub(super) fn into(target: &dyn Disk) -> Option<Self> {
        let (path, start) = target.raw_file()?;
        let target = OpenOptions::new().write(true).open(path).ok()?;
        Some(Self { target, start, works: AtomicBool::new(true) })
    }

    /// Copies a range; false where the system cannot, and then for good.
    ///
    /// # Errors
    /// Reading or writing failed.
    pub(super) fn copy(&self, sources: &Sources, at: u64, len: u64) -> Result<bool, Errno> {
        if !self.works.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let raw = sources.part_at(at).and_then(|(disk, _, within)| {
            disk.raw_file().map(|(path, start)| (path, start + within))
        });
        let Some((path, mut from)) = raw else { return Ok(false) };
        let Ok(source) = File::open(path) else { return Ok(false) };
        let mut to = self.start + at;
        let end = to + len;
        while to < end {
            let count = usize::try_from(end - to).unwrap_or(usize::MAX);
            let copied = retry_on_intr(|| {
                copy_file_range(&source, Some(&mut from), &self.target, Some(&mut to), count)
            });
            match copied {
                // The source ends inside its last sector: reading pads it.
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => {
                    self.works.store(false, Ordering::Relaxed);
                    return Ok(false);
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }
}
