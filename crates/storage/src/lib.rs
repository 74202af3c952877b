//! Positioned I/O under the image format.
//!
//! The only crate that knows the operating system. Everything above sees [`Storage`]: a vector of
//! bytes with a length, a barrier and hints. Three backends: [`MemStorage`] in memory,
//! [`FileStorage`] over a file or block device, [`MappedStorage`] over a read-only map.
//!
//! ```
//! use holstein_storage::{MemStorage, Storage};
//! use holstein_units::HostOffset;
//!
//! # fn main() -> std::io::Result<()> {
//! let storage = MemStorage::new();
//! storage.write_at(HostOffset::new(1 << 40), b"far out")?;
//! let mut back = [0; 7];
//! assert_eq!(storage.read_at(HostOffset::new(1 << 40), &mut back)?, 7);
//! assert_eq!(&back, b"far out");
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//! Nothing is durable before a [`Storage::flush`] that was called after the write has returned.
//! Between two flushes writes may become durable in any order, torn at 512 bytes.
//!
//! # Unsafe code
//! Five modules, one per concern: the byte-range lock calls and the early write-back that rustix
//! lacks, the memory map, memory for tables that goes back to the system, and a file that another
//! program opened.

#![deny(unsafe_code)]

mod bounds;
mod direct;
mod early_writeback;
mod extent_hint;
mod file;
mod file_options;
mod holder;
mod identity;
mod inherited;
mod lock;
mod map;
mod mapped;
mod mem;
mod ofd;
mod open;
mod open_error;
mod storage;
mod transfer;
mod word_memory;
mod writeback;

pub use file::FileStorage;
pub use file_options::{Create, FileOptions, SyncMode};
pub use holder::{LockHolder, lock_holders};
pub use identity::FileIdentity;
pub use inherited::first_inherited_file;
pub use lock::{ImageLock, LockError, LockMode, Permission, Permissions};
pub use mapped::MappedStorage;
pub use mem::MemStorage;
pub use open_error::{FileKind, OpenError};
pub use storage::{Capabilities, Storage};
pub use word_memory::{first_page, give_back, zeroed_words};
