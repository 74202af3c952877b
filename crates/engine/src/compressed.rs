//! Compressed writes: whole clusters, compressed beside each other and then placed.
//!
//! ```text
//!   compress (no lock, no pin) -> pin -> prepare -> Plan: one pwrite, commit -> unpin
//!                                              '-> what did not shrink: a normal write
//! ```

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use holstein_guard::{Event, Intent};
use holstein_mapping::PreparedCompressed;
use holstein_units::{GuestOffset, GuestRange, SECTOR};

use crate::EngineError;
use crate::disk::Disk;
use crate::read::usize_of;

/// Whole clusters that were compressed and are not written yet.
#[derive(Debug)]
#[must_use = "nothing is written yet"]
pub struct CompressedData<'a> {
    range: GuestRange,
    from: &'a [u8],
    streams: Vec<u8>,
    /// For each cluster its part of `streams`; none where compressing would not make it smaller.
    parts: Vec<Option<Range<usize>>>,
}

impl CompressedData<'_> {
    /// Bytes of all streams, without the clusters that are written as they are.
    #[must_use]
    pub fn stream_bytes(&self) -> usize {
        self.streams.len()
    }
}

impl Disk {
    /// Compresses whole clusters and writes them, each to a cluster that has no data yet.
    ///
    /// * `at`, `from`: from a cluster's first byte to a cluster's last, or to the end of the disk.
    ///
    /// A cluster that compressing does not make smaller is written as it is.
    ///
    /// # Concurrency
    /// Compressing takes no lock: callers on several threads compress beside each other.
    ///
    /// # Errors
    /// [`EngineError::Unaligned`]; [`EngineError::Occupied`] for a cluster that has data, with those
    /// before it written; as for [`Disk::write_at`].
    ///
    /// # Spec
    /// "Compressed clusters".
    pub fn write_compressed_at(&self, at: u64, from: &[u8]) -> Result<(), EngineError> {
        self.write_compressed(&self.compress(at, from)?)
    }

    /// The first half of [`Self::write_compressed_at`]: compresses, and writes nothing.
    ///
    /// # Errors
    /// [`EngineError::Unaligned`]; [`EngineError::OutOfRange`];
    /// [`EngineError::CompressEncrypted`].
    pub fn compress<'a>(&self, at: u64, from: &'a [u8]) -> Result<CompressedData<'a>, EngineError> {
        let range = self.check_range(at, from.len() as u64)?;
        if self.config.cipher.is_some() {
            return Err(EngineError::CompressEncrypted);
        }
        if self.has_data_file() {
            return Err(EngineError::CompressWithDataFile);
        }
        let cluster = self.geometry.cluster_size();
        let ends_whole = range.len.is_multiple_of(cluster) || range.end().get() == self.size();
        if self.geometry.in_cluster(range.start) != 0 || !ends_whole {
            return Err(EngineError::Unaligned { at, len: range.len, cluster });
        }
        let size = usize_of(cluster);
        let mut data = CompressedData { range, from, streams: Vec::new(), parts: Vec::new() };
        for bytes in from.chunks(size) {
            let start = data.streams.len();
            data.streams.resize(start + size - 1, 0);
            let out = &mut data.streams[start..];
            let fit = if bytes.len() == size {
                self.config.codec.compress(bytes, out)
            } else {
                // What is past the end of the disk is zeros.
                let mut whole = bytes.to_vec();
                whole.resize(size, 0);
                self.config.codec.compress(&whole, out)
            };
            let fit = fit.map_err(|source| EngineError::Compress {
                at: range.start + (data.parts.len() as u64 * cluster),
                source: Arc::new(source),
            })?;
            data.streams.truncate(start + fit.unwrap_or(0));
            data.parts.push(fit.map(|len| start..start + len));
        }
        Ok(data)
    }

    /// The second half of [`Self::write_compressed_at`]: places what was compressed.
    ///
    /// # Errors
    /// As for [`Self::write_compressed_at`].
    pub fn write_compressed(&self, data: &CompressedData<'_>) -> Result<(), EngineError> {
        let cluster = self.geometry.cluster_size();
        let result = self.guarded(|| {
            let mut left = data.range;
            for (bytes, part) in data.from.chunks(usize_of(cluster)).zip(&data.parts) {
                let (now, rest) = left.split_at(cluster);
                let placed = match part {
                    Some(part) => self.place(now.start, &data.streams[part.clone()])?,
                    None => false,
                };
                if !placed {
                    self.write_range(now, &[IoSlice::new(bytes)])?;
                }
                left = rest;
            }
            Ok(())
        });
        self.record(data.range);
        result
    }

    /// Writes and links one stream; false if there is no room that its descriptor could name.
    fn place(&self, at: GuestOffset, stream: &[u8]) -> Result<bool, EngineError> {
        loop {
            let pin = self.sequencer.pins().pin();
            match self.mapping.prepare_compressed(at, stream.len() as u64)? {
                PreparedCompressed::Plan(plan) => {
                    let host = plan.host();
                    let write = self.file.clear(Intent::Payload, host)?;
                    self.file.note(Event::WriteCompressed);
                    write.write(stream)?;
                    self.mapping.commit_compressed(*plan);
                    // Readers fetch whole sectors.
                    let end = host.end().get().next_multiple_of(SECTOR);
                    self.data_end.fetch_max(end, Ordering::AcqRel);
                    return Ok(true);
                }
                PreparedCompressed::Occupied => return Err(EngineError::Occupied { at }),
                PreparedCompressed::TooFar => return Ok(false),
                PreparedCompressed::Wanted(fetch) => {
                    drop(pin);
                    self.fetch(fetch)?;
                }
                PreparedCompressed::Busy(busy) => {
                    drop(pin);
                    busy.wait();
                }
            }
        }
    }
}
