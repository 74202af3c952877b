//! Persistent dirty bitmaps of a disk, where its format has them.

use holstein::{BitmapError, BitmapInfo, DirtyBitmap, Granularity};
use holstein_format::{Escaped, Version};

use super::qcow2::{Engine, Qcow2Disk};
use super::{DiskError, Result, engine_error};

/// What messages call the node of an image; the reference numbers its nodes, from no fixed number.
pub(crate) const NODE: &str = "#block100";

/// What a format with dirty bitmaps can do.
pub(crate) trait Bitmaps {
    /// Whether the version of the image has bitmaps.
    fn can_be_stored(&self) -> bool;

    /// The bitmaps in their order.
    fn list(&self) -> Result<Vec<BitmapInfo>>;

    /// A copy of one as it is now.
    fn get(&self, name: &[u8]) -> Result<DirtyBitmap>;

    /// As [`Self::get`]; nothing for one that must not be used.
    fn get_consistent(&self, name: &[u8]) -> Result<Option<DirtyBitmap>>;

    /// Adds a clean one that records; without a granularity it is the usual one.
    fn add(&self, name: &[u8], granularity: Option<Granularity>) -> Result<()>;

    /// Removes one, whatever state it is in.
    fn remove(&self, name: &[u8]) -> Result<()>;

    /// Marks all of one as clean.
    fn clear(&self, name: &[u8]) -> Result<()>;

    /// Says whether one records what is written.
    fn record(&self, name: &[u8], on: bool) -> Result<()>;

    /// Marks in one as dirty what is dirty in another.
    fn merge(&self, name: &[u8], other: &DirtyBitmap) -> Result<()>;
}

/// The refusal of a format without bitmaps, or of an image without this one.
pub(crate) fn no_bitmap(name: &[u8]) -> DiskError {
    DiskError::new(libc::ENOENT, format!("Dirty bitmap '{}' not found", Escaped(name)))
}

/// What is wrong with a bitmap, in the reference's words.
pub(crate) fn bitmap_error(error: &BitmapError) -> DiskError {
    match error {
        BitmapError::NotFound { name } => no_bitmap(name),
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

/// Why bitmaps are not in the file after all, in the reference's words.
pub(super) fn lost_bitmap(name: &[u8], why: &DiskError) -> DiskError {
    DiskError::invalid(format!(
        "Lost persistent bitmaps during inactivation of node '{NODE}': Failed to write bitmap '{}' \
         to file: {why}",
        Escaped(name)
    ))
}

/// Why a bitmap cannot be added, in the reference's words.
fn not_added(name: &[u8], error: &holstein::Error) -> DiskError {
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
    DiskError::invalid(format!(
        "Can't make bitmap '{}' persistent in '{NODE}': {why}",
        Escaped(name)
    ))
}

impl Qcow2Disk {
    /// A bitmap; snapshots have none.
    fn read(&self, name: &[u8]) -> Result<std::result::Result<DirtyBitmap, holstein::Error>> {
        match &self.engine {
            Engine::Read(image) => Ok(image.bitmap(name)),
            Engine::Write(image) => Ok(image.bitmap(name)),
            Engine::Snapshot(_) => Err(no_bitmap(name)),
        }
    }
}

impl Bitmaps for Qcow2Disk {
    fn can_be_stored(&self) -> bool {
        match &self.engine {
            Engine::Read(image) => image.header().version != Version::V2,
            Engine::Write(image) => image.header().version != Version::V2,
            Engine::Snapshot(_) => false,
        }
    }

    fn list(&self) -> Result<Vec<BitmapInfo>> {
        match &self.engine {
            Engine::Read(image) => image.bitmaps(),
            Engine::Write(image) => image.bitmaps(),
            Engine::Snapshot(_) => return Ok(Vec::new()),
        }
        .map_err(|error| engine_error(&error))
    }

    fn get(&self, name: &[u8]) -> Result<DirtyBitmap> {
        self.read(name)?.map_err(|error| engine_error(&error))
    }

    fn get_consistent(&self, name: &[u8]) -> Result<Option<DirtyBitmap>> {
        match self.read(name)? {
            Ok(bits) => Ok(Some(bits)),
            Err(error) => match error.bitmap_error() {
                Some(BitmapError::Inconsistent { .. }) => Ok(None),
                _ => Err(engine_error(&error)),
            },
        }
    }

    fn add(&self, name: &[u8], granularity: Option<Granularity>) -> Result<()> {
        let image = self.writable()?;
        let granularity =
            granularity.unwrap_or_else(|| Granularity::for_clusters(image.cluster_size()));
        image.add_bitmap(name, granularity, true).map_err(|error| not_added(name, &error))
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        self.writable()?.remove_bitmap(name).map_err(|error| engine_error(&error))
    }

    fn clear(&self, name: &[u8]) -> Result<()> {
        self.writable()?.clear_bitmap(name).map_err(|error| engine_error(&error))
    }

    fn record(&self, name: &[u8], on: bool) -> Result<()> {
        self.writable()?.record_in_bitmap(name, on).map_err(|error| engine_error(&error))
    }

    fn merge(&self, name: &[u8], other: &DirtyBitmap) -> Result<()> {
        self.writable()?.merge_bitmap(name, other).map_err(|error| engine_error(&error))
    }
}
