//! On-disk structures.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cluster_state;
mod compressed_run;
mod entry;
mod extended_state;
mod features;
mod l1_entry;
pub mod limits;
mod refcount_order;
mod refcount_table_entry;
mod version;

pub use cluster_state::{ClusterState, EntryRules};
pub use compressed_run::CompressedRun;
pub use entry::{COMPRESSED, COPIED, EntryError, Sharing, ZERO};
pub use extended_state::{ExtendedState, SubclusterBitmap, SubclusterKind};
pub use features::{AutoclearFeatures, CompatibleFeatures, IncompatibleFeatures};
pub use l1_entry::L1Entry;
pub use limits::*;
pub use refcount_order::{CounterPlace, RefcountOrder};
pub use refcount_table_entry::RefcountTableEntry;
pub use version::Version;
