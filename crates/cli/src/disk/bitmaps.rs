//! Persistent dirty bitmaps of a disk, where its format has them.

use holstein::{BitmapError, DirtyBitmap, Granularity};
use holstein_format::Escaped;

use super::qcow2::{Engine, Qcow2Disk};
use super::{DiskError, Result, engine_error};

/// What messages call the node of an image; the reference numbers its nodes, from no fixed number.
pub(crate) const NODE: &str = "#block100";

/// What a format with dirty bitmaps can do.
pub(crate) trait Bitmaps {
    /// A copy of one as it is now.
    fn get(&self, name: &str) -> Result<DirtyBitmap>;

    /// Adds a clean one that records; without a granularity it is the usual one.
    fn add(&self, name: &str, granularity: Option<Granularity>) -> Result<()>;

    /// Removes one, whatever state it is in.
    fn remove(&self, name: &str) -> Result<()>;

    /// Marks all of one as clean.
    fn clear(&self, name: &str) -> Result<()>;

    /// Says whether one records what is written.
    fn record(&self, name: &str, on: bool) -> Result<()>;

    /// Marks in one as dirty what is dirty in another.
    fn merge(&self, name: &str, other: &DirtyBitmap) -> Result<()>;
}

/// The refusal of a format without bitmaps, or of an image without this one.
pub(crate) fn no_bitmap(name: &str) -> DiskError {
    DiskError::new(libc::ENOENT, format!("Dirty bitmap '{name}' not found"))
}

/// What is wrong with a bitmap, in the reference's words.
pub(super) fn bitmap_error(error: &BitmapError) -> DiskError {
    match error {
        BitmapError::NotFound { name } => no_bitmap(&String::from_utf8_lossy(name)),
        BitmapError::Exists { name } => {
            DiskError::new(libc::EEXIST, format!("Bitmap already exists: {}", Escaped(name)))
        }
        BitmapError::Inconsistent { name } => DiskError::invalid(format!(
            "Bitmap '{}' is inconsistent and cannot be used",
            Escaped(name)
        ))
        .with_hint("Try block-dirty-bitmap-remove to delete this bitmap from disk"),
        BitmapError::Sizes { destination, source_size } => DiskError::invalid(format!(
            "Bitmaps are of different sizes (destination size is {destination}, source size is \
             {source_size}) and can't be merged"
        )),
        BitmapError::Present => DiskError::unsupported("Device has active dirty bitmaps"),
        error => DiskError::invalid(error.to_string()),
    }
}

/// Why a bitmap cannot be added, in the reference's words.
fn not_added(name: &str, error: &holstein::Error) -> DiskError {
    let why = match error.bitmap_error() {
        Some(BitmapError::Name { length: 0 }) => {
            return DiskError::invalid("Bitmap name cannot be empty");
        }
        Some(BitmapError::Version2) => "Cannot store dirty bitmaps in qcow2 v2 files",
        Some(BitmapError::Name { .. }) => "Name length exceeds maximum (1023 characters)",
        Some(BitmapError::TooLarge { .. }) => {
            "Too much space will be occupied by the bitmap. Use larger granularity"
        }
        Some(BitmapError::Full { count: 65_535.. }) => {
            "Maximum number of persistent bitmaps is already reached"
        }
        Some(BitmapError::Full { .. }) => "Not enough space in the bitmap directory",
        _ => return engine_error(error),
    };
    DiskError::invalid(format!("Can't make bitmap '{name}' persistent in '{NODE}': {why}"))
}

impl Bitmaps for Qcow2Disk {
    fn get(&self, name: &str) -> Result<DirtyBitmap> {
        match &self.engine {
            Engine::Read(image) => image.bitmap(name),
            Engine::Write(image) => image.bitmap(name),
            Engine::Snapshot(_) => return Err(no_bitmap(name)),
        }
        .map_err(|error| engine_error(&error))
    }

    fn add(&self, name: &str, granularity: Option<Granularity>) -> Result<()> {
        let image = self.writable()?;
        let granularity =
            granularity.unwrap_or_else(|| Granularity::for_clusters(image.cluster_size()));
        image.add_bitmap(name, granularity, true).map_err(|error| not_added(name, &error))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.writable()?.remove_bitmap(name).map_err(|error| engine_error(&error))
    }

    fn clear(&self, name: &str) -> Result<()> {
        self.writable()?.clear_bitmap(name).map_err(|error| engine_error(&error))
    }

    fn record(&self, name: &str, on: bool) -> Result<()> {
        self.writable()?.record_in_bitmap(name, on).map_err(|error| engine_error(&error))
    }

    fn merge(&self, name: &str, other: &DirtyBitmap) -> Result<()> {
        self.writable()?.merge_bitmap(name, other).map_err(|error| engine_error(&error))
    }
}
