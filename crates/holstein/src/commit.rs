//! Committing: what an image holds goes into a disk below it.
//!
//! ```text
//!   base grown -> data and zeros copied -> base flushed -> clusters of the overlay given up
//! ```
//!
//! Until the base is durable the overlay keeps all it has, so the two together read the same at any
//! moment, whatever fails and wherever a power cut comes.
//!
//! # Spec
//! Rule C10; "Emptying an image".

use std::io;
use std::sync::Arc;

use holstein_engine::{DiskExtentKind, Preallocation};
use holstein_guard::planted::{Bug, is_planted};
use holstein_storage::Storage;
use holstein_units::{HostOffset, HostRange, SECTOR};

use crate::chain::{Chain, Held, io_error};
use crate::error::Cause;
use crate::pieces::{default_workers, for_each_piece, piece_end, piece_len};
use crate::{Error, Image};

/// The longest piece of zeros.
const MAX_ZEROES: u64 = 1 << 30;

/// The most that is asked of the images between at once: an answer of the upper ones is lost where a
/// lower one holds less.
const MAX_ASKED: u64 = 64 << 20;

/// The disk into which an image is committed.
///
/// # Concurrency
/// Called from any number of threads; ranges that are written at a time do not overlap.
pub trait CommitTarget: Sync {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of its clusters: parts of them are better written at once.
    fn cluster_size(&self) -> u64 {
        SECTOR
    }

    /// Grows it to `len` bytes, which read as zeros.
    ///
    /// # Errors
    /// Whatever it fails with.
    fn grow(&self, len: u64) -> io::Result<()>;

    /// Writes bytes within its length.
    ///
    /// # Errors
    /// Whatever it fails with.
    fn write_at(&self, at: u64, from: &[u8]) -> io::Result<()>;

    /// Makes a range within its length read as zeros, without keeping space for them.
    ///
    /// # Errors
    /// Whatever it fails with.
    fn write_zeroes(&self, at: u64, len: u64) -> io::Result<()>;

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// Whatever it fails with.
    fn flush(&self) -> io::Result<()>;
}

impl CommitTarget for Image {
    fn len(&self) -> u64 {
        self.virtual_size()
    }

    fn cluster_size(&self) -> u64 {
        Self::cluster_size(self)
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.resize(len, Preallocation::Off).map_err(io_error)
    }

    fn write_at(&self, at: u64, from: &[u8]) -> io::Result<()> {
        Self::write_at(self, at, from).map_err(io_error)
    }

    fn write_zeroes(&self, at: u64, len: u64) -> io::Result<()> {
        Self::write_zeroes(self, at, len, true).map_err(io_error)
    }

    fn flush(&self) -> io::Result<()> {
        Self::flush(self).map_err(io_error)
    }
}

/// A base of bytes as they are.
pub struct RawTarget(Arc<dyn Storage>);

impl RawTarget {
    /// The whole of `storage`.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self(storage)
    }
}

impl std::fmt::Debug for RawTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawTarget").finish_non_exhaustive()
    }
}

impl CommitTarget for RawTarget {
    fn len(&self) -> u64 {
        // One that cannot be asked is empty, and growing it says why.
        self.0.len().map_or(0, |len| len.next_multiple_of(SECTOR))
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        if len > self.0.len()? { self.0.set_len(len) } else { Ok(()) }
    }

    fn write_at(&self, at: u64, from: &[u8]) -> io::Result<()> {
        self.0.write_at(HostOffset::new(at), from)
    }

    fn write_zeroes(&self, at: u64, len: u64) -> io::Result<()> {
        let range = HostRange { start: HostOffset::new(at), len };
        self.0.write_zeroes(range)?;
        if self.0.capabilities().zero_beyond_end { self.0.discard(range) } else { Ok(()) }
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

/// How an image is committed.
///
/// ```
/// use std::sync::Arc;
/// use holstein::chain::{Chain, Layer, RawLayer};
/// use holstein::storage::{MemStorage, Storage};
/// use holstein::{CommitOptions, CreateOptions, OpenOptions, RawTarget};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let base = Arc::new(MemStorage::from_bytes(&[7; 4096]));
/// let top: Arc<dyn Storage> = Arc::new(MemStorage::new());
/// let overlay = CreateOptions::new(4096).backing_file(b"base".to_vec(), Some(b"raw".to_vec()));
/// drop(overlay.create_on(Arc::clone(&top))?);
///
/// // The overlay is opened over what is between it and the base: here nothing.
/// let image = OpenOptions::new().backing_chain(Arc::default()).open_storage(top)?;
/// image.write_zeroes(0, 4096, true)?;
/// CommitOptions::new().run(&image, &RawTarget::new(base.clone()), &mut |_, _| {})?;
/// image.close()?;
/// assert_eq!(base.to_bytes()?[..4096], [0; 4096]);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct CommitOptions<'a> {
    keep: bool,
    workers: usize,
    before_write: Option<&'a (dyn Fn(u64) + Sync)>,
}

impl std::fmt::Debug for CommitOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitOptions").field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl Default for CommitOptions<'_> {
    fn default() -> Self {
        Self { keep: false, workers: default_workers(), before_write: None }
    }
}

