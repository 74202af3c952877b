//! Checking and repairing image files.

use std::path::Path;
use std::sync::Arc;

use holstein_check::{CheckOptions, RepairError, RepairKind, RepairOptions, RepairOutcome, Report};
use holstein_storage::{FileOptions, FileStorage, LockMode, Storage};

use crate::Error;
use crate::error::Cause;

/// Checks the image at `path`: what refers to each cluster against what the refcounts say.
///
/// Changes nothing, opens no other file, and needs no key. For storages, limits and progress there
/// is [`crate::check::check`].
///
/// # Errors
/// [`crate::ErrorKind::Locked`]; [`crate::ErrorKind::NotQcow2`], [`crate::ErrorKind::Corrupt`] for
/// images that cannot be checked to the end. What is wrong with an image is in the report.
pub fn check(path: impl AsRef<Path>) -> Result<Report, Error> {
    let path = path.as_ref();
    let storage = open(path, false, LockMode::Read)?;
    holstein_check::check(&*storage, &CheckOptions::default(), &mut |_| {})
        .map_err(|error| Error::from(RepairError::from(error)).at(path))
}

/// Checks the image at `path`, puts right what is wrong, and checks it again.
///
/// Images that are marked dirty or corrupt lose the mark if nothing is wrong any more. The disk and
/// the snapshots read as before; a repair that is cut short can be repeated. For storages, limits,
/// progress and a look at the plan there is [`crate::check::plan_repair`].
///
/// ```
/// use std::sync::Arc;
/// use holstein::check::{RepairKind, RepairOptions, repair};
/// use holstein::storage::{MemStorage, Storage};
/// use holstein::CreateOptions;
/// use holstein_units::HostOffset;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file: Arc<dyn Storage> = Arc::new(MemStorage::new());
/// CreateOptions::new(1 << 30).create_on(file.clone())?.close()?;
/// // The header forgets where the refcount table is.
/// file.write_at(HostOffset::new(48), &[0; 12])?;
///
/// let outcome = repair(&file, &RepairOptions::new(RepairKind::All), &mut |_| {})?;
/// assert!(outcome.plan.corruptions_fixed > 0);
/// assert!(outcome.report().is_clean());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As for [`check`]; [`crate::ErrorKind::Corrupt`] if refcounts have to be rebuilt and only leaks
/// may be repaired, or a table would pass the limits of the format; [`crate::ErrorKind::Io`].
pub fn repair(path: impl AsRef<Path>, kind: RepairKind) -> Result<RepairOutcome, Error> {
    let path = path.as_ref();
    let storage = open(path, true, LockMode::Write)?;
    holstein_check::repair(&storage, &RepairOptions::new(kind), &mut |_| {})
        .map_err(|error| Error::from(error).at(path))
}

fn open(path: &Path, write: bool, lock: LockMode) -> Result<Arc<dyn Storage>, Error> {
    let options = FileOptions { write, lock, ..FileOptions::default() };
    Ok(Arc::new(FileStorage::open(path, &options)?))
}

impl From<RepairError> for Error {
    fn from(error: RepairError) -> Self {
        Cause::Repair(Arc::new(error)).into()
    }
}
