//! Recording and fault-injecting storage, crash logs, disk models, oracle runners.
//!
//! Everything that tests of the other crates share. A crash test records what the code under test
//! does to its file, and then looks at every file that a power cut could have left behind:
//!
//! ```
//! use holstein_storage::{MemStorage, Storage};
//! use holstein_testkit::{RecordingStorage, SampleOptions};
//! use holstein_units::HostOffset;
//!
//! # fn main() -> std::io::Result<()> {
//! let storage = RecordingStorage::new(MemStorage::new())?;
//! storage.write_at(HostOffset::new(0), &[1; 512])?;
//! storage.flush()?;
//! storage.write_at(HostOffset::new(512), &[2; 512])?;
//! storage.write_at(HostOffset::new(0), &[3; 512])?;
//!
//! let log = storage.log();
//! let mut states = Vec::new();
//! log.for_each_state(&SampleOptions::default(), &mut |state| {
//!     states.push(state.image.to_bytes()?);
//!     Ok::<(), std::io::Error>(())
//! })?;
//! // After the flush the first byte is 1 or 3, whatever else happened.
//! assert!(states.iter().filter(|s| s.len() >= 1024).all(|s| s[0] == 1 || s[0] == 3));
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//! Everything is repeatable: no time, no randomness but from seeds that are given.

#![forbid(unsafe_code)]

mod chunk;
mod crash_log;
mod crash_state;
mod disk_image;
mod disk_model;
mod fault;
mod oracle;
mod oracle_hold;
mod pattern;
mod recording;
mod rng;
mod sample;
mod snapshot;
mod strategies;
mod temp_dir;

pub use crash_log::{CrashLog, Entry};
pub use crash_state::{Choice, CrashState, Torn};
pub use disk_image::DiskImage;
pub use disk_model::{DiskModel, Mismatch};
pub use fault::{Fault, FaultError, FaultStorage, IoKind, Lasting, Partial};
pub use oracle::{Oracle, Verdict, Version, skipped};
pub use oracle_hold::Held;
pub use pattern::Pattern;
pub use recording::RecordingStorage;
pub use rng::Rng;
pub use sample::{Counts, SampleOptions, Tearing};
pub use snapshot::SnapshotStorage;
pub use strategies::{any_cluster_bits, any_geometry, any_range_in, small_geometry};
pub use temp_dir::TempDir;
