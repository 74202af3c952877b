//! Guest ranges to host extents: L1 and L2 tables.
//!
//! The spine of the engine. A read *resolves* a range to extents; a write *prepares* a plan, its
//! payload is moved by somebody else, and *committing* the plan touches memory only and cannot
//! fail. Where something is not in memory the answer says what is wanted ([`Fetch`]); where another writer
//! is at work on the same clusters it is [`Busy`]. Payload never passes through this crate.
//!
//! ```text
//!   resolve(range) ----------> Extent | Wanted
//!   prepare_write(range) ----> InPlace | Plan --(payload written)--> commit
//!   prepare_compressed(cluster) ------> Plan --(stream written)---> commit_compressed
//!        '------------------> Wanted --fetch--> ask again
//!        '------------------> Busy ----wait---> ask again
//! ```
//!
//! # Invariants
//! * A lookup of cached tables takes no lock and allocates nothing.
//! * An entry is stored only after the counts of its clusters were raised and its payload was
//!   written.
//! * A table is written in full before an L1 entry names it.
//! * Dropping a plan undoes it without I/O.
//!
//! # Spec
//! "Guest mapping", "Copy-on-write", "Concurrency", "Discard", "Zero writes"; rules O1 to O3;
//! hazards H14, H15, H18, H42.

#![forbid(unsafe_code)]

mod change;
mod claim;
mod cluster_entry;
mod compressed_plan;
mod error;
mod extent;
mod l1_grow;
mod l1_table;
mod l2_place;
mod mapping;
mod new_table;
mod range_tickets;
mod release;
mod resolve;
mod tree;
mod verify;
mod write_plan;

pub use change::{Change, Changed, Kept};
pub use cluster_entry::ClusterEntry;
pub use compressed_plan::{CompressedPlan, PreparedCompressed};
pub use error::MapError;
pub use extent::{Extent, ExtentKind, Resolved};
pub use l1_table::L1Layout;
pub use mapping::{Fetch, Mapping, MappingConfig};
pub use range_tickets::{Busy, RangeTickets, Ticket};
pub use tree::{TablesHeld, Tree};
pub use write_plan::{CowPart, Prepared, WritePlan};
