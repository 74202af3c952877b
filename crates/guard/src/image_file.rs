//! Reads, cleared writes and barriers.
//!
//! With an external data file payload goes there, and everything else to the image file. A barrier
//! is one of both.

use std::io::{IoSlice, IoSliceMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use holstein_storage::Storage;
use holstein_units::{Geometry, HostOffset, HostRange};

use crate::planted::{Bug, is_planted};
use crate::{Event, GuardError, Intent, Listener, Region, RegionMask, RegionSet};

/// The image file of an open image.
///
/// # Concurrency
/// Reads and payload writes take no lock and share no written cache line but the note that
/// something is not yet durable, which is written once between two barriers.
pub struct ImageFile {
    storage: Arc<dyn Storage>,
    /// Where payload is: the same storage, or the external data file.
    payload: Arc<dyn Storage>,
    has_data_file: bool,
    geometry: Geometry,
    regions: RegionSet,
    checked: RegionMask,
    poison: OnceLock<Arc<std::io::Error>>,
    unflushed: AtomicBool,
    listener: Option<Arc<dyn Listener>>,
}

impl std::fmt::Debug for ImageFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageFile").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

/// A write that was found to hit nothing it must not hit.
#[must_use = "a cleared write does nothing until it is written"]
pub struct ClearedWrite<'a> {
    file: &'a ImageFile,
    storage: &'a dyn Storage,
    intent: Intent,
    range: HostRange,
}

