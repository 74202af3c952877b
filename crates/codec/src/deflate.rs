//! Raw deflate, compression type 0.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::codec::{ClusterCodec, CodecError};

/// Written streams look back at most 2^12 bytes: readers with a small window exist.
const WRITE_WINDOW_BITS: u8 = 12;
/// Streams with the largest window of deflate are read.
const READ_WINDOW_BITS: u8 = 15;

/// Raw deflate without a header or checksum.
#[derive(Clone, Copy, Debug)]
pub struct Deflate {
    level: u32,
}

impl Deflate {
    /// Compression of `level` 1 (fast) to 9 (small); other numbers are moved into that range.
    #[must_use]
    pub fn with_level(level: u32) -> Self {
        Self { level: level.clamp(1, 9) }
    }
}

impl Default for Deflate {
    /// Level 6, zlib's default.
    fn default() -> Self {
        Self::with_level(6)
    }
}

impl ClusterCodec for Deflate {
    /// Success is a full cluster; whether the stream goes on after that does not matter.
    fn decompress(&self, input: &[u8], cluster: &mut [u8]) -> Result<(), CodecError> {
        let expected = cluster.len();
        let mut state = Decompress::new_with_window_bits(false, READ_WINDOW_BITS);
        let status = state.decompress(input, cluster, FlushDecompress::Finish);
        let produced = state.total_out();
        if produced == expected as u64 {
            return Ok(());
        }
        match status {
            Err(_) => Err(CodecError::Broken { produced, expected }),
            Ok(_) => Err(CodecError::TooShort { produced, expected }),
        }
    }

    /// The encoder is new for each cluster: one that ran out of output cannot be reset safely, and
    /// making one costs nothing measurable.
    fn compress(&self, cluster: &[u8], out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        let failed = || CodecError::Encoder { bytes: cluster.len() };
        let level = Compression::new(self.level);
        let mut state = Compress::new_with_window_bits(level, false, WRITE_WINDOW_BITS);
        let status = state.compress(cluster, out, FlushCompress::Finish).map_err(|_| failed())?;
        match status {
            Status::StreamEnd => {
                let bytes = usize::try_from(state.total_out()).map_err(|_| failed())?;
                Ok(Some(bytes))
            }
            Status::Ok | Status::BufError => Ok(None),
        }
    }
}
