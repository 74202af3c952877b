//! Internal snapshots of an open disk.
//!
//! A snapshot is a copy of the L1 table and one more reference to all that it reaches. Each operation
//! stops the disk, makes the file the truth, and then changes the tables in the file, each once:
//!
//! ```text
//!   create: counts judged | L1 copy, new list -> counts up -> barrier -> COPIED off -> barrier -> header
//!   apply:  counts judged | new L1 without COPIED -> counts up -> barrier -> header -> barrier -> old tree down
//!   delete: counts judged | new list -> barrier -> header -> barrier -> counts down -> barrier -> COPIED on
//! ```
//!
//! # Crash outcomes
//! The header is one write in one sector: the snapshot is listed and whole, or not listed; the disk is
//! the old one or the snapshot. Before and after it, counts may be too high (leaks). COPIED is never set
//! on a table or cluster that a snapshot shares (hazard C7).
//!
//! # Spec
//! "Snapshots", "The COPIED flag"; style rule R8.

mod apply;
mod complete;
mod create;
mod delete;
mod list;
mod reading;
mod steps;
mod switch;
mod trees;

pub(crate) use list::SnapshotList;
pub use reading::SnapshotLease;
