//! Space for data that is to come.

use std::io::IoSlice;

use holstein_guard::Intent;
use holstein_mapping::{Prepared, WritePlan};
use holstein_refcount::Provenance;
use holstein_units::{GuestRange, HostRange};

use crate::disk::Disk;
use crate::read::usize_of;
use crate::{EngineError, Progress};

/// How much is done for the space of a new or grown disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Preallocation {
    /// Nothing.
    #[default]
    Off,
    /// Clusters are mapped; the file is sparse.
    Metadata,
    /// Clusters are mapped and the host reserves their space.
    Falloc,
    /// Clusters are mapped and zeros are written to them.
    Full,
}

impl Disk {
    /// Maps clusters for all of `range` that has none, and prepares them as `mode` says; those of an
    /// encrypted disk are written whatever the mode.
    ///
    /// * `range`: from a cluster's first byte; may reach past the virtual size.
    /// * `progress`: bytes of the range.
    ///
    /// # Errors
    /// As for [`Disk::write_at`].
    pub(crate) fn preallocate(
        &self,
        range: GuestRange,
        mode: Preallocation,
        progress: &mut dyn Progress,
    ) -> Result<(), EngineError> {
        if mode == Preallocation::Off {
            return Ok(());
        }
        let cluster = self.geometry.cluster_size();
        let mut left = range;
        while !left.is_empty() {
            let pin = self.sequencer.pins().pin();
            match self.mapping.prepare_write(self.step(left))? {
                Prepared::InPlace { at, len } => {
                    if matches!(mode, Preallocation::Falloc | Preallocation::Full) {
                        // Mapped already, but perhaps over a hole.
                        let target = HostRange { start: at, len };
                        self.file.clear(Intent::Payload, target)?.allocate()?;
                    }
                    left = left.split_at(len).1;
                }
                Prepared::Plan(plan)
                    if self.config.cipher.is_some() && !self.geometry.extended_l2() =>
                {
                    // Only encrypted zeros read as zeros; what has no data yet is not read.
                    let len = plan.guest().len;
                    let zeros = vec![0; usize_of(len)];
                    if let Err(busy) = self.write_plan(&plan, &[IoSlice::new(&zeros)])? {
                        drop(plan);
                        drop(pin);
                        busy.wait();
                        continue;
                    }
                    self.mapping.commit(*plan);
                    left = left.split_at(len).1;
                }
                Prepared::Plan(plan) => {
                    let len = plan.guest().len;
                    let whole = len.div_ceil(cluster) * cluster;
                    let target = HostRange { start: plan.host(), len: whole };
                    let end = target.end().get();
                    if !self.has_data_file() && end > self.file.len()? {
                        // No entry may name what the file does not reach, whatever fails later.
                        plan.cancel();
                        drop(pin);
                        self.lengthen(end)?;
                        continue;
                    }
                    let before = range.len - left.len;
                    self.prepare_space(&plan, target, mode, &mut |bytes: u64| {
                        progress.at((before + bytes).min(range.len), range.len);
                    })?;
                    if self.shows_data_file() {
                        self.mapping.commit(*plan);
                    } else {
                        self.mapping.commit_space(*plan);
                    }
                    left = left.split_at(len).1;
                }
                Prepared::Wanted(fetch) => {
                    drop(pin);
                    self.fetch(fetch)?;
                }
                Prepared::Busy(busy) => {
                    drop(pin);
                    busy.wait();
                }
            }
            progress.at(range.len - left.len, range.len);
        }
        Ok(())
    }

    /// Makes the file at least `end` bytes long.
    fn lengthen(&self, end: u64) -> Result<(), EngineError> {
        // Nobody writes past `end` between the look at the length and the change of it, which would
        // cut that off.
        let _quiet = self.quiet();
        if end > self.file.len()? {
            self.file.set_len(end)?;
        }
        Ok(())
    }

    /// Does to the clusters of a plan, which are `target`, what `mode` says; `written` hears how many bytes
    /// of them were written so far.
    fn prepare_space(
        &self,
        plan: &WritePlan,
        target: HostRange,
        mode: Preallocation,
        written: &mut dyn FnMut(u64),
    ) -> Result<(), EngineError> {
        // Subclusters of a cluster that is kept may have data; those of a new one read as they did,
        // whatever is in it.
        let extended = self.geometry.extended_l2();
        let fresh = extended || plan.provenance() == Provenance::Fresh;
        let kept = extended && plan.keeps_its_clusters();
        if self.shows_data_file() {
            // What is past the end of the disk is for the disk to show.
            if !fresh {
                self.zero_old_data(target)?;
            }
            return match mode {
                Preallocation::Falloc | Preallocation::Full => {
                    let wanted = target.split_at(plan.guest().len).0;
                    Ok(self.file.clear(Intent::Payload, wanted)?.allocate()?)
                }
                Preallocation::Metadata | Preallocation::Off => Ok(()),
            };
        }
        match mode {
            Preallocation::Full if !kept => self.write_whole_zeros(target, written),
            Preallocation::Falloc | Preallocation::Full if fresh => {
                // A cluster of which the disk has a part is written: where that part is written later on, the
                // host need not keep what is reserved and what is written of it apart, which can take space.
                let cluster = self.geometry.cluster_size();
                let whole = if kept { target.len } else { plan.guest().len / cluster * cluster };
                let (whole, part) = target.split_at(whole);
                if !whole.is_empty() {
                    self.file.clear(Intent::Payload, whole)?.allocate()?;
                }
                self.write_whole_zeros(part, &mut |bytes| written(whole.len + bytes))
            }
            Preallocation::Metadata if fresh => Ok(()),
            // The new end of the data file is zeros already.
            Preallocation::Metadata if self.has_data_file() => self.zero_old_data(target),
            Preallocation::Metadata if !kept => self.zero_what_is_there(target),
            _ => Ok(self.file.clear(Intent::Payload, target)?.write_zeroes()?),
        }
    }

    /// Makes clusters of the image file read as zeros. Holes do so already and stay holes.
    fn zero_what_is_there(&self, target: HostRange) -> Result<(), EngineError> {
        let mut todo = target;
        while !todo.is_empty() {
            // What cannot be told may be data.
            let (has_data, len) =
                self.file.storage().extent_at(todo.start).unwrap_or((true, todo.len));
            // Past the end of the file there is nothing, which has no length.
            let (now, rest) = todo.split_at(if len == 0 { todo.len } else { len });
            if has_data {
                self.file.clear(Intent::Payload, now)?.write_zeroes()?;
            }
            todo = rest;
        }
        Ok(())
    }

    /// Writes zeros to clusters, byte by byte.
    fn write_whole_zeros(
        &self,
        target: HostRange,
        written: &mut dyn FnMut(u64),
    ) -> Result<(), EngineError> {
        let zeros = vec![0; usize_of(self.geometry.cluster_size().max(1 << 20))];
        let mut todo = target;
        while !todo.is_empty() {
            let (now, rest) = todo.split_at(zeros.len() as u64);
            self.file.clear(Intent::Payload, now)?.write(&zeros[..usize_of(now.len)])?;
            todo = rest;
            written(target.len - todo.len);
        }
        Ok(())
    }
}
