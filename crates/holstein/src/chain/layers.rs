//! One disk of a chain.

use std::io;
use std::sync::Arc;

use holstein_engine::{DiskExtentKind, OwnRead};
use holstein_storage::Storage;
use holstein_units::{HostOffset, SECTOR};

use crate::{Error, ReadOnlyImage};

/// What a layer has at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Bytes of its own.
    Data,
    /// Zeros, without bytes that would have to be read.
    Zero,
    /// Nothing: the next layer shows.
    Nothing,
}

/// A stretch of a layer that is alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerExtent {
    /// How many bytes, at least one.
    pub len: u64,
    /// What they are.
    pub held: Held,
}

/// A disk without the disks below it.
///
/// # Concurrency
/// Called from any number of threads.
pub trait Layer: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the stretch that begins at `at`, at most to the end of `into`, if the layer holds it.
    /// The range is within the length and not empty.
    ///
    /// # Errors
    /// Whatever reading fails with.
    fn read_own(&self, at: u64, into: &mut [u8]) -> io::Result<OwnRead>;

    /// What the layer has at `at`, at most `len` bytes of it. The range is within the length and not
    /// empty.
    ///
    /// # Errors
    /// Whatever reading metadata fails with.
    fn own_extent(&self, at: u64, len: u64) -> io::Result<LayerExtent>;
}

/// An error of this library where one of the system is expected: with its number, if it has one.
pub(crate) fn io_error(error: Error) -> io::Error {
    match error.io() {
        Some(io) => io::Error::new(io.kind(), error),
        None => io::Error::other(error),
    }
}

/// The image alone, whatever backing it was opened with.
impl Layer for ReadOnlyImage {
    fn len(&self) -> u64 {
        self.virtual_size()
    }

    fn read_own(&self, at: u64, into: &mut [u8]) -> io::Result<OwnRead> {
        Self::read_own(self, at, into).map_err(io_error)
    }

    fn own_extent(&self, at: u64, len: u64) -> io::Result<LayerExtent> {
        let extent = self.extent_at(at, len).map_err(io_error)?;
        let held = match extent.kind {
            DiskExtentKind::Data => Held::Data,
            DiskExtentKind::Zero => Held::Zero,
            DiskExtentKind::Unallocated => Held::Nothing,
        };
        Ok(LayerExtent { len: extent.len, held })
    }
}

/// Bytes as they are: the end of a chain.
pub struct RawLayer {
    storage: Arc<dyn Storage>,
    len: u64,
}

impl RawLayer {
    /// The whole of `storage`; a last sector that is cut is filled up with zeros.
    ///
    /// # Errors
    /// Its length cannot be had.
    pub fn new(storage: Arc<dyn Storage>) -> io::Result<Self> {
        let len = storage.len()?.next_multiple_of(SECTOR);
        Ok(Self { storage, len })
    }
}

impl std::fmt::Debug for RawLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawLayer").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Layer for RawLayer {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_own(&self, at: u64, into: &mut [u8]) -> io::Result<OwnRead> {
        let got = self.storage.read_at(HostOffset::new(at), into)?;
        into[got..].fill(0);
        Ok(OwnRead { len: into.len(), held: true })
    }

    fn own_extent(&self, at: u64, len: u64) -> io::Result<LayerExtent> {
        let (data, run) = self.storage.extent_at(HostOffset::new(at))?;
        if run == 0 {
            // The zeros that fill up the last sector.
            return Ok(LayerExtent { len, held: Held::Zero });
        }
        let zero = !data && self.storage.capabilities().zero_beyond_end;
        Ok(LayerExtent { len: run.min(len), held: if zero { Held::Zero } else { Held::Data } })
    }
}
