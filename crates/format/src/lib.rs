//! On-disk structures of qcow2: bytes to values and back.
//!
//! No I/O, no panic on hostile bytes: each `decode` takes any bytes and answers with a value that
//! keeps the rules of the format, or with an error that names the field and its value. Each `encode`
//! is its inverse.
//!
//! ```
//! use holstein_format::{DecodePurpose, Header, Version};
//! use holstein_units::{ClusterBits, Geometry, HostOffset};
//!
//! let geometry = Geometry::new(ClusterBits::new(16).expect("16 is within 9..=21"), false);
//! let mut header = Header::new(Version::V3, geometry, 64 << 20);
//! header.refcount_table_offset = HostOffset::new(0x1_0000);
//! header.refcount_table_clusters = 1;
//! header.l1_table_offset = HostOffset::new(0x3_0000);
//! header.l1_size = 1;
//! let cluster = header.encode()?;
//! let file_len = cluster.len() as u64;
//! assert_eq!(Header::decode(&cluster, file_len, DecodePurpose::Use)?, header);
//! # Ok::<(), holstein_format::FormatError>(())
//! ```
//!
//! # Invariants
//! Nothing is allocated by a size from an image before that size was compared with a limit or with
//! the bytes that are there. All numbers on disk are big-endian; table entries are passed as numbers
//! that were converted already, so that a table can be kept as words.
//!
//! # Spec
//! All of it but the contents of LUKS headers and compressed streams.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bitmap_directory_entry;
mod bitmap_table_entry;
mod bitmaps_extension;
mod cluster_state;
mod compressed_run;
mod entry;
mod error;
mod escaped;
mod extended_state;
mod feature_name;
mod features;
mod header;
mod header_change;
mod header_decode;
mod header_encode;
mod header_extension;
mod l1_entry;
pub mod limits;
mod qemu_message;
mod raw_header;
mod record_error;
mod refcount_order;
mod refcount_table_entry;
mod snapshot_record;
mod version;

pub use bitmap_directory_entry::{BitmapDirectoryEntry, BitmapFlags};
pub use bitmap_table_entry::BitmapTableEntry;
pub use bitmaps_extension::BitmapsExtension;
pub use cluster_state::{ClusterState, EntryRules};
pub use compressed_run::CompressedRun;
pub use entry::{COMPRESSED, COPIED, EntryError, Sharing, ZERO};
pub use error::{BitmapsField, ErrnoClass, FormatError, Table};
pub use escaped::Escaped;
pub use extended_state::{ExtendedState, SubclusterBitmap, SubclusterKind};
pub use feature_name::{FeatureName, feature_kind};
pub use features::{AutoclearFeatures, CompatibleFeatures, IncompatibleFeatures};
pub use header::{CompressionType, CryptMethod, DecodePurpose, Header};
pub use header_change::HeaderStep;
pub use header_encode::field_offset;
pub use header_extension::HeaderExtension;
pub use l1_entry::L1Entry;
pub use limits::*;
pub use record_error::RecordError;
pub use refcount_order::{CounterPlace, RefcountOrder};
pub use refcount_table_entry::RefcountTableEntry;
pub use snapshot_record::SnapshotRecord;
pub use version::Version;
