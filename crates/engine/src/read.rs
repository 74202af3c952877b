//! Reading.

use std::io::IoSliceMut;
use std::sync::Arc;

use holstein_format::CompressedRun;
use holstein_guard::Event;
use holstein_mapping::{Extent, ExtentKind, Resolved};
use holstein_units::{GuestOffset, GuestRange};

use crate::disk::Disk;
use crate::slices::part_mut;
use crate::{Backing, EngineError};

impl Disk {
    /// Fills `into` from guest offset `at` on.
    ///
    /// # Concurrency
    /// One system call and no lock where the tables are in memory and the clusters adjacent.
    ///
    /// # Errors
    /// [`EngineError::OutOfRange`] past the end of the disk; corruption; I/O.
    #[inline]
    pub fn read_at(&self, at: u64, into: &mut [u8]) -> Result<(), EngineError> {
        let range = self.check_range(at, into.len() as u64)?;
        self.read_range(range, into)
    }

    /// Reads a range that may reach past the virtual size, as VM state does.
    #[inline]
    pub(crate) fn read_range(
        &self,
        mut range: GuestRange,
        into: &mut [u8],
    ) -> Result<(), EngineError> {
        let mut done = 0;
        while !range.is_empty() {
            let pin = self.sequencer.pins().pin();
            match self.mapping.resolve(range)? {
                Resolved::Extent(extent) => {
                    let len = usize_of(extent.len);
                    self.read_extent(extent, range.start, &mut into[done..done + len])?;
                    done += len;
                    range = range.split_at(extent.len).1;
                }
                Resolved::Wanted(fetch) => {
                    drop(pin);
                    self.mapping.fetch(fetch)?;
                }
            }
        }
        Ok(())
    }

    /// Fills the buffers of `into`, in order, from guest offset `at` on.
    ///
    /// # Errors
    /// As for [`Self::read_at`].
    pub fn read_vectored_at(
        &self,
        at: u64,
        into: &mut [IoSliceMut<'_>],
    ) -> Result<(), EngineError> {
        if let [one] = into {
            return self.read_at(at, one);
        }
        let total: usize = into.iter().map(|b| b.len()).sum();
        let mut range = self.check_range(at, total as u64)?;
        let mut done = 0;
        while !range.is_empty() {
            let pin = self.sequencer.pins().pin();
            match self.mapping.resolve(range)? {
                Resolved::Extent(extent) => {
                    let len = usize_of(extent.len);
                    let mut part = part_mut(into, done, len);
                    if let (ExtentKind::Data { at }, None) = (extent.kind, &self.config.cipher) {
                        self.file.note(Event::ReadData);
                        self.file.read_payload_vectored(at, &mut part)?;
                    } else {
                        let mut extent = extent;
                        let mut start = range.start;
                        for buffer in &mut part {
                            let len = buffer.len() as u64;
                            let (first, rest) = cut(extent, len);
                            self.read_extent(first, start, buffer)?;
                            extent = rest;
                            start = start + len;
                        }
                    }
                    done += len;
                    range = range.split_at(extent.len).1;
                }
                Resolved::Wanted(fetch) => {
                    drop(pin);
                    self.mapping.fetch(fetch)?;
                }
            }
        }
        Ok(())
    }

    /// Fills `into` from an extent that begins at guest offset `at`. The caller is pinned.
    #[inline]
    pub(crate) fn read_extent(
        &self,
        extent: Extent,
        at: GuestOffset,
        into: &mut [u8],
    ) -> Result<(), EngineError> {
        match extent.kind {
            ExtentKind::Data { at: host } => {
                self.file.note(Event::ReadData);
                match &self.config.cipher {
                    None => Ok(self.file.read_payload(host, into)?),
                    Some(cipher) => self.read_encrypted(&**cipher, host, at, into),
                }
            }
            ExtentKind::Zero { .. } => {
                into.fill(0);
                Ok(())
            }
            ExtentKind::Unallocated { .. } => self.read_backing(at, into),
            ExtentKind::Compressed { run, skip } => self.read_compressed(run, skip, at, into),
        }
    }

    /// Fills `into` from the backing file, with zeros past its end or without one.
    pub(crate) fn read_backing(&self, at: GuestOffset, into: &mut [u8]) -> Result<(), EngineError> {
        let have = match &self.config.backing {
            None => 0,
            Some(backing) => {
                let have = backing.len().saturating_sub(at.get()).min(into.len() as u64);
                let have = usize_of(have);
                if have > 0 {
                    self.file.note(Event::ReadBacking);
                    backing
                        .read_at(at.get(), &mut into[..have])
                        .map_err(|e| EngineError::Backing { at, source: Arc::new(e) })?;
                }
                have
            }
        };
        into[have..].fill(0);
        Ok(())
    }

    fn read_compressed(
        &self,
        run: CompressedRun,
        skip: u64,
        at: GuestOffset,
        into: &mut [u8],
    ) -> Result<(), EngineError> {
        // The stream may end before the last sector that its descriptor counts, and the file may
        // end in that sector: what is missing reads as zeros.
        let mut stream = vec![0; usize_of(run.len())];
        self.file.note(Event::ReadCompressed);
        self.file.read_payload(run.start, &mut stream)?;
        let mut cluster = vec![0; usize_of(self.geometry.cluster_size())];
        self.config.codec.decompress(&stream, &mut cluster).map_err(|source| {
            EngineError::Compressed {
                at: GuestOffset::new(at.get() - skip),
                host: run.start,
                source: Arc::new(source),
            }
        })?;
        let skip = usize_of(skip);
        into.copy_from_slice(&cluster[skip..skip + into.len()]);
        Ok(())
    }

    /// Whether a guest range of unallocated clusters certainly reads as zeros.
    pub(crate) fn unallocated_is_zero(&self, range: GuestRange) -> bool {
        range.is_empty()
            || self
                .config
                .backing
                .as_ref()
                .is_none_or(|b| b.reads_as_zero(range.start.get(), range.len))
    }
}

/// The first `len` bytes of an extent, and the rest.
fn cut(extent: Extent, len: u64) -> (Extent, Extent) {
    let rest = match extent.kind {
        ExtentKind::Unallocated { at } => ExtentKind::Unallocated { at: at.map(|at| at + len) },
        ExtentKind::Zero { at } => ExtentKind::Zero { at: at.map(|at| at + len) },
        ExtentKind::Data { at } => ExtentKind::Data { at: at + len },
        ExtentKind::Compressed { run, skip } => ExtentKind::Compressed { run, skip: skip + len },
    };
    (Extent { len, kind: extent.kind }, Extent { len: extent.len.saturating_sub(len), kind: rest })
}

/// A length that fits in memory: it is that of a buffer, a cluster, or a part of one.
#[inline]
pub(crate) fn usize_of(n: u64) -> usize {
    usize::try_from(n).expect("lengths of buffers and clusters fit in memory")
}

impl<B: Backing + ?Sized> Backing for Arc<B> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn reads_as_zero(&self, at: u64, len: u64) -> bool {
        (**self).reads_as_zero(at, len)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        (**self).read_at(at, into)
    }
}
