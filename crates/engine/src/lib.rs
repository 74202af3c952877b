//! Requests and drivers: payload moved between callers and clusters.
//!
//! [`Disk`] joins the metadata crates and drives them with blocking I/O on the caller's thread.
//! A newcomer reads `read.rs` and `write.rs` first: two short loops that are the whole engine.
//!
//! ```text
//!   read:   pin -> resolve -> Extent: one pread | zeros | decompress | backing -> unpin
//!                          '-> Wanted: unpin, fetch, again
//!   write:  pin -> prepare -> InPlace: clear, one pwrite -> unpin
//!                          '-> Plan: head and tail read, one pwritev, commit -> unpin
//!                          '-> Wanted | Busy: unpin, fetch or wait, again
//! ```
//!
//! # Invariants
//! * A cached read is one system call, no lock, no allocation.
//! * A request holds its pin from before its lookup until its last I/O has ended.
//! * Payload is in the file before the entry that names it is stored.
//!
//! # Spec
//! "Read algorithm", "Copy-on-write", "Resize", "Creation and preallocation layouts".

#![forbid(unsafe_code)]

mod amend;
mod backing;
mod bitmaps;
mod compressed;
mod data_file;
mod disk;
mod encrypted;
mod encryption_area;
mod error;
mod expand_zeros;
mod extent;
mod header;
mod lazy;
mod own;
mod placed;
mod preallocate;
mod progress;
mod read;
mod resize;
mod shrink;
mod slices;
mod snapshots;
mod standstill;
mod vm_state;
mod write;
mod zero;

pub use amend::Replaced;
pub use backing::Backing;
pub use bitmaps::BitmapInfo;
pub use compressed::CompressedData;
pub use disk::{Disk, DiskConfig};
pub use encryption_area::EncryptionArea;
pub use error::EngineError;
pub use extent::{DiskExtent, DiskExtentKind};
pub use holstein_refcount::Steps;
pub use own::OwnRead;
pub use preallocate::Preallocation;
pub use progress::{NoProgress, Progress};
pub use snapshots::SnapshotLease;
