//! Writing.

use std::io::IoSlice;
use std::sync::atomic::Ordering;

use holstein_guard::planted::{Bug, is_planted};
use holstein_guard::{ClearedWrite, Event, Intent};
use holstein_mapping::{Busy, CowPart, Extent, ExtentKind, Prepared, WritePlan};
use holstein_refcount::Provenance;
use holstein_units::{GuestRange, HostOffset, HostRange};

use crate::EngineError;
use crate::disk::Disk;
use crate::read::usize_of;
use crate::slices::{part, total};

impl Disk {
    /// Writes `from` at guest offset `at`.
    ///
    /// # Concurrency
    /// In place: one system call and no lock. Otherwise the clusters touched are the caller's alone
    /// until the write is linked. On an encrypted disk the sectors touched are the caller's alone; a
    /// read of one of them meanwhile may see neither what was there nor what will be.
    ///
    /// # Errors
    /// [`EngineError::OutOfRange`]; [`EngineError::MarkedCorrupt`]; corruption, which marks the
    /// image; I/O. After an error each 512-byte sector of the range holds its old or its new
    /// content.
    #[inline]
    pub fn write_at(&self, at: u64, from: &[u8]) -> Result<(), EngineError> {
        self.write_vectored_at(at, &[IoSlice::new(from)])
    }

    /// Writes the buffers of `from`, in order, at guest offset `at`.
    ///
    /// # Errors
    /// As for [`Self::write_at`].
    pub fn write_vectored_at(&self, at: u64, from: &[IoSlice<'_>]) -> Result<(), EngineError> {
        let range = self.check_range(at, total(from) as u64)?;
        let result = self.guarded(|| self.write_range(range, from));
        self.record(range);
        result
    }

    /// Writes to a range that may reach past the virtual size, as resizing and VM state do.
    pub(crate) fn write_range(
        &self,
        mut range: GuestRange,
        from: &[IoSlice<'_>],
    ) -> Result<(), EngineError> {
        let mut done = 0;
        while !range.is_empty() {
            let pin = self.sequencer.pins().pin();
            let len = match self.mapping.prepare_write(self.step(range))? {
                Prepared::InPlace { at, len } => {
                    if let Some(cipher) = &self.config.cipher {
                        let data = part(from, done, usize_of(len));
                        let written =
                            self.write_encrypted_in_place(&**cipher, at, range.start, &data)?;
                        drop(pin);
                        if let Err(busy) = written {
                            busy.wait();
                            continue;
                        }
                        done += usize_of(len);
                        range = range.split_at(len).1;
                        continue;
                    }
                    let target = HostRange { start: at, len };
                    let write = self.clear_data(target)?;
                    match from {
                        [one] => write.write(&one[done..done + usize_of(len)])?,
                        many => write.write_vectored(&part(many, done, usize_of(len)))?,
                    }
                    drop(pin);
                    len
                }
                Prepared::Plan(plan) => {
                    let len = plan.guest().len;
                    if let Err(busy) = self.write_plan(&plan, &part(from, done, usize_of(len)))? {
                        drop(plan);
                        drop(pin);
                        busy.wait();
                        continue;
                    }
                    self.mapping.commit(*plan);
                    drop(pin);
                    self.relieve()?;
                    len
                }
                Prepared::Wanted(fetch) => {
                    drop(pin);
                    self.fetch(fetch)?;
                    continue;
                }
                Prepared::Busy(busy) => {
                    drop(pin);
                    busy.wait();
                    continue;
                }
            };
            done += usize_of(len);
            range = range.split_at(len).1;
        }
        Ok(())
    }

    /// Writes a plan's payload with what its clusters need around it, in one call; or says who is at
    /// work on one of the sectors, which are encrypted.
    pub(crate) fn write_plan(
        &self,
        plan: &WritePlan,
        data: &[IoSlice<'_>],
    ) -> Result<Result<(), Busy>, EngineError> {
        if let Some(cipher) = &self.config.cipher {
            return self.write_encrypted_plan(&**cipher, plan, data);
        }
        let head = plan.head().filter(|part| self.needs_copy(plan, part));
        let tail = self.tail(plan).filter(|part| self.needs_copy(plan, part));
        if let (Some(left), None) = (plan.tail(), tail) {
            let end = plan.host().get() + plan.guest().len + left.guest.len;
            self.data_end.fetch_max(end, Ordering::AcqRel);
        }
        if let ([one], None, None) = (data, head, tail) {
            let target = HostRange { start: plan.host(), len: plan.guest().len };
            self.clear_data(target)?.write(one)?;
            return Ok(Ok(()));
        }
        let head_bytes = head.map(|part| self.read_old(&part)).transpose()?.unwrap_or_default();
        let tail_bytes = tail.map(|part| self.read_old(&part)).transpose()?.unwrap_or_default();
        let mut parts = Vec::with_capacity(data.len() + 2);
        if !head_bytes.is_empty() {
            parts.push(IoSlice::new(&head_bytes));
        }
        parts.extend_from_slice(data);
        if !tail_bytes.is_empty() {
            parts.push(IoSlice::new(&tail_bytes));
        }
        let start = HostOffset::new(plan.host().get() - head_bytes.len() as u64);
        let len = head_bytes.len() as u64 + plan.guest().len + tail_bytes.len() as u64;
        self.clear_data(HostRange { start, len })?.write_vectored(&parts)?;
        Ok(Ok(()))
    }

    /// Clears a write of guest data and says that it comes.
    #[inline]
    pub(crate) fn clear_data(&self, range: HostRange) -> Result<ClearedWrite<'_>, EngineError> {
        let write = self.file.clear(Intent::Payload, range)?;
        self.file.note(Event::WriteData);
        Ok(write)
    }

    /// Whether a part must be written: not if it reads as zeros and the new cluster does too.
    fn needs_copy(&self, plan: &WritePlan, part: &CowPart) -> bool {
        let left = plan.keeps_its_clusters() && is_planted(Bug::SurroundingsLeft);
        if plan.provenance() != Provenance::Fresh && !left {
            return true;
        }
        self.old_extents(part).any(|(range, extent)| match extent.kind {
            ExtentKind::Zero { .. } => false,
            ExtentKind::Unallocated { .. } => !self.unallocated_is_zero(range),
            ExtentKind::Data { .. } | ExtentKind::Compressed { .. } => true,
        })
    }

    /// What a part of a cluster was before, stretch by stretch.
    fn old_extents(&self, part: &CowPart) -> impl Iterator<Item = (GuestRange, Extent)> + use<> {
        let (geometry, old, mut left) = (self.geometry, part.old, part.guest);
        std::iter::from_fn(move || {
            if left.is_empty() {
                return None;
            }
            let extent = old.extent(geometry, geometry.in_cluster(left.start), left.len);
            let (now, rest) = left.split_at(extent.len);
            left = rest;
            Some((now, extent))
        })
    }

    /// What a part of a cluster held before.
    pub(crate) fn read_old(&self, part: &CowPart) -> Result<Vec<u8>, EngineError> {
        let mut bytes = vec![0; usize_of(part.guest.len)];
        self.file.note(Event::CopyRead);
        let mut rest = &mut bytes[..];
        for (range, extent) in self.old_extents(part) {
            let (now, later) = rest.split_at_mut(usize_of(extent.len));
            self.read_extent(extent, range.start, now)?;
            rest = later;
        }
        Ok(bytes)
    }
}
