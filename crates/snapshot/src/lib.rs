//! Internal snapshots of an image: their table, read and made anew.
//!
//! Memory grows with the bytes that were really read, never by a number from the image.
//!
//! ```
//! use holstein_format::{Header, Version};
//! use holstein_snapshot::SnapshotTable;
//! use holstein_storage::MemStorage;
//! use holstein_units::{ClusterBits, Geometry};
//!
//! let geometry = Geometry::new(ClusterBits::new(16).expect("16 is within 9..=21"), false);
//! let header = Header::new(Version::V3, geometry, 1 << 30);
//! let table = SnapshotTable::read(&MemStorage::new(), &header)?;
//! assert_eq!(table.find("before-upgrade".into()), None);
//! # Ok::<(), holstein_snapshot::SnapshotError>(())
//! ```
//!
//! # Invariants
//! A table that was read holds as many records as the header says, none with more than 1 KiB of
//! extra data, all within 64 MiB. Their L1 tables have not been judged: see
//! `SnapshotRecord::validate_l1`.
//!
//! # Spec
//! "Snapshots".

#![forbid(unsafe_code)]

mod encode;
mod error;
mod new_snapshot;
mod selector;
mod table;

pub use error::SnapshotError;
pub use new_snapshot::NewSnapshot;
pub use selector::SnapshotSelector;
pub use table::SnapshotTable;
