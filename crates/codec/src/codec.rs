//! What a kind of compression does.

/// Why a stream is not a cluster, or a cluster could not be compressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The stream is broken.
    #[error("compressed stream is broken after {produced} of {expected} bytes")]
    Broken {
        /// Bytes that came out of it.
        produced: u64,
        /// Bytes of a cluster.
        expected: usize,
    },
    /// The stream, or the input, ends before the cluster is full.
    #[error("compressed stream ends after {produced} of {expected} bytes")]
    TooShort {
        /// Bytes that came out of it.
        produced: u64,
        /// Bytes of a cluster.
        expected: usize,
    },
    /// The encoder failed, which no input should make it do.
    #[error("compressing a cluster of {bytes} bytes failed")]
    Encoder {
        /// Bytes of the cluster.
        bytes: usize,
    },
}

/// A kind of compression.
///
/// # Concurrency
/// Calls share nothing.
pub trait ClusterCodec: Send + Sync {
    /// Fills `cluster` from the stream at the start of `input`; bytes behind the stream are ignored.
    /// Where the file ends within the run, the caller appends zeros.
    ///
    /// # Errors
    /// [`CodecError::Broken`] and [`CodecError::TooShort`]; `cluster` then holds anything.
    fn decompress(&self, input: &[u8], cluster: &mut [u8]) -> Result<(), CodecError>;

    /// Compresses `cluster` into `out` and returns the bytes used, or `None` if it does not fit, in
    /// which case the cluster is to be stored as it is. Callers give `out` one byte less than a
    /// cluster.
    ///
    /// # Errors
    /// [`CodecError::Encoder`].
    fn compress(&self, cluster: &[u8], out: &mut [u8]) -> Result<Option<usize>, CodecError>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<C: ClusterCodec + ?Sized> ClusterCodec for $pointer {
            fn decompress(&self, input: &[u8], cluster: &mut [u8]) -> Result<(), CodecError> {
                (**self).decompress(input, cluster)
            }
            fn compress(
                &self,
                cluster: &[u8],
                out: &mut [u8],
            ) -> Result<Option<usize>, CodecError> {
                (**self).compress(cluster, out)
            }
        }
    )*};
}

forward!(&C, Box<C>, std::sync::Arc<C>);
