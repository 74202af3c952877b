//! Changing what an image is: version, refcounts, size.

use holstein_engine::{Disk, EngineError, Preallocation};
use holstein_format::{IncompatibleFeatures, RefcountOrder, SnapshotRecord, Version};
use holstein_mapping::L1Layout;
use holstein_snapshot::SnapshotTable;

use crate::error::Cause;
use crate::{Error, Image};

/// What is to become of an image; what is not named stays.
///
/// ```
/// use std::sync::Arc;
/// use holstein::{AmendOptions, CreateOptions, format::Version, storage::MemStorage};
///
/// let file = Arc::new(MemStorage::new());
/// let mut image = CreateOptions::new(1 << 20).version(Version::V2).create_on(file)?;
/// image.amend(&AmendOptions::new().version(Version::V3).refcount_bits(1), &mut |_, _| ())?;
/// assert_eq!(image.header().refcount_order.bits(), 1);
/// # Ok::<(), holstein::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct AmendOptions {
    version: Option<Version>,
    refcount_bits: Option<u32>,
    lazy_refcounts: Option<bool>,
    data_file: Option<Vec<u8>>,
    data_file_raw: Option<bool>,
    size: Option<u64>,
}

impl AmendOptions {
    /// Nothing changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The version of the format (`compat`).
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// The width of refcounts: 1, 2, 4, 8, 16, 32 or 64; 16 in version 2.
    pub fn refcount_bits(mut self, bits: u32) -> Self {
        self.refcount_bits = Some(bits);
        self
    }

    /// Whether writers may postpone refcount updates; in version 3 only.
    pub fn lazy_refcounts(mut self, lazy: bool) -> Self {
        self.lazy_refcounts = Some(lazy);
        self
    }

    /// The name that an image with an external data file has for it; an empty one is no name. The file
    /// itself stays what it is, and so does the one that is open.
    pub fn data_file(mut self, name: Vec<u8>) -> Self {
        self.data_file = Some(name);
        self
    }

    /// Whether the external data file has to read as the disk does; that can only be given up.
    pub fn data_file_raw(mut self, raw: bool) -> Self {
        self.data_file_raw = Some(raw);
        self
    }

    /// The size of the disk in bytes, a multiple of 512; a smaller one cuts off what lies past it.
    pub fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }
}

/// The changes of an image that are left to do, in their order.
struct Plan {
    upgrade: bool,
    width: Option<RefcountOrder>,
    /// A new name for the data file.
    data_file: Option<Vec<u8>>,
    /// The data file need not read as the disk does any more.
    not_raw: bool,
    lazy: Option<bool>,
    size: Option<u64>,
    downgrade: bool,
}

/// Units of progress of one change.
const PART: u64 = 1 << 20;

