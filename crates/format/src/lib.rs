//! On-disk structures.

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
pub use header_encode::field_offset;
pub use header_extension::HeaderExtension;
pub use l1_entry::L1Entry;
pub use limits::*;
pub use record_error::RecordError;
pub use refcount_order::{CounterPlace, RefcountOrder};
pub use refcount_table_entry::RefcountTableEntry;
pub use snapshot_record::SnapshotRecord;
pub use version::Version;
