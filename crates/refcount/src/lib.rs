//! Who owns host clusters: allocation, release, quarantine.
//!
//! [`Refcounts`] keeps one counter per host cluster, in refcount blocks that the refcount table
//! names. Reserving is memory only; [`ClusterAllocator::commit`] raises the counts in memory and a
//! run of the sequencer writes them. A cluster that lost its last reference waits in quarantine
//! until the change that dropped it is durable and nobody reads it any more.
//!
//! ```text
//!   free --reserve--> reserved --commit--> counted --retire--> quarantine
//!    ^                   |                                        | run >= t done, pins > t
//!    |<------drop--------'                                        v
//!    '<------------------ hole punched <------------------ count lowered to 0
//! ```
//!
//! # Crash outcomes
//! A count on the disk is never below the number of references on the disk. A new refcount block is
//! complete on the disk before the table names it, a new table before the header names it.
//!
//! # Spec
//! "Refcounts", "Allocation and refcount growth"; rules O1, O4 to O6, O14; hazards H7, H17, H40 to
//! H46.

#![forbid(unsafe_code)]

mod allocator;
mod bulk;
mod error;
mod file_end;
mod grow;
mod quarantine;
mod refcounts;
mod reserved;
mod search;
mod streams;
mod tally;
mod width;

pub use allocator::{
    ClusterAllocator, Counted, Forfeit, Provenance, Reservation, Reserved, Wanted,
};
pub use bulk::{Adjust, ClusterRuns, Lowered};
pub use error::RefcountError;
pub use quarantine::{DiscardPolicy, Freed};
pub use refcounts::{RefcountLayout, Refcounts};
pub use streams::{ByteReservation, ForfeitBytes, ReservedBytes};
pub use tally::{ReferenceRun, References, Tally};
pub use width::{NewWidth, Steps};
