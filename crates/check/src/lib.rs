//! A second opinion on an image: what refers to each cluster, against what the refcounts say.
//!
//! Shares nothing with the code that allocates and maps, so that a mistake there cannot hide itself.
//! Reads only. Findings print as `qemu-img check` prints them, so that the two can be compared line
//! by line.
//!
//! ```text
//! header, tables of the disk and the snapshots, snapshot table, refcount table and blocks,
//! LUKS area, bitmaps  --->  references counted per cluster  ---\
//!                                                                compared  ---> leaks, corruptions
//! refcount blocks     --->  refcounts on disk               ---/
//! ```
//!
//! ```
//! use holstein_check::{CheckError, CheckOptions, check};
//! use holstein_storage::MemStorage;
//!
//! let storage = MemStorage::from_bytes(b"not an image");
//! let error = check(&storage, &CheckOptions::default(), &mut |_| {}).expect_err("no header");
//! assert!(matches!(error, CheckError::Header(_)));
//! assert_eq!(error.qemu_message(), "Image is not in qcow2 format");
//! ```
//!
//! # Why shared tables are not walked once for each owner
//! An L2 table that many snapshots share is walked twice at most; the other visits are counted and
//! added in one last walk. A million L1 entries to one table cost as much as two.
//!
//! # Invariants
//! * Memory follows what is referenced or counted, not the length of the file, and never passes
//!   [`CheckOptions::memory_limit`] (hazard H12).
//! * Walks are bounded by sizes, never by pointers (H19). Whatever lies past the end of the file
//!   reads as zeros and was reported when its place was counted (H13).
//!
//! # Spec
//! "Check and repair".

#![forbid(unsafe_code)]

mod bitmaps;
mod check;
mod compare;
mod copied;
mod counters;
mod error;
mod finding;
mod l1_walk;
mod l2_walk;
mod options;
mod refcounts;
mod region;
mod repair;
mod report;
mod shared_tables;
mod snapshots;
mod source;

pub use check::check;
pub use error::CheckError;
pub use finding::{Corruption, Finding};
pub use options::{CheckOptions, Phase, Progress};
pub use repair::{
    RepairError, RepairKind, RepairNote, RepairOptions, RepairOutcome, RepairPlan, RepairStep,
    plan_repair, repair,
};
pub use report::Report;
