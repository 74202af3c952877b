//! What an external data file needs beside the tables: its length, and its own zeros.
//!
//! Guest bytes are at the same offset in the data file. Nothing in it is counted, so a discard may go
//! to it at once: whoever writes there later does so after the discard returned.
//!
//! # Spec
//! "External data file".

use std::sync::atomic::Ordering;

use holstein_format::{AutoclearFeatures, HeaderExtension};
use holstein_guard::Intent;
use holstein_guard::planted::{Bug, is_planted};
use holstein_mapping::{Change, CowPart, WritePlan};
use holstein_units::{GuestRange, HostOffset, HostRange};

use crate::EngineError;
use crate::disk::Disk;

impl Disk {
    /// Whether payload is in an external data file.
    pub(crate) fn has_data_file(&self) -> bool {
        self.file.data_file().is_some()
    }

    /// Whether the data file must read as the disk does.
    pub(crate) fn is_data_file_raw(&self) -> bool {
        self.has_data_file() && self.read_header().has_raw_data_file()
    }

    /// Whether the disk shows what the data file holds past its end when it grows: a raw one whose bytes
    /// are the disk's own.
    pub(crate) fn shows_data_file(&self) -> bool {
        self.is_data_file_raw() && self.config.cipher.is_none()
    }

    /// The tail of a plan, without what lies past the end of the disk where there is a data file, which
    /// ends there. While the disk grows its old end is passed, and the file is cut afterwards.
    pub(crate) fn tail(&self, plan: &WritePlan) -> Option<CowPart> {
        let part = plan.tail()?;
        if !self.has_data_file() || plan.guest().start.get() >= self.size() {
            return Some(part);
        }
        let inside = self.size().saturating_sub(part.guest.start.get());
        let guest = part.guest.split_at(inside).0;
        (!guest.is_empty()).then_some(CowPart { guest, ..part })
    }

    /// Does to the data file what a change of whole clusters or parts of them does to the disk, before
    /// the tables say so; nothing where payload is encrypted.
    pub(crate) fn change_data_file(
        &self,
        range: GuestRange,
        change: Change,
    ) -> Result<(), EngineError> {
        if !self.has_data_file() {
            return Ok(());
        }
        if self.config.cipher.is_some() && !is_planted(Bug::HolesUnderCipher) {
            // Neither zeros nor holes decrypt to zeros, and a crash may leave tables that say data.
            return Ok(());
        }
        let range = HostRange { start: HostOffset::new(range.start.get()), len: range.len };
        if self.is_data_file_raw() {
            return self.zero_old_data(range);
        }
        let request = matches!(
            change,
            Change::Discard { .. }
                | Change::ZeroKeep
                | Change::Zero { unmap: true }
                | Change::ZeroEmpty { unmap: true }
        );
        if request && self.config.discard.request {
            self.file.discard_data(self.on_disk(range));
        }
        Ok(())
    }

    /// Writes another name of the data file to the header, where one is given, and with `not_raw` that the
    /// file need not read as the disk does any more. An empty name is none. The file that is open
    /// stays the one that is used.
    ///
    /// # Errors
    /// As for [`Disk::update_header`].
    pub fn name_data_file(&self, name: Option<&[u8]>, not_raw: bool) -> Result<(), EngineError> {
        let _alone = self.restructure();
        self.check_writable()?;
        self.update_header(|header| {
            if not_raw {
                header.autoclear.remove(AutoclearFeatures::RAW_DATA_FILE);
            }
            let Some(name) = name else { return };
            let is_name = |kept: &HeaderExtension| matches!(kept, HeaderExtension::DataFile(_));
            let place = header.extensions.iter().position(is_name);
            header.extensions.retain(|kept| !is_name(kept));
            if !name.is_empty() {
                let new = HeaderExtension::DataFile(name.to_vec());
                header.extensions.insert(place.unwrap_or(0), new);
            }
        })
    }

    /// Makes the data file as long as a disk that grows from `old` to `size` bytes. A raw one may be
    /// longer already, as its owner made it: all of it is kept, and the disk shows it, unless the disk
    /// has been that long and failed to cut it. Of any other the new range is zeros.
    pub(crate) fn grow_data_file(&self, old: u64, size: u64) -> Result<(), EngineError> {
        if self.uncut.load(Ordering::Acquire) {
            self.file.set_data_len(old)?;
            self.uncut.store(false, Ordering::Release);
        }
        if self.shows_data_file() {
            return Ok(self.file.grow_data_len(size)?);
        }
        self.file.set_data_len(old)?;
        Ok(self.file.set_data_len(size)?)
    }

    /// Makes a range of the data file read as zeros, as far as it is within the present disk.
    pub(crate) fn zero_old_data(&self, range: HostRange) -> Result<(), EngineError> {
        let range = self.on_disk(range);
        if range.is_empty() {
            return Ok(());
        }
        Ok(self.file.clear(Intent::Payload, range)?.write_zeroes()?)
    }

    /// The part of a range of the data file that is within the present disk.
    fn on_disk(&self, range: HostRange) -> HostRange {
        range.split_at(self.size().saturating_sub(range.start.get())).0
    }
}
