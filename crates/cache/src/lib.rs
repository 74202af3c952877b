//! Metadata tables in memory, written back in rank order.
//!
//! Three things that belong together: [`TableCache`] holds tables (L2 slices, refcount blocks) in a
//! bounded number of slots and answers lookups without a lock; [`Sequencer`] writes the dirty ones
//! back in *runs*, rung by rung with barriers between; [`PinTable`] knows which requests are still
//! using what an older state of the tables told them.
//!
//! The seed driver chained two caches with `set_dependency` and `depends_on_flush`. Here the
//! dependency is a property of the kind of table, its [`Rung`], and every run obeys it:
//!
//! ```text
//!   payload, refcount blocks, L2 tables that no durable L1 entry names
//!     -> barrier -> refcount table entries (of new blocks: rarely any)
//!     -> barrier -> L2 tables, L1 entries
//!     -> barrier -> header
//!     -> barrier
//! ```
//!
//! An empty rung has no barrier, so flushing an allocating write costs two barriers and flushing an
//! in-place write costs one.
//!
//! # Crash outcomes
//! After the first rung the disk holds the old tree and counts that are perhaps too high. After the
//! second each entry is old, or new with its count and payload. Never a table entry whose count or
//! payload is missing.
//!
//! # Spec
//! "Write ordering", "The cache-dependency mechanism", "Caches".

#![forbid(unsafe_code)]

mod pins;
mod runs;
mod sequencer;
mod sizes;
mod slots;
mod table_cache;

pub use pins::{Pin, PinTable, Quiet};
pub use sequencer::{Capture, RankedTables, RunGuard, Rung, Sequencer, TableWrite};
pub use sizes::{CacheSizeError, CacheSizes, ResolvedSizes};
pub use table_cache::{CacheFull, FetchStart, FetchTicket, Hold, TableCache, Words};