impl Image {
    /// Changes version, refcount width, data file, lazy refcounts and size, in the order in which that is
    /// possible.
    ///
    /// `progress` hears how much of how much is done, of changes that take their time. Options that
    /// contradict each other or the image are refused before anything changes. Each change is one step
    /// of the header: a crash leaves an image with some of the changes done, in their order.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] and [`crate::ErrorKind::Unsupported`] for what the image cannot
    /// become; I/O, in which case the changes before stay done. An image that cannot be opened again after
    /// a change takes no more writes.
    pub fn amend(
        &mut self,
        options: &AmendOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        self.disk().settle()?;
        let plan = judge(self.disk(), options)?;
        // What follows writes headers that know nothing of counts that are behind.
        self.disk().set_lazy_refcounts(false)?;
        let total = PART * (u64::from(plan.width.is_some()) + u64::from(plan.downgrade)).max(1);
        let mut before = 0;
        if plan.upgrade {
            self.disk().upgrade()?;
            self.reopen()?;
        }
        if let Some(order) = plan.width {
            let replaced = self.disk().change_refcount_width(order, &mut |done, of| {
                progress(part(done, of), total);
            })?;
            self.reopen()?;
            self.disk().release(replaced);
            self.disk().flush()?;
            before += PART;
        }
        if plan.data_file.is_some() || plan.not_raw {
            self.disk().name_data_file(plan.data_file.as_deref(), plan.not_raw)?;
        }
        if let Some(lazy) = plan.lazy {
            self.disk().allow_lazy_refcounts(lazy)?;
        }
        if let Some(size) = plan.size {
            if size < self.virtual_size() {
                self.shrink(size)?;
            } else {
                self.resize(size, Preallocation::Off)?;
            }
        }
        if plan.downgrade {
            let header = self.header();
            let table =
                SnapshotTable::read(&**self.storage(), &header).map_err(EngineError::from)?;
            let layouts: Vec<L1Layout> = table.records().iter().map(layout_of).collect();
            self.disk().downgrade(&layouts, &mut |done, of| {
                progress(before + part(done, of), total);
            })?;
            self.reopen()?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let disk = self.disk().reopen()?;
        self.replace_disk(disk);
        Ok(())
    }
}

/// So much of a part's units.
fn part(done: u64, of: u64) -> u64 {
    let share = u128::from(PART) * u128::from(done.min(of)) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(PART)
}

fn layout_of(record: &SnapshotRecord) -> L1Layout {
    L1Layout { at: record.l1_table_offset, entries: u64::from(record.l1_size) }
}

/// Finds out what is to be done, and whether all of it can be.
fn judge(disk: &Disk, options: &AmendOptions) -> Result<Plan, Error> {
    let invalid = |what: &str| Err(Error::from(Cause::Invalid(what.to_owned())));
    let refused = |what: &str| Err(Error::from(Cause::Unsupported(what.to_owned())));
    let header = disk.header();
    let version = options.version.unwrap_or(header.version);
    let width = match options.refcount_bits.map(|bits| (bits, RefcountOrder::from_bits(bits))) {
        Some((bits, None)) => {
            return invalid(&format!("refcount width {bits} is not a power of two up to 64"));
        }
        Some((_, order)) => order.filter(|order| *order != header.refcount_order),
        None => None,
    };
    let size = options.size.filter(|size| *size != header.size);
    if version == Version::V2 {
        if width.unwrap_or(header.refcount_order) != RefcountOrder::DEFAULT {
            return invalid("version 2 images have no refcounts of other widths than 16 bits");
        }
        if options.lazy_refcounts == Some(true) {
            return invalid("version 2 images have no lazy refcounts");
        }
    }
    let has_data_file = header.incompatible.contains(IncompatibleFeatures::DATA_FILE);
    if options.data_file.is_some() && !has_data_file {
        return invalid("the image has no external data file that could be named");
    }
    let is_raw = header.has_raw_data_file();
    if options.data_file_raw == Some(true) && !is_raw {
        return invalid("the external data file of an existing image cannot become a raw one");
    }
    let named = header.data_file().unwrap_or_default();
    let data_file = options.data_file.clone().filter(|name| name != named);
    let not_raw = is_raw && options.data_file_raw == Some(false);
    let downgrade = version < header.version;
    let upgrade = version > header.version;
    if size.is_some_and(|size| !size.is_multiple_of(512)) {
        return invalid("the size is not a multiple of 512");
    }
    let mut snapshots = Vec::new();
    if downgrade || upgrade {
        let table = SnapshotTable::read(&**disk.storage(), &header).map_err(EngineError::from)?;
        let broken = |record: &&SnapshotRecord| record.validate_l1(header.geometry).is_err();
        if table.records().iter().any(|record| broken(&record)) {
            return refused("a snapshot's table is out of bounds; repair the image first");
        }
        snapshots = table.records().iter().map(layout_of).collect();
        let size = size.unwrap_or(header.size);
        let fits = |record: &SnapshotRecord| {
            record.disk_size().unwrap_or(header.size) == size
                && record.vm_state_size() <= u64::from(u32::MAX)
        };
        if downgrade && !table.records().iter().all(fits) {
            return refused(
                "version 2 cannot tell the size of a snapshot's disk or of its VM state",
            );
        }
    }
    if downgrade
        && width.is_none()
        && let Some(why) = disk.downgrade_refused(&snapshots)?
    {
        return refused(why);
    }
    let lazy = options.lazy_refcounts;
    Ok(Plan { upgrade, width, data_file, not_raw, lazy, size, downgrade })
}
