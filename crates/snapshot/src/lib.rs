//! Internal snapshots of an image: their table, read.
//!
//! Memory grows with the bytes that were really read, never by a number from the image.
//!
//! # Invariants
//! A table that was read holds as many records as the header says, none with more than 1 KiB of
//! extra data, all within 64 MiB. Their L1 tables have not been judged: see
//! `SnapshotRecord::validate_l1`.
//!
//! # Spec
//! "Snapshots".

#![forbid(unsafe_code)]

mod error;
mod table;

pub use error::SnapshotError;
pub use table::SnapshotTable;
