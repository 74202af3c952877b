//! A file of the tour's file system that can be found on the raw disk, and so be written under its feet.
//!
//! Each of its 4 KiB blocks begins with a magic text and its number. Writing into the blocks of a file
//! changes the contents of that file and nothing else of an ext4 file system.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The file system's block.
const BLOCK: u64 = 4096;
/// Blocks of the file.
const BLOCKS: u64 = 2048;
const MAGIC: &[u8] = b"holstein tour: this block may be written\n";

/// The longest piece of the file that lies in one piece on the disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// Where on the disk, in bytes.
    pub(super) at: u64,
    /// How long, in bytes.
    pub(super) length: u64,
    /// Where in the file, in bytes.
    in_file: u64,
}

/// One write of a repeated byte.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) at: u64,
    pub(super) length: u64,
    pub(super) pattern: u8,
}

impl Write {
    /// The qemu-io command for it; zeroes are written as zeroes.
    pub(super) fn command(&self) -> String {
        match self.pattern {
            0 => format!("write -z {} {}", self.at, self.length),
            pattern => format!("write -P {pattern:#x} {} {}", self.at, self.length),
        }
    }

    /// The qemu-io command that reads it and compares.
    pub(super) fn read_back(&self) -> String {
        format!("read -P {:#x} {} {}", self.pattern, self.at, self.length)
    }
}

/// The contents of the file.
pub(super) fn contents() -> Vec<u8> {
    (0..BLOCKS).flat_map(block).collect()
}

fn block(number: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(number.to_be_bytes());
    let filler = u8::try_from(number % 251).unwrap_or_default();
    bytes.resize(usize::try_from(BLOCK).unwrap_or_default(), filler);
    bytes
}

impl Marker {
    /// Looks for the file's blocks on the disk `raw`.
    pub(super) fn find(raw: &Path) -> Result<Marker> {
        let file = File::open(raw).with_context(|| format!("open {}", raw.display()))?;
        let found = Marker::find_in(BufReader::with_capacity(1 << 20, file));
        let marker = found.context("the marker file is not on the disk")?;
        ensure!(marker.length >= 16 * BLOCK, "the marker file lies in pieces that are too short");
        Ok(marker)
    }

    fn find_in(mut disk: impl Read) -> Option<Marker> {
        let mut buffer = block(0);
        let mut best: Option<Marker> = None;
        let mut run: Option<Marker> = None;
        let mut at = 0_u64;
        while disk.read_exact(&mut buffer).is_ok() {
            let number = buffer.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<8>());
            let number = number.map(|bytes| u64::from_be_bytes(*bytes));
            run = match (number, run.take()) {
                (Some(number), Some(before))
                    if before.in_file + before.length == number * BLOCK =>
                {
                    Some(Marker { length: before.length + BLOCK, ..before })
                }
                (Some(number), _) => Some(Marker { at, length: BLOCK, in_file: number * BLOCK }),
                (None, _) => None,
            };
            if let Some(run) = &run
                && best.as_ref().is_none_or(|best| run.length > best.length)
            {
                best = Some(Marker { ..*run });
            }
            at += BLOCK;
        }
        best
    }

    /// Writes of several shapes in the piece: most of it, zeroes over a part of that, data over a part of those.
    pub(super) fn writes(&self) -> [Write; 3] {
        let quarter = self.length / 4 / BLOCK * BLOCK;
        let (at, length) = (self.at, self.length);
        [
            Write { at, length, pattern: 0xa5 },
            Write { at: at + quarter, length: quarter * 2, pattern: 0 },
            Write { at: at + quarter + 1000, length: quarter / 2 + 1, pattern: 0x3c },
        ]
    }

    /// Whether `file` is the marker file after `writes`.
    pub(super) fn shown_in(&self, file: &[u8], writes: &[Write]) -> bool {
        let mut bytes = contents();
        for write in writes {
            let from = usize::try_from(write.at - self.at + self.in_file).unwrap_or(usize::MAX);
            let length = usize::try_from(write.length).unwrap_or(usize::MAX);
            let Some(piece) = bytes.get_mut(from..).and_then(|rest| rest.get_mut(..length)) else {
                return false;
            };
            piece.fill(write.pattern);
        }
        bytes == file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_piece_is_found_and_a_write_shows_in_the_file() -> Result<()> {
        let mut disk = vec![0; 8192];
        disk.extend((0..3).flat_map(block));
        disk.extend(vec![1; 4096]);
        disk.extend((3..30).flat_map(block));
        let marker = Marker::find_in(disk.as_slice()).context("it is there")?;
        assert_eq!(marker, Marker { at: 6 * 4096, length: 27 * 4096, in_file: 3 * 4096 });
        let writes = [Write { at: marker.at + 5, length: 4, pattern: b'x' }];
        let mut bytes = contents();
        assert!(!marker.shown_in(&bytes, &writes));
        bytes.get_mut(3 * 4096 + 5..3 * 4096 + 9).context("in range")?.fill(b'x');
        assert!(marker.shown_in(&bytes, &writes));
        Ok(())
    }
}
