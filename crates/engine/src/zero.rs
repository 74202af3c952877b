//! Writing zeros and discarding.

use std::io::IoSlice;

use holstein_guard::planted::{Bug, is_planted};
use holstein_mapping::{Change, Changed, ExtentKind, Kept};
use holstein_units::{GuestOffset, GuestRange};

use crate::EngineError;
use crate::disk::Disk;

/// Zeros to write where the format has no better way.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Pieces of zeros that are written at once, so that clusters of up to 1 MiB get their places in a row.
const PIECES: u64 = 16;

impl Disk {
    /// Makes a range read as zeros; with `unmap` its clusters may be given up.
    ///
    /// Whole clusters, and whole subclusters, cost no payload. Parts of them are written, unless all of
    /// the cluster or subcluster reads as zeros already.
    ///
    /// # Errors
    /// As for [`Disk::write_at`].
    pub fn write_zeroes(&self, at: u64, len: u64, unmap: bool) -> Result<(), EngineError> {
        let range = self.check_range(at, len)?;
        let change = match unmap && self.config.discard_no_unref {
            true => Change::ZeroKeep,
            false => Change::Zero { unmap },
        };
        let result = self.guarded(|| self.zero_range(range, change));
        self.record(range);
        result
    }

    /// Tells the disk that a range is not needed: its whole clusters read as zeros from now on and
    /// give up their space. Parts of clusters stay as they are, and so does all in a version 2 image
    /// with a backing file.
    ///
    /// # Errors
    /// As for [`Disk::write_at`].
    pub fn discard(&self, at: u64, len: u64) -> Result<(), EngineError> {
        let range = self.check_range(at, len)?;
        let result = self.guarded(|| {
            let cluster = self.geometry.cluster_size();
            let Some(whole) = self.whole_units(range, cluster) else { return Ok(()) };
            self.change_clusters(whole, Change::Discard { keep: self.config.discard_no_unref })?;
            Ok(())
        });
        self.record(range);
        result
    }

    /// Zeros a range that may reach past the virtual size.
    pub(crate) fn zero_range(&self, range: GuestRange, change: Change) -> Result<(), EngineError> {
        let unit = self.geometry.subcluster_size();
        let Some(whole) = self.whole_units(range, unit) else {
            // Less than a unit, or two parts.
            let split = unit - range.start.get() % unit;
            let (first, second) = range.split_at(split);
            self.zero_part(first, change)?;
            return self.zero_part(second, change);
        };
        let head = GuestRange { start: range.start, len: whole.start - range.start };
        self.zero_part(head, change)?;
        if !self.change_clusters(whole, change)? {
            if !head.is_empty() && self.geometry.extended_l2() {
                // What a compressed cluster gave up for the head serves the rest, in a row.
                self.sequencer.flush()?;
            }
            self.write_zeros(whole.split_at(range.end() - whole.start).0)?;
        }
        if range.end() > whole.end() {
            let tail = GuestRange { start: whole.end(), len: range.end() - whole.end() };
            self.zero_part(tail, change)?;
        }
        Ok(())
    }

    /// The whole units of a range; its end counts to the end of the last unit where it is the end of
    /// the disk, and to the end of the last cluster where it has all that the disk has of it, in units.
    fn whole_units(&self, range: GuestRange, unit: u64) -> Option<GuestRange> {
        let start = range.start.get().div_ceil(unit) * unit;
        let end = range.end().get();
        let cluster = self.geometry.cluster_size();
        let end = if end != self.size() {
            end / unit * unit
        } else if end.is_multiple_of(unit) && start < end && start <= (end - 1) / cluster * cluster
        {
            end.div_ceil(cluster) * cluster
        } else {
            end.div_ceil(unit) * unit
        };
        // The rest of the last unit is none of a range that ends before it begins.
        let any = start < end && start < range.end().get();
        any.then(|| GuestRange { start: GuestOffset::new(start), len: end - start })
    }

