//! Rebasing: another backing file, or none, under the same content.
//!
//! ```text
//!   what the new backing would show differently is copied into the image
//!     -> everything flushed -> the header changes its name
//! ```
//!
//! # Spec
//! Rule C9; "Backing file".

use std::io;
use std::sync::Arc;

use holstein_engine::{Backing, DiskExtentKind, EngineError};
use holstein_format::{Header, HeaderExtension, Version};

use holstein_guard::planted::{Bug, is_planted};

use crate::chain::{Chain, Held};
use crate::error::Cause;
use crate::pieces::{Turns, default_workers, for_each_piece, piece_end, piece_len};
use crate::{Error, Image};

/// What an image is to show where it holds nothing.
#[derive(Clone, Copy, Debug)]
pub enum NewBacking<'a> {
    /// Zeros: the image stands alone afterwards.
    Nothing,
    /// Another chain.
    Chain(&'a Chain),
    /// The part of the present chain from this layer on, counted from 0 under the image.
    Member(usize),
}

/// How an image is rebased.
#[must_use]
pub struct RebaseOptions {
    compress: bool,
    workers: usize,
}

impl std::fmt::Debug for RebaseOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RebaseOptions").field("compress", &self.compress).finish_non_exhaustive()
    }
}

impl Default for RebaseOptions {
    fn default() -> Self {
        Self { compress: false, workers: default_workers() }
    }
}

impl Image {
    /// Changes the recorded backing file, and nothing else: whether the content stays the same is
    /// the caller's to know. This open image goes on with the backing that it was opened with.
    ///
    /// * `backing`: the name and the format, stored as they are; none for no backing file.
    ///
    /// All that was written before is durable before the name changes, and the file has the old
    /// name or the new one at any moment.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] if the header has no room, and for an image whose raw data file
    /// shows all there is, with nothing changed; I/O.
    pub fn set_backing_file(&self, backing: Option<(&[u8], Option<&[u8]>)>) -> Result<(), Error> {
        may_name(&self.header(), backing.is_some())?;
        self.change_header(|header| name_backing(header, backing))
    }
}

/// Refuses a backing file where the data file alone is what the disk shows.
fn may_name(header: &Header, backing: bool) -> Result<(), Error> {
    if backing && header.has_raw_data_file() {
        let text = "a raw data file and a backing file exclude each other";
        return Err(Cause::Invalid(text.to_owned()).into());
    }
    Ok(())
}

/// Puts the name and the format into a header.
fn name_backing(header: &mut Header, backing: Option<(&[u8], Option<&[u8]>)>) {
    header.backing_file = backing.map(|(name, _)| name.to_vec());
    header.extensions.retain(|known| !matches!(known, HeaderExtension::BackingFormat(_)));
    if let Some(format) = backing.and_then(|(_, format)| format) {
        header.extensions.insert(0, HeaderExtension::BackingFormat(format.to_vec()));
    }
}

impl RebaseOptions {
    /// Copies are not compressed; as many requests at a time as there are processors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether clusters that are copied are compressed.
    pub fn compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }

    /// Requests at a time.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Copies what would read differently over `new`, and then records the new name.
    ///
    /// * `image`: opened over its present backing, as a chain, or over none.
    /// * `name`: what is recorded; see [`Image::set_backing_file`].
    /// * `progress`: bytes of the disk that were looked at, and its size.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for an image that was opened without its backing file, and
    /// for a name that does not fit the header. I/O of any of the three; the image names its old backing file then, and reads as before.
    pub fn run(
        &self,
        image: &Image,
        new: NewBacking<'_>,
        name: Option<(&[u8], Option<&[u8]>)>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        // A name that does not fit is found before anything is copied.
        let mut header = image.header();
        may_name(&header, name.is_some())?;
        name_backing(&mut header, name);
        header.encode().map_err(EngineError::Header)?;
        if image.chain().is_none() && image.header().backing_file.is_some() {
            let text = "an image is rebased from over the chain of its backing files";
            return Err(Cause::Invalid(text.to_owned()).into());
        }
        if is_planted(Bug::NameBeforeCopies) {
            image.set_backing_file(name)?;
        }
        let empty = Chain::default();
        let old = image.chain().map_or(&empty, |chain| &**chain);
        let (new, shared) = match new {
            NewBacking::Nothing => (Chain::default(), None),
            NewBacking::Chain(chain) => (chain.clone(), None),
            NewBacking::Member(index) => (old.below(index), Some(old.above(index))),
        };
        let geometry = header.geometry;
        let copy = Copy {
            image,
            old,
            new: &new,
            shared,
            compress: self.compress,
            explicit_zeros: header.version == Version::V2,
            cluster: image.cluster_size(),
            unit: geometry.subcluster_size(),
            turns: Turns::default(),
        };
        let size = image.virtual_size();
        let piece = piece_len([copy.cluster, copy.cluster]);
        let mut at = 0;
        let mut done = 0;
        progress(0, size);
        for_each_piece(
            self.workers,
            || {
                let (start, end) = (at, piece_end(at, piece, size));
                at = end;
                Ok((start < size).then_some((start, end)))
            },
            |(start, end), buffer| {
                let result = copy.piece(start, end, start / piece, buffer);
                if copy.compress {
                    copy.turns.end(start / piece);
                }
                result.map(|()| end - start)
            },
            &mut |bytes| {
                done += bytes;
                progress(done, size);
            },
        )?;
        image.set_backing_file(name)
    }
}