impl ImageFile {
    /// Opens the door to `storage`; writes are tested against the kinds in `checked`.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, geometry: Geometry, checked: RegionMask) -> Self {
        Self {
            payload: Arc::clone(&storage),
            storage,
            has_data_file: false,
            geometry,
            regions: RegionSet::new(),
            checked,
            poison: OnceLock::new(),
            unflushed: AtomicBool::new(false),
            listener: None,
        }
    }

    /// Tells `listener` what is about to happen.
    #[must_use]
    pub fn with_listener(mut self, listener: Option<Arc<dyn Listener>>) -> Self {
        self.listener = listener;
        self
    }

    /// Says what comes next, where somebody listens.
    #[inline]
    pub fn note(&self, event: Event) {
        if let Some(listener) = &self.listener {
            listener.about_to(event);
        }
    }

    /// The same with payload in an external data file, in which there is no metadata to hit.
    #[must_use]
    pub fn with_data_file(self, data: Arc<dyn Storage>) -> Self {
        Self { payload: data, has_data_file: true, ..self }
    }

    /// The external data file, if there is one.
    #[must_use]
    pub fn data_file(&self) -> Option<&Arc<dyn Storage>> {
        self.has_data_file.then_some(&self.payload)
    }

    /// The storage below. Writing to it directly breaks every promise made here.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// How the image divides addresses.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Where metadata lies.
    #[must_use]
    pub fn regions(&self) -> &RegionSet {
        &self.regions
    }

    /// Reads metadata: all of it must be there.
    ///
    /// # Errors
    /// [`GuardError::ShortTable`] if the file ends within the range; [`GuardError::Read`].
    pub fn read(&self, at: HostOffset, into: &mut [u8]) -> Result<(), GuardError> {
        let len = into.len() as u64;
        let got = self.storage.read_at(at, into).map_err(|e| GuardError::Read {
            at,
            len,
            source: Arc::new(e),
        })? as u64;
        if got < len {
            return Err(GuardError::ShortTable { at, len, got });
        }
        Ok(())
    }

    /// Reads from the image file; what lies past its end reads as zeros.
    ///
    /// # Errors
    /// [`GuardError::Read`].
    pub fn read_image(&self, at: HostOffset, into: &mut [u8]) -> Result<(), GuardError> {
        Self::read_padded(&*self.storage, at, into)
    }

    /// Reads payload into one buffer; what lies past the end of the file reads as zeros.
    ///
    /// # Errors
    /// [`GuardError::Read`].
    #[inline]
    pub fn read_payload(&self, at: HostOffset, into: &mut [u8]) -> Result<(), GuardError> {
        Self::read_padded(&*self.payload, at, into)
    }

    #[inline]
    fn read_padded(
        storage: &dyn Storage,
        at: HostOffset,
        into: &mut [u8],
    ) -> Result<(), GuardError> {
        let got = storage.read_at(at, into).map_err(|e| GuardError::Read {
            at,
            len: into.len() as u64,
            source: Arc::new(e),
        })?;
        if got < into.len() {
            into[got..].fill(0);
        }
        Ok(())
    }

    /// Reads payload into several buffers; what lies past the end of the file reads as zeros.
    ///
    /// # Errors
    /// [`GuardError::Read`].
    pub fn read_payload_vectored(
        &self,
        at: HostOffset,
        into: &mut [IoSliceMut<'_>],
    ) -> Result<(), GuardError> {
        let len: usize = into.iter().map(|b| b.len()).sum();
        let mut got = self.payload.read_vectored_at(at, into).map_err(|e| GuardError::Read {
            at,
            len: len as u64,
            source: Arc::new(e),
        })?;
        if got < len {
            for buffer in into {
                let have = got.min(buffer.len());
                buffer[have..].fill(0);
                got -= have;
            }
        }
        Ok(())
    }

    /// Tests a write before it is made.
    ///
    /// # Errors
    /// [`GuardError::Overlap`] if the range touches metadata that the intent does not name;
    /// [`GuardError::Poisoned`] after a failed barrier.
    #[inline]
    pub fn clear(&self, intent: Intent, range: HostRange) -> Result<ClearedWrite<'_>, GuardError> {
        if self.has_data_file && matches!(intent, Intent::Payload) {
            self.takes_writes()?;
            return Ok(ClearedWrite { file: self, storage: &*self.payload, intent, range });
        }
        self.clear_in_image(intent, range)
    }

    fn clear_in_image(
        &self,
        intent: Intent,
        range: HostRange,
    ) -> Result<ClearedWrite<'_>, GuardError> {
        self.takes_writes()?;
        let first = self.geometry.host_cluster(range.start);
        // A write of nothing touches nothing, wherever it begins.
        let count = match range.len {
            0 => 0,
            len => self.geometry.clusters_for(self.geometry.in_host_cluster(range.start) + len),
        };
        let hit =
            self.regions.lookup(first, count).intersection(self.checked).without(intent.allowed());
        if let Some(hit) = hit.first() {
            return Err(GuardError::Overlap { intent: intent.name(), range, hit });
        }
        Ok(ClearedWrite { file: self, storage: &*self.storage, intent, range })
    }

    /// Clears and writes one buffer.
    ///
    /// # Errors
    /// As for [`Self::clear`] and [`ClearedWrite::write`].
    pub fn write(&self, intent: Intent, at: HostOffset, from: &[u8]) -> Result<(), GuardError> {
        let range = HostRange { start: at, len: from.len() as u64 };
        self.clear(intent, range)?.write(from)
    }

    /// Replaces a field that decides where tables are: `old` by `new`, of equal length.
    ///
    /// A write that fails may have reached the file all the same, and later changes would go to
    /// tables that the file no longer names. So `old` is put back, durably: the caller undoes what `new`
    /// relied on, and that must not reach the disk beside `new`. Where that fails too, the file takes
    /// no more writes.
    ///
    /// # Errors
    /// As for [`Self::write`]: the field is then `old`, or the file is poisoned.
    pub fn replace(
        &self,
        intent: Intent,
        at: HostOffset,
        old: &[u8],
        new: &[u8],
    ) -> Result<(), GuardError> {
        let Err(error) = self.write(intent, at, new) else { return Ok(()) };
        if let GuardError::Write { source, .. } = &error {
            if self.write(intent, at, old).is_err() {
                self.poison.get_or_init(|| Arc::clone(source));
            } else {
                // Where this fails the file is poisoned; the error that counts is the first.
                let _ = self.barrier();
            }
        }
        Err(error)
    }

    /// Notes that something was written since the last barrier.
    #[inline]
    fn touch(&self) {
        if !self.unflushed.load(Ordering::SeqCst) {
            self.unflushed.store(true, Ordering::SeqCst);
        }
    }

    /// Whether a write was made since the last barrier.
    #[must_use]
    pub fn has_unflushed(&self) -> bool {
        self.unflushed.load(Ordering::SeqCst)
    }

    /// Makes all writes that returned before this call durable.
    ///
    /// # Errors
    /// [`GuardError::Barrier`], after which the file is poisoned; [`GuardError::Poisoned`].
    pub fn barrier(&self) -> Result<(), GuardError> {
        self.takes_writes()?;
        self.note(Event::FlushToDisk);
        // Cleared first: a write that comes during the flush is left for the next one.
        self.unflushed.store(false, Ordering::SeqCst);
        let both = self.has_data_file && !is_planted(Bug::DataFileNotFlushed);
        let data = if both { self.payload.flush() } else { Ok(()) };
        match data.and_then(|()| self.storage.flush()) {
            Ok(()) => Ok(()),
            Err(e) => {
                let source = Arc::clone(self.poison.get_or_init(|| Arc::new(e)));
                self.unflushed.store(true, Ordering::SeqCst);
                Err(GuardError::Barrier { source })
            }
        }
    }

    #[inline]
    fn takes_writes(&self) -> Result<(), GuardError> {
        match self.poison.get() {
            None => Ok(()),
            Some(source) => Err(GuardError::Poisoned { source: Arc::clone(source) }),
        }
    }

    /// Why the file takes no writes any more, if a barrier failed.
    #[must_use]
    pub fn poisoned(&self) -> Option<&Arc<std::io::Error>> {
        self.poison.get()
    }

    /// Tells the host that the content of a range of free clusters of the image file does not matter.
    /// Failure is ignored: a discard is advice.
    pub fn discard(&self, range: HostRange) {
        if self.clear_in_image(Intent::Payload, range).is_ok() {
            let _ = self.storage.discard(range);
            self.touch();
        }
    }

    /// The same for payload that nobody needs, in the external data file; nothing without one.
    pub fn discard_data(&self, range: HostRange) {
        if self.has_data_file && self.poison.get().is_none() {
            let _ = self.payload.discard(range);
            self.touch();
        }
    }

    /// The length of the file in bytes.
    ///
    /// # Errors
    /// [`GuardError::Length`].
    pub fn len(&self) -> Result<u64, GuardError> {
        self.storage.len().map_err(|e| GuardError::Length { source: Arc::new(e) })
    }

    /// Whether the file is empty.
    ///
    /// # Errors
    /// [`GuardError::Length`].
    pub fn is_empty(&self) -> Result<bool, GuardError> {
        Ok(self.len()? == 0)
    }

    /// Gives the external data file the length of the disk; nothing without one.
    ///
    /// # Errors
    /// As for [`Self::set_len`].
    pub fn set_data_len(&self, len: u64) -> Result<(), GuardError> {
        if !self.has_data_file || !self.payload.capabilities().resizable {
            return Ok(());
        }
        self.takes_writes()?;
        self.touch();
        self.payload.set_len(len).map_err(|e| GuardError::Length { source: Arc::new(e) })
    }

    /// Makes the external data file at least as long as the disk, and cuts nothing off; nothing
    /// without one.
    ///
    /// # Errors
    /// As for [`Self::set_len`].
    pub fn grow_data_len(&self, len: u64) -> Result<(), GuardError> {
        let now = self.payload.len().map_err(|e| GuardError::Length { source: Arc::new(e) })?;
        if now < len { self.set_data_len(len) } else { Ok(()) }
    }

    /// Cuts the file or grows it with zeros.
    ///
    /// # Errors
    /// [`GuardError::Length`]; [`GuardError::Poisoned`].
    pub fn set_len(&self, len: u64) -> Result<(), GuardError> {
        self.takes_writes()?;
        self.touch();
        self.storage.set_len(len).map_err(|e| GuardError::Length { source: Arc::new(e) })
    }
}

