//! Descriptors of compressed clusters.

use crate::entry::{COMPRESSED, EntryError};
use crate::limits::HOST_LIMIT;
use holstein_units::{ClusterBits, HostOffset, HostRange, SECTOR};

/// Where the compressed bytes of a cluster are: a byte range of the image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CompressedRun {
    /// The first byte; any alignment, below 2^56.
    pub start: HostOffset,
    /// Sectors of 512 bytes after the one that holds `start`.
    pub sectors: u64,
}

impl CompressedRun {
    /// Bits of the host offset in a descriptor: 49..=61.
    #[inline]
    #[must_use]
    pub const fn offset_bits(bits: ClusterBits) -> u32 {
        70 - bits.get()
    }

    /// The run that holds a stream of `bytes` bytes (at least 1) at `start`.
    #[must_use]
    pub const fn for_stream(start: HostOffset, bytes: u64) -> Self {
        let last = start.get().saturating_add(bytes.saturating_sub(1));
        Self { start, sectors: last / SECTOR - start.get() / SECTOR }
    }

    /// How many bytes a reader fetches: up to the end of the last sector.
    ///
    /// An upper bound of the stream, as its true length is not stored; the file may end earlier.
    #[inline]
    #[must_use]
    pub const fn len(self) -> u64 {
        (self.sectors + 1) * SECTOR - self.start.get() % SECTOR
    }

    /// Never: a run has at least one byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    /// The bytes that a reader fetches.
    #[must_use]
    pub const fn range(self) -> HostRange {
        HostRange { start: self.start, len: self.len() }
    }

    /// Reads bits 0..=61 of an L2 entry whose bit 62 is set.
    ///
    /// # Errors
    /// [`EntryError::CompressedTooFar`] at or past 2^56, [`EntryError::AtHeader`] at 0.
    #[inline]
    pub const fn decode(raw: u64, bits: ClusterBits) -> Result<Self, EntryError> {
        let offset_bits = Self::offset_bits(bits);
        let start = HostOffset::new(raw & ((1 << offset_bits) - 1));
        let sectors = (raw >> offset_bits) & ((1 << (bits.get() - 8)) - 1);
        if start.get() >= HOST_LIMIT {
            return Err(EntryError::CompressedTooFar { raw, offset: start });
        }
        if start.get() == 0 {
            return Err(EntryError::AtHeader { raw });
        }
        Ok(Self { start, sectors })
    }

    /// The L2 entry; `None` if offset or sectors do not fit in the descriptor of this cluster size.
    #[inline]
    #[must_use]
    pub const fn encode(self, bits: ClusterBits) -> Option<u64> {
        let offset_bits = Self::offset_bits(bits);
        let start = self.start.get();
        if start == 0
            || start >> offset_bits != 0
            || start >= HOST_LIMIT
            || self.sectors >> (bits.get() - 8) != 0
        {
            return None;
        }
        Some(COMPRESSED | self.sectors << offset_bits | start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked encodings: cluster bits, offset, stream bytes, sectors, entry, bytes to fetch.
    #[test]
    fn descriptors_match_the_worked_examples() {
        for (bits, offset, bytes, sectors, entry, fetch) in [
            (9, 0xca6_u64, 150, 0, 0x4000_0000_0000_0ca6_u64, 346),
            (12, 0x550e, 1295, 3, 0x4c00_0000_0000_550e, 1778),
            (16, 0x5_4d68, 19_819, 39, 0x49c0_0000_0005_4d68, 20_120),
            (21, 0xa9_d2e1, 600_000, 1172, 0x4928_0000_00a9_d2e1, 600_351),
        ] {
            let bits = ClusterBits::new(bits).expect("rows are within the format");
            let run = CompressedRun::for_stream(HostOffset::new(offset), bytes);
            assert_eq!(run.sectors, sectors);
            assert_eq!(run.encode(bits), Some(entry));
            assert_eq!(CompressedRun::decode(entry, bits), Ok(run));
            assert_eq!(run.len(), fetch);
        }
    }

    #[test]
    fn offsets_past_the_field_or_2_to_the_56_are_not_encoded() {
        for bits in 9..=21 {
            let bits = ClusterBits::new(bits).expect("within the format");
            let limit = HOST_LIMIT.min(1 << CompressedRun::offset_bits(bits));
            let run = |at| CompressedRun { start: HostOffset::new(at), sectors: 0 };
            assert_eq!(run(limit).encode(bits), None);
            assert_eq!(run(0).encode(bits), None);
            let last = run(limit - 1);
            let entry = last.encode(bits).expect("the last byte fits");
            assert_eq!(CompressedRun::decode(entry, bits), Ok(last));
            let wide =
                CompressedRun { start: HostOffset::new(512), sectors: 1 << (bits.get() - 8) };
            assert_eq!(wide.encode(bits), None);
        }
    }

    #[test]
    fn a_descriptor_past_2_to_the_56_is_refused() {
        let bits = ClusterBits::new(9).expect("within the format");
        let raw = COMPRESSED | HOST_LIMIT;
        assert!(matches!(
            CompressedRun::decode(raw, bits),
            Err(EntryError::CompressedTooFar { .. })
        ));
    }
}
