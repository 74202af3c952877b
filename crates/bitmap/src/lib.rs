//! Dirty bitmaps: which parts of a disk were written since somebody looked.
//!
//! [`DirtyBitmap`] is a bitmap in memory, sparse and as large as what is set in it. [`Directory`] is the
//! list of bitmaps that an image has; [`load`] and [`store`] move bits between the two through the narrow
//! traits [`ReadFile`] and [`WriteFile`].
//!
//! ```
//! use holstein_bitmap::{DirtyBitmap, Granularity};
//!
//! let mut written = DirtyBitmap::new(1 << 30, Granularity::for_clusters(65_536));
//! written.set(100_000, 10);
//! assert!(written.is_dirty(65_536));
//! assert_eq!(written.extents().collect::<Vec<_>>(), [(65_536, 65_536)]);
//! ```
//!
//! # Invariants
//! * Memory grows with what is set, never by a number from an image: what a file says is zeros or ones
//!   takes a few bytes, and clusters of bits are read one at a time, none of them twice.
//! * A bit past the end of the disk is never set.
//!
//! # Spec
//! "Bitmaps", "Bitmaps extension".

#![forbid(unsafe_code)]

mod chunk;
mod directory;
mod dirty_bitmap;
mod error;
mod file;
mod granularity;
mod load;
mod runs;
mod store;

pub use directory::Directory;
pub use dirty_bitmap::{ClusterBits, DirtyBitmap};
pub use error::{BitmapError, LoadError};
pub use file::{ReadFile, WriteFile};
pub use granularity::Granularity;
pub use load::{Claims, for_each_cluster, load};
pub use store::{StoredTable, store, table_entries};
