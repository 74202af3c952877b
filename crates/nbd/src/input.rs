//! What a peer sends, read in large pieces and taken in small ones.

use std::io::{self, Read};

/// Bytes that are read ahead.
const CAPACITY: usize = 256 << 10;

/// A reader with a window of what came already.
pub(crate) struct Input<R> {
    reader: R,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, bytes: vec![0; CAPACITY].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Bytes that can be taken without waiting.
    pub(crate) fn ready(&self) -> usize {
        self.end - self.start
    }

    /// Waits until `len` bytes are there, which must be no more than a buffer; false if the peer ended
    /// before the first of them.
    pub(crate) fn wait_for(&mut self, len: usize) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.start + len > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.ready() < len {
            match self.reader.read(&mut self.bytes[self.end..]) {
                Ok(0) if self.ready() == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Takes `len` bytes that are [`Input::ready`].
    pub(crate) fn take(&mut self, len: usize) -> &[u8] {
        let start = self.start;
        self.start += len;
        &self.bytes[start..self.start]
    }

    /// Fills a buffer of any length, without a detour for what did not come yet.
    pub(crate) fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        let here = self.ready().min(into.len());
        let (first, rest) = into.split_at_mut(here);
        first.copy_from_slice(self.take(here));
        self.reader.read_exact(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Drip(u8);

    impl Read for Drip {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let len = into.len().min(7).min(usize::from(250 - self.0));
            for byte in &mut into[..len] {
                *byte = self.0;
                self.0 += 1;
            }
            Ok(len)
        }
    }

    #[test]
    fn bytes_come_in_order_and_the_end_is_told_from_a_cut() {
        let mut input = Input::new(Drip(0));
        assert!(input.wait_for(10).expect("there are 250"));
        assert_eq!(input.take(10), (0..10).collect::<Vec<u8>>());
        let mut next = [0; 200];
        input.fill(&mut next).expect("there are enough");
        assert_eq!((next[0], next[199]), (10, 209));
        assert!(input.wait_for(40).expect("these are the last"));
        assert_eq!(input.take(40)[39], 249);
        assert!(!input.wait_for(1).expect("this is the end"));

        let mut input = Input::new(Drip(245));
        let cut = input.wait_for(10).expect_err("five bytes are missing");
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }
}