impl<'a> CommitOptions<'a> {
    /// The overlay is emptied afterwards; as many requests at a time as there are processors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the overlay keeps what it has. Images that are skipped between overlay and base
    /// are of no use afterwards, and neither is an overlay over one of them; then this is to be on.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// Requests at a time.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Called with the number of bytes before they are written; may wait to hold the rate down.
    pub fn before_write(mut self, call: &'a (dyn Fn(u64) + Sync)) -> Self {
        self.before_write = Some(call);
        self
    }

    /// Commits `overlay` into `base`.
    ///
    /// * `overlay`: opened over a chain ([`crate::OpenOptions::backing_chain`]) of the images between
    ///   it and the base, which is empty where there are none. Nobody else writes to it meanwhile.
    /// * `base`: opened over what is below it. Grown where it is smaller, never made smaller.
    /// * `progress`: bytes done, and bytes in all.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] if the overlay was opened otherwise; I/O of either side.
    /// Overlay and base read as before then: the overlay still hides all that was written below it.
    pub fn run(
        &self,
        overlay: &Image,
        base: &dyn CommitTarget,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let Some(between) = overlay.chain() else {
            let text = "an image is committed from over a chain of the images above the base";
            return Err(Cause::Invalid(text.to_owned()).into());
        };
        let failed = |what| move |e| Error::from(Cause::Copy { what, source: Arc::new(e) });
        let size = overlay.virtual_size();
        if base.len() < size {
            base.grow(size).map_err(failed("grow the base"))?;
        }
        let walk = Walk { overlay, between, at: 0, size, own: None, known: None };
        let mut total = 0;
        let mut count = walk.clone();
        while let Some(piece) = count.next(MAX_ZEROES)? {
            total += piece.len;
        }
        let mut done = 0;
        progress(0, total);
        let piece = piece_len([overlay.cluster_size(), base.cluster_size()]);
        let mut walk = walk;
        for_each_piece(
            self.workers,
            || walk.next(piece),
            |piece, buffer| {
                if piece.zero {
                    let written = base.write_zeroes(piece.at, piece.len);
                    written.map_err(failed("write zeros to the base"))?;
                    return Ok(piece.len);
                }
                let len = usize::try_from(piece.len).expect("pieces of data are short");
                if buffer.len() < len {
                    buffer.resize(len, 0);
                }
                let bytes = &mut buffer[..len];
                overlay.read_at(piece.at, bytes)?;
                if let Some(before) = self.before_write {
                    before(piece.len);
                }
                base.write_at(piece.at, bytes).map_err(failed("write to the base"))?;
                Ok(piece.len)
            },
            &mut |bytes| {
                done += bytes;
                progress(done, total);
            },
        )?;
        if !is_planted(Bug::BaseNotFlushed) {
            base.flush().map_err(failed("flush the base"))?;
        }
        if self.keep {
            return Ok(());
        }
        overlay.make_empty()
    }
}

/// A part of the disk that the overlay or an image between holds.
struct Piece {
    at: u64,
    len: u64,
    zero: bool,
}

/// Goes over what is held above the base.
#[derive(Clone)]
struct Walk<'a> {
    overlay: &'a Image,
    between: &'a Chain,
    at: u64,
    size: u64,
    /// What has been asked of the overlay and not been used: its end and kind.
    own: Option<(u64, DiskExtentKind)>,
    /// The same of overlay and images between together.
    known: Option<(u64, Held)>,
}

impl Walk<'_> {
    /// The next piece; data is cut at multiples of `max`.
    fn next(&mut self, max: u64) -> Result<Option<Piece>, Error> {
        while self.at < self.size {
            let at = self.at;
            let (end, held) = self.held(at)?;
            let end = match held {
                Held::Nothing => {
                    self.at = end;
                    continue;
                }
                Held::Data => end.min(piece_end(at, max, self.size)),
                Held::Zero => end.min(at.saturating_add(MAX_ZEROES)),
            };
            self.at = end;
            return Ok(Some(Piece { at, len: end - at, zero: held == Held::Zero }));
        }
        Ok(None)
    }

    /// What is held at `at`, and up to where. Each range is asked for once, however many pieces it is cut
    /// into.
    fn held(&mut self, at: u64) -> Result<(u64, Held), Error> {
        if let Some(known) = self.known.filter(|(end, _)| *end > at) {
            return Ok(known);
        }
        let (end, kind) = match self.own.filter(|(end, _)| *end > at) {
            Some(own) => own,
            None => {
                let own = self.overlay.extent_at(at, self.size - at)?;
                (at + own.len, own.kind)
            }
        };
        self.own = Some((end, kind));
        let known = match kind {
            DiskExtentKind::Data => (end, Held::Data),
            DiskExtentKind::Zero => (end, Held::Zero),
            DiskExtentKind::Unallocated => {
                let below = self.between.extent_at(at, (end - at).min(MAX_ASKED)).map_err(|e| {
                    Error::from(Cause::Copy {
                        what: "read the map of an image between",
                        source: Arc::new(e),
                    })
                })?;
                (at + below.len, below.held)
            }
        };
        self.known = Some(known);
        Ok(known)
    }
}
