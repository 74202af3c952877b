//! Repair: a plan made by a check, and its execution.
//!
//! A plan is a check that decides, at each fault, what the image should say instead, and goes on
//! as if it said so. So the counts that it ends with are those of the repaired image, and all that
//! is to be written is known before anything is written (hazard H19).
//!
//! # The order of writes
//! Each step is durable before the next begins, and each leaves the disk and the snapshots reading
//! as they did (C11):
//!
//! ```text
//! file made longer
//!   -> entries made right, COPIED taken where a cluster is shared
//!   -> refcounts raised | new refcount blocks and table, complete | new snapshot table
//!   -> header names the new tables
//!   -> refcounts lowered
//!   -> COPIED given where a cluster is owned
//!   -> dirty and corrupt bits cleared
//! ```
//!
//! New tables go where nothing that a plan knows of is, and never where the old ones are.

mod claims;
mod count_fixes;
mod entries;
mod error;
mod execute;
mod flags;
mod note;
mod plan;
mod planner;
mod rebuild;
mod snapshot_table;
mod steps;
mod word_fixes;

pub use error::RepairError;
pub use execute::{RepairOutcome, repair};
pub use note::RepairNote;
pub use plan::{RepairKind, RepairOptions, RepairPlan, plan_repair};
pub(crate) use planner::Planner;
pub(crate) use snapshot_table::SnapshotChanges;
pub use steps::RepairStep;
