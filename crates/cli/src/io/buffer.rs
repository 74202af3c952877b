//! Memory for requests.

use std::fs::File;
use std::io::Read;

use crate::text::strerror;

/// Direct I/O wants buffers that begin at a page.
const PAGE: usize = 4096;

/// What `-m` moves a buffer away from that.
const MISALIGN: usize = 16;

/// A buffer that begins at a page, or deliberately not.
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` bytes, each of them `fill`; with `misalign` it does not begin at a page.
    ///
    /// # Errors
    /// There is not that much memory.
    pub(super) fn new(len: u64, fill: u8, misalign: bool) -> Result<Self, i32> {
        let len = usize::try_from(len).map_err(|_| libc::ENOMEM)?;
        let whole = len.checked_add(PAGE + MISALIGN).ok_or(libc::ENOMEM)?;
        let mut memory: Vec<u8> = Vec::new();
        memory.try_reserve_exact(whole).map_err(|_| libc::ENOMEM)?;
        // The allocation is not moved from here on: the length stays within what was reserved.
        let page = memory.as_ptr().align_offset(PAGE);
        let start = if page < PAGE { page } else { 0 } + if misalign { MISALIGN } else { 0 };
        memory.resize(start + len, fill);
        Ok(Self { memory, start, len })
    }

    /// A buffer with the bytes of a file, over and over.
    ///
    /// # Errors
    /// The message says what is wrong with the file.
    pub(super) fn from_file(len: u64, path: &str, misalign: bool) -> Result<Self, String> {
        let error = |error: std::io::Error| {
            format!("{path}: {}", strerror(error.raw_os_error().unwrap_or(libc::EIO)))
        };
        let mut pattern = Vec::new();
        File::open(path)
            .and_then(|file| file.take(len).read_to_end(&mut pattern))
            .map_err(error)?;
        if pattern.is_empty() {
            return Err(format!("{path}: file is empty"));
        }
        let mut buffer =
            Self::new(len, 0, misalign).map_err(|errno| format!("{path}: {}", strerror(errno)))?;
        for piece in buffer.bytes_mut().chunks_mut(pattern.len()) {
            piece.copy_from_slice(&pattern[..piece.len()]);
        }
        Ok(buffer)
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// The bytes, to be changed.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// Cuts `bytes` into pieces of the given lengths.
pub(super) fn pieces<'a>(bytes: &'a [u8], lengths: &[u64]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::with_capacity(lengths.len());
    for len in lengths {
        let (piece, after) =
            rest.split_at(usize::try_from(*len).map_or(rest.len(), |l| l.min(rest.len())));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Cuts `bytes` into pieces of the given lengths, to be changed.
pub(super) fn pieces_mut<'a>(bytes: &'a mut [u8], lengths: &[u64]) -> Vec<&'a mut [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::with_capacity(lengths.len());
    for len in lengths {
        let at = usize::try_from(*len).map_or(rest.len(), |len| len.min(rest.len()));
        let (piece, after) = std::mem::take(&mut rest).split_at_mut(at);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_a_page_or_beside_it() {
        for (misalign, remainder) in [(false, 0), (true, MISALIGN)] {
            for len in [0, 1, 4096, 70_000] {
                let buffer = Buffer::new(len, 7, misalign).expect("there is memory");
                assert_eq!(buffer.bytes().as_ptr().addr() % PAGE, remainder);
                assert_eq!(buffer.bytes().len() as u64, len);
                assert!(buffer.bytes().iter().all(|byte| *byte == 7));
            }
        }
        assert_eq!(Buffer::new(u64::MAX, 0, false).err(), Some(libc::ENOMEM));
    }

    #[test]
    fn pieces_cover_the_bytes_in_order() {
        let mut bytes = [1, 2, 3, 4, 5, 6];
        assert_eq!(pieces(&bytes, &[2, 0, 4]), [&[1, 2][..], &[], &[3, 4, 5, 6]]);
        pieces_mut(&mut bytes, &[2, 4])[1].fill(9);
        assert_eq!(bytes, [1, 2, 9, 9, 9, 9]);
    }
}