struct Copy<'a> {
    image: &'a Image,
    old: &'a Chain,
    new: &'a Chain,
    /// The layers that the two have not in common, where the new backing is part of the old one.
    shared: Option<Chain>,
    compress: bool,
    /// Zeros have to be written as data: the format has no other way to hide what is below.
    explicit_zeros: bool,
    cluster: u64,
    /// What is not held comes in multiples of this: clusters or subclusters.
    unit: u64,
    /// The order in which streams are placed: that of the disk.
    turns: Turns,
}

/// Clusters in a row that the image does not hold.
struct Stretch {
    at: u64,
    /// They have no space either.
    free: bool,
    /// The number of the piece.
    number: u64,
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |e| Cause::Copy { what, source: Arc::new(e) }.into()
}

impl Copy<'_> {
    /// Copies what differs between two borders of pieces: piece `number`.
    fn piece(&self, start: u64, end: u64, number: u64, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let mut at = start;
        while at < end {
            let own = self.image.extent_at(at, end - at)?;
            if own.kind == DiskExtentKind::Unallocated {
                let stretch = Stretch { at, free: own.host.is_none(), number };
                self.stretch(&stretch, own.len, buffer)?;
            }
            at += own.len;
        }
        Ok(())
    }

    /// Copies what differs in whole clusters that the image does not hold.
    fn stretch(&self, which: &Stretch, len: u64, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let at = which.at;
        if self.shows_the_same(at, len)? {
            return Ok(());
        }
        let was_zero = self.old.reads_as_zero(at, len);
        if was_zero && self.new.reads_as_zero(at, len) {
            return Ok(());
        }
        let len = usize::try_from(len).expect("pieces are short");
        buffer.resize(2 * len, 0);
        let (old, new) = buffer.split_at_mut(len);
        self.old.read_at(at, old).map_err(failed("read from the old backing file"))?;
        self.new.read_at(at, new).map_err(failed("read from the new backing file"))?;
        let unit = if self.compress { self.cluster } else { self.unit };
        let unit = usize::try_from(unit).expect("clusters are short");
        let pairs = old.chunks(unit).zip(new.chunks(unit));
        let differs: Vec<bool> = pairs.map(|(old, new)| old != new).collect();
        let mut first = 0;
        for run in differs.chunk_by(|a, b| a == b) {
            let from = first * unit;
            first += run.len();
            if run.first() == Some(&true) {
                let to = (first * unit).min(len);
                self.write(which, at + from as u64, &old[from..to], was_zero)?;
            }
        }
        Ok(())
    }

    /// Whether neither of the layers that the two backings have not in common has anything there.
    fn shows_the_same(&self, at: u64, len: u64) -> Result<bool, Error> {
        let Some(above) = &self.shared else { return Ok(false) };
        let mut from = at;
        while from < at + len {
            let extent = above.extent_at(from, at + len - from);
            let extent = extent.map_err(failed("read the map of the old backing file"))?;
            if extent.held != Held::Nothing {
                return Ok(false);
            }
            from += extent.len;
        }
        Ok(true)
    }

    /// Writes whole clusters of the old content.
    fn write(&self, which: &Stretch, at: u64, bytes: &[u8], was_zero: bool) -> Result<(), Error> {
        let past_old = at >= Backing::len(self.old);
        if (was_zero || past_old) && !self.explicit_zeros {
            return self.image.write_zeroes(at, bytes.len() as u64, false);
        }
        // Beside subclusters that are held a cluster cannot be compressed.
        let len = bytes.len() as u64;
        let ends = len.is_multiple_of(self.cluster) || at + len == self.image.virtual_size();
        if self.compress && which.free && at.is_multiple_of(self.cluster) && ends {
            let streams = self.image.compress(at, bytes)?;
            self.turns.wait(which.number);
            return self.image.write_compressed(&streams);
        }
        self.image.write_at(at, bytes)
    }
}
