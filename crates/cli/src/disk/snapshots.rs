//! Internal snapshots of a disk, where its format has them.

use holstein::{NewSnapshot, SnapshotSelector};
use holstein_format::SnapshotRecord;

use super::qcow2::{Engine, Qcow2Disk};
use super::{Disk, DiskError, Heard, Result, engine_error};
use crate::{out, personality};

/// What a format with internal snapshots can do.
pub(crate) trait Snapshots {
    /// Takes one; what it is called is in `new`. As below, `progress` hears how much of how much is done.
    fn create(&self, new: &NewSnapshot, progress: Heard<'_>) -> Result<SnapshotRecord>;

    /// Makes the disk what one of them holds.
    fn apply(&self, which: SnapshotSelector<'_>, progress: Heard<'_>) -> Result<()>;

    /// Deletes one.
    fn delete(&self, which: SnapshotSelector<'_>, progress: Heard<'_>) -> Result<()>;

    /// Fills `into` from byte `at` of the VM state.
    fn read_state(&self, at: u64, into: &mut [u8]) -> Result<()>;

    /// Writes `from` at byte `at` of the VM state.
    fn write_state(&self, at: u64, from: &[u8]) -> Result<()>;
}

/// An error whose text is that of its number: the reference has no better one here.
fn by_number(error: &holstein::Error) -> DiskError {
    DiskError::from_errno(engine_error(error).errno())
}

/// A snapshot is not listed any more, and what it held was not freed: an error in two parts, of which
/// the reference says the first at once.
fn not_freed(error: DiskError) -> DiskError {
    if !personality::is_native() {
        out::error_text(&format!("qcow2_free_clusters failed: {}\n", error.strerror()));
    }
    error.prefixed("Failed to free the cluster and L1 table: ")
}

impl Snapshots for Qcow2Disk {
    fn create(&self, new: &NewSnapshot, mut progress: Heard<'_>) -> Result<SnapshotRecord> {
        self.writable()?.create_snapshot_with(new, &mut progress).map_err(|e| by_number(&e))
    }

    fn apply(&self, which: SnapshotSelector<'_>, mut progress: Heard<'_>) -> Result<()> {
        let applied = self.writable()?.apply_snapshot_with(which, &mut progress);
        applied.map_err(|error| match error.bitmap_error() {
            Some(_) => engine_error(&error),
            None => by_number(&error).prefixed("Failed to load snapshot: "),
        })
    }

    fn delete(&self, which: SnapshotSelector<'_>, mut progress: Heard<'_>) -> Result<()> {
        let image = self.writable()?;
        let listed = || image.snapshots().map(|list| list.len()).ok();
        let before = listed();
        image.delete_snapshot_with(which, &mut progress).map_err(|error| {
            let error = engine_error(&error);
            let gone = listed().zip(before).is_some_and(|(now, before)| now < before);
            if gone { not_freed(error) } else { error }
        })
    }

    fn read_state(&self, at: u64, into: &mut [u8]) -> Result<()> {
        match &self.engine {
            Engine::Read(image) => image.read_vm_state(at, into),
            Engine::Write(image) => image.read_vm_state(at, into),
            Engine::Snapshot(reader) => reader.read_vm_state(at, into),
        }
        .map_err(|e| engine_error(&e))
    }

    fn write_state(&self, at: u64, from: &[u8]) -> Result<()> {
        self.writable()?.write_vm_state(at, from).map_err(|e| engine_error(&e))
    }
}

impl Qcow2Disk {
    /// The disk as a snapshot holds it, of the size that the disk has now.
    pub(super) fn open_snapshot(mut self, which: SnapshotSelector<'_>) -> Result<Box<dyn Disk>> {
        let reader = match &self.engine {
            Engine::Read(image) => image.snapshot_reader_of_this_size(which),
            Engine::Write(image) => image.snapshot_reader_of_this_size(which),
            Engine::Snapshot(_) => return Err(cannot_load("qcow2")),
        };
        let reader = reader.map_err(|error| match error.kind() {
            holstein::ErrorKind::NotFound => DiskError::new(libc::ENOENT, "Can't find snapshot"),
            _ => engine_error(&error),
        })?;
        self.engine = Engine::Snapshot(Box::new(reader));
        Ok(Box::new(self))
    }
}

/// The refusal of a format that has no snapshots to be read.
pub(super) fn cannot_load(format: &str) -> DiskError {
    DiskError::unsupported(format!(
        "Block format '{format}' used by device '' does not support temporarily loading internal \
         snapshots"
    ))
}