impl std::fmt::Debug for ClearedWrite<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClearedWrite").field("range", &self.range).finish_non_exhaustive()
    }
}

impl ClearedWrite<'_> {
    /// Says which table is about to be written.
    #[inline]
    fn note(&self) {
        if self.file.listener.is_some() {
            let event = match self.intent {
                Intent::Metadata(Region::ActiveL1) => Event::L1Update,
                Intent::Metadata(Region::ActiveL2) => Event::L2Update,
                Intent::Metadata(Region::RefcountBlock) => Event::RefcountBlockUpdate,
                Intent::Metadata(Region::RefcountTable) => Event::RefcountBlockHookUp,
                // What payload it is, guest data or a stream, is known to who writes it.
                Intent::Payload | Intent::Bitmap | Intent::Metadata(_) => return,
            };
            self.file.note(event);
        }
    }

    fn failed(&self, e: std::io::Error) -> GuardError {
        GuardError::Write { at: self.range.start, len: self.range.len, source: Arc::new(e) }
    }

    /// Writes one buffer, whose length is that of the cleared range.
    ///
    /// # Errors
    /// [`GuardError::Write`]; how much was written is then unknown.
    #[inline]
    pub fn write(self, from: &[u8]) -> Result<(), GuardError> {
        assert_eq!(
            from.len() as u64,
            self.range.len,
            "a cleared write has the length it asked for"
        );
        self.note();
        let result = self.storage.write_at(self.range.start, from);
        self.file.touch();
        result.map_err(|e| self.failed(e))
    }

    /// Writes several buffers, whose lengths add up to that of the cleared range.
    ///
    /// # Errors
    /// [`GuardError::Write`]; how much was written is then unknown.
    pub fn write_vectored(self, from: &[IoSlice<'_>]) -> Result<(), GuardError> {
        let len: u64 = from.iter().map(|b| b.len() as u64).sum();
        assert_eq!(len, self.range.len, "a cleared write has the length it asked for");
        self.note();
        let result = self.storage.write_vectored_at(self.range.start, from);
        self.file.touch();
        result.map_err(|e| self.failed(e))
    }

    /// Makes the range read as zeros.
    ///
    /// # Errors
    /// [`GuardError::Write`].
    pub fn write_zeroes(self) -> Result<(), GuardError> {
        self.note();
        let result = self.storage.write_zeroes(self.range);
        self.file.touch();
        result.map_err(|e| self.failed(e))
    }

    /// Reserves host space for the range; its content stays.
    ///
    /// # Errors
    /// [`GuardError::Write`].
    pub fn allocate(self) -> Result<(), GuardError> {
        let result = self.storage.allocate(self.range);
        self.file.touch();
        result.map_err(|e| self.failed(e))
    }
}