    /// Zeros a part of one cluster, or with extended L2 entries of one subcluster.
    fn zero_part(&self, part: GuestRange, change: Change) -> Result<(), EngineError> {
        if part.is_empty() {
            return Ok(());
        }
        let unit = self.geometry.subcluster_size();
        let start = GuestOffset::new(part.start.get() / unit * unit);
        let whole = GuestRange { start, len: unit };
        // Somebody may write to the rest between the look and the change.
        let change = match change {
            Change::Zero { unmap } => Change::ZeroEmpty { unmap },
            Change::ZeroKeep => Change::ZeroEmpty { unmap: false },
            other => other,
        };
        if self.rest_reads_as_zero(whole, part)? && self.change_clusters(whole, change)? {
            return Ok(());
        }
        self.write_zeros(part)
    }

    /// Whether a unit has no data of its own and reads as zeros around `part`.
    fn rest_reads_as_zero(&self, unit: GuestRange, part: GuestRange) -> Result<bool, EngineError> {
        let head = GuestRange { start: unit.start, len: part.start - unit.start };
        let tail = GuestRange { start: part.end(), len: unit.end() - part.end() };
        Ok(match self.map_extent(unit)?.kind {
            ExtentKind::Zero { .. } => true,
            ExtentKind::Unallocated { .. } => {
                self.unallocated_is_zero(head) && self.unallocated_is_zero(tail)
            }
            ExtentKind::Data { .. } | ExtentKind::Compressed { .. } => false,
        })
    }

    /// Changes whole clusters; false, with nothing changed, where the image cannot express it or the
    /// change was for clusters without data.
    pub(crate) fn change_clusters(
        &self,
        mut range: GuestRange,
        change: Change,
    ) -> Result<bool, EngineError> {
        self.change_data_file(range, change)?;
        while !range.is_empty() {
            let pin = self.sequencer.pins().pin();
            match self.mapping.change(range, change)? {
                Changed::Done { len, kept } => {
                    drop(pin);
                    if let Some(kept) = kept {
                        self.forget(&kept)?;
                    }
                    range = range.split_at(len).1;
                    self.relieve()?;
                }
                Changed::Unsupported | Changed::NotEmpty => return Ok(false),
                Changed::Wanted(fetch) => {
                    drop(pin);
                    self.fetch(fetch)?;
                }
                Changed::Busy(busy) => {
                    drop(pin);
                    busy.wait();
                }
            }
        }
        Ok(true)
    }

    /// Tells the host that the content of kept places does not count, if guest discards are passed on.
    fn forget(&self, kept: &Kept) -> Result<(), EngineError> {
        if !self.config.discard.request || self.has_data_file() {
            return Ok(());
        }
        // Where a hole reads as zeros a crash leaves the old data or zeros. Elsewhere, and under a
        // cipher, the entries have to say first that the content does not count.
        let zeros = self.file.storage().capabilities().zero_beyond_end
            && (self.config.cipher.is_none() || is_planted(Bug::HolesUnderCipher));
        if !zeros {
            self.sequencer.flush()?;
        }
        for place in kept.places() {
            self.file.discard(*place);
        }
        Ok(())
    }

    /// Writes zeros as data.
    pub(crate) fn write_zeros(&self, range: GuestRange) -> Result<(), EngineError> {
        let mut left = range;
        while !left.is_empty() {
            // Cut where sectors end: a power cut between two writes must not leave half of one.
            let size = ZEROS.len() as u64 * PIECES;
            let (now, rest) = left.split_at(size - left.start.get() % size);
            let pieces = now.len.div_ceil(ZEROS.len() as u64);
            let mut pieces = vec![IoSlice::new(&ZEROS); crate::read::usize_of(pieces)];
            let last = now.len - (pieces.len() as u64 - 1) * ZEROS.len() as u64;
            if let Some(piece) = pieces.last_mut() {
                *piece = IoSlice::new(&ZEROS[..crate::read::usize_of(last)]);
            }
            self.write_range(now, &pieces)?;
            left = rest;
        }
        Ok(())
    }
}
