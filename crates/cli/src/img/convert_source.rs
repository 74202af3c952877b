//! Several disks one behind the other.

use holstein_storage::FileIdentity;

use crate::disk::{Disk, DiskError, Status};

/// Disks that are read as one.
#[derive(Default)]
pub(super) struct Sources {
    parts: Vec<Part>,
    len: u64,
}

struct Part {
    name: String,
    start: u64,
    disk: Box<dyn Disk>,
}

impl Sources {
    /// Adds a disk behind the last one.
    pub(super) fn push(&mut self, name: &str, disk: Box<dyn Disk>) {
        let start = self.len;
        self.len = start.saturating_add(disk.len().next_multiple_of(holstein_units::SECTOR));
        self.parts.push(Part { name: name.to_owned(), start, disk });
    }

    /// The length of all together.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The files that the disks are read from.
    pub(super) fn files(&self) -> Vec<FileIdentity> {
        let mut files = Vec::new();
        for part in &self.parts {
            part.disk.files(&mut files);
        }
        files
    }

    /// The disk that holds a byte, its name, and the byte in it.
    pub(super) fn part_at(&self, at: u64) -> Option<(&dyn Disk, &str, u64)> {
        let index = self.parts.partition_point(|part| part.start <= at).checked_sub(1)?;
        let part = self.parts.get(index)?;
        Some((&*part.disk, &part.name, at - part.start))
    }

    /// The state of the range that begins at `at`, within one disk.
    pub(super) fn status(&self, at: u64, len: u64) -> Result<Status, DiskError> {
        let len = len.min(self.len - at);
        let Some((disk, _, within)) = self.part_at(at) else { return Ok(Status::nothing()) };
        let status = disk.status(within, len)?;
        if status.len == 0 && len > 0 {
            // Behind a length that is no multiple of the sector size.
            let rest = disk.len().next_multiple_of(holstein_units::SECTOR) - within;
            return Ok(Status { len: rest.min(len), zero: true, ..Status::nothing() });
        }
        Ok(status)
    }

    /// Fills `into`, of which each part is read from its disk.
    pub(super) fn read_at(&self, at: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let (mut at, mut left) = (at, into);
        while !left.is_empty() {
            let next = self.parts.partition_point(|part| part.start <= at);
            let end = self.parts.get(next).map_or(u64::MAX, |part| part.start);
            let len = usize::try_from(end - at).map_or(left.len(), |len| len.min(left.len()));
            let (now, rest) = left.split_at_mut(len);
            self.read_part(at, now)?;
            at += len as u64;
            left = rest;
        }
        Ok(())
    }

    /// Fills `into`, which lies within one disk.
    fn read_part(&self, at: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let Some((disk, _, within)) = self.part_at(at) else {
            return Err(DiskError::from_errno(libc::EIO));
        };
        let inside = disk.len().saturating_sub(within);
        let inside = usize::try_from(inside).map_or(into.len(), |inside| inside.min(into.len()));
        let (into, padding) = into.split_at_mut(inside);
        padding.fill(0);
        disk.read_at(within, into)
    }
}
