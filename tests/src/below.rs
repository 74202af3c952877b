//! Backing disks for images of tests.

use std::sync::Arc;

/// A backing disk in memory.
#[derive(Debug)]
pub struct Bytes(pub Vec<u8>);

impl holstein::Backing for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        into.copy_from_slice(&self.0[place(at)..place(at) + into.len()]);
        Ok(())
    }
}

/// An image that is read through to, as a chain of files is.
#[derive(Debug)]
pub struct Below(pub holstein::ReadOnlyImage);

impl holstein::Backing for Below {
    fn len(&self) -> u64 {
        self.0.virtual_size()
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(at, into).map_err(std::io::Error::other)
    }
}

/// A place in memory.
fn place(at: u64) -> usize {
    usize::try_from(at).expect("what is in memory has such a place")
}

/// Something to hand to [`holstein::OpenOptions::backing`].
#[must_use]
pub fn backing(below: impl holstein::Backing + 'static) -> Option<Arc<dyn holstein::Backing>> {
    Some(Arc::new(below))
}
