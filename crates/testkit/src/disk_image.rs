//! A file's content that is cheap to copy and knows its hash.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::chunk::{CHUNK, Chunk, blank, hash, place};

/// The content of a file at one moment: a shared base and what differs from it.
///
/// A copy costs what differs, not what is there. The hash is that of length and content, however
/// they came about.
#[derive(Clone, Debug, Default)]
pub struct DiskImage {
    len: u64,
    /// What is missing reads as zeros.
    base: Arc<BTreeMap<u64, Arc<Chunk>>>,
    base_hash: u128,
    /// Chunks that hide those of the base. Bytes past the length are zero in all of them.
    over: BTreeMap<u64, Slot>,
}

#[derive(Clone, Debug)]
enum Slot {
    /// Zeros where `None`.
    Shared(Option<Arc<Chunk>>),
    /// Changed, and not hashed yet.
    Own(Box<[u8; CHUNK]>),
}

impl DiskImage {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut image = Self::new();
        image.write(0, bytes);
        image.settle();
        image
    }

    /// The length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a length is asked for, emptiness never")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// All bytes.
    ///
    /// # Errors
    /// `OutOfMemory` where the length does not fit in memory.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        bytes.resize(len, 0);
        self.read(0, &mut bytes);
        Ok(bytes)
    }

    /// Writes the content to a new file, holes left as holes.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn write_to(&self, path: &std::path::Path) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(path)?;
        file.set_len(self.len)?;
        let hidden = self.base.keys().filter(|n| !self.over.contains_key(n));
        for &number in hidden.chain(self.over.keys()) {
            let at = number * CHUNK as u64;
            let mut bytes = [0; CHUNK];
            let n = self.read(at, &mut bytes);
            if bytes.iter().any(|&byte| byte != 0) {
                file.write_all_at(&bytes[..n], at)?;
            }
        }
        Ok(())
    }

    /// Reads what there is between `at` and the end.
    pub fn read(&self, at: u64, into: &mut [u8]) -> usize {
        let rest = self.len.saturating_sub(at);
        let n = usize::try_from(rest).map_or(into.len(), |rest| rest.min(into.len()));
        let mut done = 0;
        while done < n {
            let (number, inside) = place(at + done as u64);
            let part = (CHUNK - inside).min(n - done);
            let to = &mut into[done..done + part];
            match self.chunk(number) {
                Some(bytes) => to.copy_from_slice(&bytes[inside..inside + part]),
                None => to.fill(0),
            }
            done += part;
        }
        n
    }

    /// Writes `from` at `at`, growing the file.
    pub fn write(&mut self, at: u64, from: &[u8]) {
        let mut done = 0;
        while done < from.len() {
            let (number, inside) = place(at + done as u64);
            let part = (CHUNK - inside).min(from.len() - done);
            let to = &mut self.own(number)[inside..inside + part];
            to.copy_from_slice(&from[done..done + part]);
            done += part;
        }
        if done > 0 {
            self.len = self.len.max(at + done as u64);
        }
    }

    /// Makes a range zero, without growing the file.
    pub fn clear(&mut self, at: u64, len: u64) {
        let end = at.saturating_add(len).min(self.len);
        if at >= end {
            return;
        }
        let size = CHUNK as u64;
        let (whole, past) = (at.div_ceil(size), end / size);
        if whole < past {
            let present = self.base.range(whole..past).map(|(&n, _)| n).collect::<Vec<_>>();
            let mut later = self.over.split_off(&whole);
            self.over.append(&mut later.split_off(&past));
            self.over.extend(present.into_iter().map(|number| (number, Slot::Shared(None))));
        }
        for number in [at / size, (end - 1) / size] {
            let base = number * size;
            let from = at.max(base) - base;
            let to = end.min(base + size) - base;
            if to - from < size && self.chunk(number).is_some() {
                let from = usize::try_from(from).expect("less than a chunk");
                let to = usize::try_from(to).expect("less than a chunk");
                self.own(number)[from..to].fill(0);
            }
        }
    }

    /// Cuts the file, or grows it with zeros.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.clear(len, self.len - len);
        }
        self.len = len;
    }

    /// The hash of length and content.
    pub fn content_hash(&mut self) -> u128 {
        self.settle();
        let mut sum = self.base_hash;
        for (number, slot) in &self.over {
            sum ^= self.base.get(number).map_or(0, |chunk| chunk.hash);
            if let Slot::Shared(Some(chunk)) = slot {
                sum ^= chunk.hash;
            }
        }
        sum ^ hash(self.len, b"length")
    }

    /// Puts a whole chunk that was hashed before in its place.
    pub(crate) fn put(&mut self, number: u64, chunk: Option<Arc<Chunk>>) {
        self.over.insert(number, Slot::Shared(chunk));
    }

    /// Grows to `len` if shorter.
    pub(crate) fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Makes what differs part of the base, so that copies are cheap again.
    pub(crate) fn rebase(&mut self) {
        self.settle();
        let base = Arc::make_mut(&mut self.base);
        for (number, slot) in std::mem::take(&mut self.over) {
            let new = match slot {
                Slot::Shared(chunk) => chunk,
                Slot::Own(bytes) => Chunk::new(number, bytes),
            };
            self.base_hash ^= new.as_ref().map_or(0, |chunk| chunk.hash);
            let old = match new {
                Some(chunk) => base.insert(number, chunk),
                None => base.remove(&number),
            };
            self.base_hash ^= old.map_or(0, |chunk| chunk.hash);
        }
    }

    /// Hashes what was changed.
    fn settle(&mut self) {
        for (&number, slot) in &mut self.over {
            if let Slot::Own(bytes) = slot {
                let bytes = std::mem::replace(bytes, blank());
                *slot = Slot::Shared(Chunk::new(number, bytes));
            }
        }
    }

    fn chunk(&self, number: u64) -> Option<&[u8; CHUNK]> {
        match self.over.get(&number) {
            Some(Slot::Own(bytes)) => Some(bytes),
            Some(Slot::Shared(chunk)) => chunk.as_ref().map(|chunk| &*chunk.bytes),
            None => self.base.get(&number).map(|chunk| &*chunk.bytes),
        }
    }

    fn own(&mut self, number: u64) -> &mut [u8; CHUNK] {
        let base = &self.base;
        let slot =
            self.over.entry(number).or_insert_with(|| Slot::Shared(base.get(&number).cloned()));
        if let Slot::Shared(chunk) = slot {
            *slot = Slot::Own(chunk.as_ref().map_or_else(blank, |chunk| chunk.bytes.clone()));
        }
        match slot {
            Slot::Own(bytes) => bytes,
            Slot::Shared(_) => unreachable!("made its own above"),
        }
    }
}
