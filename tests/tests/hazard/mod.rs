//! Images made for one test each: a good one, and a byte of it changed.
#![allow(dead_code, reason = "each test file uses a part of this module")]

use std::sync::Arc;

use holstein::check::{CheckOptions, Report, check};
use holstein::format::{DecodePurpose, FormatError, Header, Version};
use holstein::{CreateOptions, Error, Image, OpenOptions, ReadOnlyImage};
use holstein_storage::{MemStorage, Storage};
use holstein_units::HostOffset;

/// Bits of an entry that are its offset.
pub(crate) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
pub(crate) const COPIED: u64 = 1 << 63;
/// The cluster size of [`Crafted::new`].
pub(crate) const CLUSTER: u64 = 4096;
/// The size of its disk: two L2 tables and a part of a third.
pub(crate) const SIZE: u64 = (2 * CLUSTER / 8 + 3) * CLUSTER;

/// The bytes of an image.
#[derive(Clone)]
pub(crate) struct Crafted {
    pub(crate) bytes: Vec<u8>,
}

impl Crafted {
    /// Version 3, clusters of 4 KiB, 16-bit refcounts; clusters 0 to 3 of the disk hold 1 to 4, and
    /// so does the first cluster of the second L2 table.
    pub(crate) fn new() -> Self {
        Self::with(&CreateOptions::new(SIZE).cluster_size(CLUSTER))
    }

    pub(crate) fn version(version: Version) -> Self {
        Self::with(&CreateOptions::new(SIZE).cluster_size(CLUSTER).version(version))
    }

    pub(crate) fn with(options: &CreateOptions) -> Self {
        let storage = Arc::new(MemStorage::new());
        let image = options.create_on(Arc::<MemStorage>::clone(&storage)).expect("a new image");
        for n in 0..4 {
            let byte = u8::try_from(n + 1).expect("small");
            image.write_at(n * CLUSTER, &[byte; CLUSTER as usize]).expect("written");
        }
        image.write_at(CLUSTER / 8 * CLUSTER, &[9; CLUSTER as usize]).expect("written");
        image.close().expect("closed");
        Self { bytes: storage.to_bytes().expect("small") }
    }

    pub(crate) fn u64(&self, at: u64) -> u64 {
        u64::from_be_bytes(self.bytes[at as usize..at as usize + 8].try_into().expect("8 bytes"))
    }

    pub(crate) fn u32(&self, at: u64) -> u32 {
        u32::from_be_bytes(self.bytes[at as usize..at as usize + 4].try_into().expect("4 bytes"))
    }

    /// Puts bytes at `at`, in a longer image if need be.
    pub(crate) fn put(mut self, at: u64, bytes: &[u8]) -> Self {
        let end = at as usize + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at as usize..end].copy_from_slice(bytes);
        self
    }

    pub(crate) fn put_u64(self, at: u64, value: u64) -> Self {
        self.put(at, &value.to_be_bytes())
    }

    pub(crate) fn put_u32(self, at: u64, value: u32) -> Self {
        self.put(at, &value.to_be_bytes())
    }

    /// Where the L1 entry is.
    pub(crate) fn l1_at(&self, index: u64) -> u64 {
        self.u64(40) + index * 8
    }

    /// Where the L2 entry of a guest cluster is.
    pub(crate) fn l2_at(&self, cluster: u64) -> u64 {
        let per = CLUSTER / 8;
        (self.u64(self.l1_at(cluster / per)) & OFFSET) + cluster % per * 8
    }

    /// Where a cluster of the disk is.
    pub(crate) fn data_at(&self, cluster: u64) -> u64 {
        self.u64(self.l2_at(cluster)) & OFFSET
    }

    /// The first refcount block.
    pub(crate) fn block(&self) -> u64 {
        self.u64(self.u64(48))
    }

    /// The same with another 16-bit refcount of a cluster.
    pub(crate) fn count(self, host: u64, count: u16) -> Self {
        let at = self.block() + host / CLUSTER * 2;
        self.put(at, &count.to_be_bytes())
    }

    pub(crate) fn storage(&self) -> Arc<MemStorage> {
        Arc::new(MemStorage::from_bytes(&self.bytes))
    }

    pub(crate) fn open(&self) -> Result<Image, Error> {
        OpenOptions::new().open_storage(self.storage())
    }

    pub(crate) fn open_read_only(&self) -> Result<ReadOnlyImage, Error> {
        OpenOptions::new().open_storage_read_only(self.storage())
    }

    /// Why the header is refused.
    pub(crate) fn refused(&self) -> FormatError {
        let len = self.bytes.len() as u64;
        let error = Header::decode(&self.bytes, len, DecodePurpose::Use).expect_err("refused");
        // The facade refuses it too, for writing and for reading.
        assert!(self.open().is_err() && self.open_read_only().is_err());
        error
    }
}

pub(crate) fn report(storage: &dyn Storage) -> Report {
    check(storage, &CheckOptions::default(), &mut |_| {}).expect("checked to the end")
}

/// Whether the corrupt bit is set in the file.
pub(crate) fn is_marked(storage: &dyn Storage) -> bool {
    let mut bits = [0; 8];
    storage.read_at(HostOffset::new(72), &mut bits).expect("read");
    u64::from_be_bytes(bits) & 2 != 0
}
