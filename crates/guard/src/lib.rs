//! The one door to the image file.
//!
//! Every write to an image passes here and says what it is for. A write is checked against the
//! known metadata of the image ([`RegionSet`]) before it is issued: payload never lands on a table,
//! and a table never on another one. Barriers are counted here, and a barrier that failed once
//! closes the door for good ([`GuardError::Poisoned`]).
//!
//! ```text
//!   clear(intent, range) --> ClearedWrite --> write / write_zeroes
//!        |  overlap?             (the only value that can issue a write)
//!        '--> GuardError::Overlap
//! ```
//!
//! # Invariants
//! * No write reaches a region it did not declare.
//! * After a failed barrier no write, hole, cut or barrier is issued any more (hazard H51).
//!
//! # Spec
//! "Overlap checks"; hazards H14 to H17, H51.

#![forbid(unsafe_code)]

mod error;
mod event;
mod image_file;
pub mod planted;
mod region;
mod region_set;

pub use error::GuardError;
pub use event::{Event, Listener};
pub use image_file::{ClearedWrite, ImageFile};
pub use region::{Intent, Region, RegionMask};
pub use region_set::RegionSet;
