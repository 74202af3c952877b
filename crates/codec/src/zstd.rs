//! Zstandard, compression type 1.

use std::sync::{Mutex, PoisonError};

use zstd_safe::{CCtx, CParameter, DCtx};

use crate::codec::{ClusterCodec, CodecError};

/// The library's own choice, as other writers take it.
const LEVEL: i32 = 3;
/// What the library says where a stream does not fit.
const TOO_SMALL: &str = "Destination buffer is too small";

/// Zstandard frames.
///
/// # Invariants
/// Memory does not depend on what a frame says: the cluster itself is the window.
#[derive(Default)]
pub struct Zstd {
    encoders: Mutex<Vec<CCtx<'static>>>,
    decoders: Mutex<Vec<DCtx<'static>>>,
}

impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Zstd(..)")
    }
}

/// Runs `work` with a context that nobody else uses; making one costs more than a small cluster.
fn with<C, R>(idle: &Mutex<Vec<C>>, make: impl Fn() -> C, work: impl FnOnce(&mut C) -> R) -> R {
    let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
    let found = lock().pop();
    let mut context = found.unwrap_or_else(make);
    let result = work(&mut context);
    lock().push(context);
    result
}

impl ClusterCodec for Zstd {
    /// Success is a cluster that is full at the end of a frame.
    fn decompress(&self, input: &[u8], cluster: &mut [u8]) -> Result<(), CodecError> {
        let expected = cluster.len();
        let (mut left, mut done) = (input, 0);
        while done < expected {
            let produced = done as u64;
            if left.is_empty() {
                return Err(CodecError::TooShort { produced, expected });
            }
            let broken = |_| CodecError::Broken { produced, expected };
            // The end of the frame is found from the headers of its blocks.
            let len = zstd_safe::find_frame_compressed_size(left).map_err(broken)?;
            let (frame, rest) =
                left.split_at_checked(len).ok_or(CodecError::Broken { produced, expected })?;
            let got = with(&self.decoders, DCtx::create, |decoder| {
                decoder.decompress(&mut cluster[done..], frame)
            });
            done += got.map_err(broken)?;
            left = rest;
        }
        Ok(())
    }

    fn compress(&self, cluster: &[u8], out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        let failed = |_| CodecError::Encoder { bytes: cluster.len() };
        with(&self.encoders, CCtx::create, |encoder| {
            encoder.set_parameter(CParameter::CompressionLevel(LEVEL)).map_err(failed)?;
            match encoder.compress2(out, cluster) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(code) if zstd_safe::get_error_name(code) == TOO_SMALL => Ok(None),
                Err(code) => Err(failed(code)),
            }
        })
    }
}
