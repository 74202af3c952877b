//! The one place that maps a file into memory.

#![expect(unsafe_code, reason = "a map of a file is shared with whoever changes the file")]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// A shared read-only map of the first bytes of a file; reading it copies.
///
/// # Why copies
/// Another process that ignores locks can change a byte between two looks at it. A caller that
/// validates its own copy is not fooled; a caller that is handed a slice of the map can be.
#[derive(Debug)]
pub(crate) struct FileMap {
    map: Option<Mmap>,
}

impl FileMap {
    /// Maps `len` bytes from the start of `file`; 0 maps nothing.
    ///
    /// # Errors
    /// Whatever the operating system says, for example that there is no address space left.
    pub(crate) fn new(file: &File, len: usize) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self { map: None });
        }
        // SAFETY: the map is private to this struct and never lent out as a slice: `read` is the
        // only access, and copies through a raw pointer within the mapped length. Bytes that
        // change meanwhile make the copy a mixture, which callers treat as hostile input in any
        // case. A file that is cut meanwhile raises SIGBUS, which kills the process and corrupts
        // nothing; the caller holds a lock that keeps other lock users from that.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(Self { map: Some(map) })
    }

    /// How many bytes are mapped.
    pub(crate) fn len(&self) -> usize {
        self.map.as_ref().map_or(0, |map| map.len())
    }

    /// Copies what there is from `at` on.
    pub(crate) fn read(&self, at: usize, into: &mut [u8]) -> usize {
        let n = self.len().saturating_sub(at).min(into.len());
        if let (Some(map), 1..) = (&self.map, n) {
            // SAFETY: `at + n` is at most the mapped length (`n` is at most `len - at`, and `n > 0`
            // means `at < len`), the map lives as long as `self`, `into` has at least `n` bytes, and
            // a mutable slice of the caller cannot overlap a map that no one else can name.
            unsafe { map.as_ptr().add(at).copy_to_nonoverlapping(into.as_mut_ptr(), n) };
        }
        n
    }
}
