//! qcow2 disk images: create, open, read, write, check.
//!
//! ```
//! use std::sync::Arc;
//! use holstein::{CreateOptions, OpenOptions, storage::MemStorage};
//!
//! # fn main() -> Result<(), holstein::Error> {
//! let file = Arc::new(MemStorage::new());
//! let image = CreateOptions::new(1 << 30).create_on(file.clone())?;
//! image.write_at(4096, b"hello")?;
//! image.flush()?;
//! image.close()?;
//!
//! let image = OpenOptions::new().open_storage_read_only(file)?;
//! let mut bytes = [0; 5];
//! image.read_at(4096, &mut bytes)?;
//! assert_eq!(&bytes, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! [`Image`] reads and writes, [`ReadOnlyImage`] reads. Both are `Send + Sync`, take `&self` and may
//! be used from any number of threads; no runtime is needed. Files are locked while they are open, as
//! QEMU locks them, so that a running virtual machine and this library exclude each other.
//!
//! An image is not trusted: nothing in it makes this library open another file. A backing file is
//! read only where a [`chain::BackingPolicy`] allows it, or through the [`chain::Chain`] or
//! [`Backing`] that the caller hands over.
//!
//! The crates below can be used one by one: `holstein-format` for the structures alone,
//! `holstein-check` for checking, and so on.

#![forbid(unsafe_code)]

mod amend;
mod bitmaps;
mod cache_trimmer;
pub mod chain;
mod commit;
mod create;
mod error;
mod image;
mod luks_area;
mod open;
mod pieces;
mod probe;
mod rebase;
mod repair;
mod snapshots;
mod unflushed;

pub use amend::AmendOptions;
pub use cache_trimmer::CacheTrimmer;
pub use commit::{CommitOptions, CommitTarget, RawTarget};
pub use create::CreateOptions;
pub use error::{Error, ErrorKind};
pub use holstein_bitmap::{BitmapError, DirtyBitmap, Granularity};
pub use holstein_cache::CacheSizes;
pub use holstein_crypto::{Secret, UnwrapError};
pub use holstein_engine::{
    Backing, BitmapInfo, CompressedData, DiskExtent as Extent, DiskExtentKind as ExtentKind,
    NoProgress, OwnRead, Preallocation, Progress,
};
pub use holstein_guard::{Event, Listener, Region, RegionMask as OverlapCheck};
pub use holstein_refcount::RefcountError;
pub use holstein_snapshot::{NewSnapshot, SnapshotSelector};
pub use image::{Image, ReadOnlyImage};
pub use luks_area::luks_header;
pub use open::OpenOptions;
pub use probe::{Format, probe};
pub use rebase::{NewBacking, RebaseOptions};
pub use repair::{check, repair};
pub use snapshots::SnapshotReader;

/// Checking and repairing an image, independently of the code that writes it.
pub mod check {
    pub use holstein_check::*;
}

/// LUKS headers: what one says, what new ones are to be, and how much work one may ask for.
pub mod luks {
    pub use holstein_luks::*;
}

/// On-disk structures.
pub mod format {
    pub use holstein_format::*;
}

/// The internal snapshots that an image lists.
pub mod snapshot {
    pub use holstein_snapshot::*;
}

/// Files, devices and memory under an image.
pub mod storage {
    pub use holstein_storage::*;
}
