//! Compressed clusters: streams in, clusters out.
//!
//! Pure functions over buffers. A cluster is compressed alone, and a reader knows its stream only to
//! the end of a sector, so bytes after the stream are normal.
//!
//! ```
//! use holstein_codec::{ClusterCodec, Deflate};
//!
//! let cluster = vec![7; 65_536];
//! let mut stream = vec![0; cluster.len() - 1];
//! let bytes = Deflate::default().compress(&cluster, &mut stream)?.expect("it shrinks");
//! assert!(bytes < 200);
//!
//! let mut again = vec![0; cluster.len()];
//! Deflate::default().decompress(&stream[..bytes + 100], &mut again)?;
//! assert_eq!(again, cluster);
//! # Ok::<(), holstein_codec::CodecError>(())
//! ```
//!
//! # Spec
//! "Compressed clusters".

#![forbid(unsafe_code)]

mod codec;
mod deflate;
#[cfg(feature = "zstd")]
mod zstd;

pub use codec::{ClusterCodec, CodecError};
pub use deflate::Deflate;
#[cfg(feature = "zstd")]
pub use zstd::Zstd;
