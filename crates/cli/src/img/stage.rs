//! A new image under a name of its own beside the target, whose name it takes when it is complete.
//!
//! Under our own name a target is never seen half-written: an error or a signal leaves what was there
//! before. Under the classic names targets are written where they are, as by the reference.

use std::fs::{self, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use holstein_storage::{FileStorage, ImageLock, LockMode};
use rustix::fs::Access;

use super::Failure;
use super::create_list::{CreateFormat, CreateList};
use super::make::lock_present;
use crate::disk::DiskError;
use crate::interrupt::Doomed;
use crate::node::{backing_name, identity_of, is_export, strip_file_protocol};
use crate::personality;

/// Where a new image is made.
#[derive(Debug)]
pub(super) struct Stage {
    /// The target as the command line has it.
    target: String,
    part: Option<Part>,
}

/// An image that is being made.
#[derive(Debug)]
struct Part {
    file: Doomed,
    /// Its name, as the command line would have it.
    name: String,
    /// The file that it becomes.
    end: PathBuf,
    /// What is there now, locked as if it were written to.
    present: Option<(Metadata, FileStorage)>,
}

impl Stage {
    /// Looks at what is at `target`, where an image of these options is to be made.
    ///
    /// A new file and one that replaces a regular file get a name of their own. All else is written
    /// where it is: devices and exports, images with a data file, whose header names it, and files in
    /// directories that take no new ones.
    ///
    /// # Errors
    /// The present file is in use or cannot be written to, or is the backing file of the new one.
    pub(super) fn before(target: &str, list: &CreateList) -> Result<Self, DiskError> {
        let in_place = || Self { target: target.to_owned(), part: None };
        let path = strip_file_protocol(target);
        if !personality::is_native() || is_export(path) || list.given("data_file").is_some() {
            return Ok(in_place());
        }
        let present = match fs::metadata(path) {
            Ok(present) if present.is_file() => Some(present),
            Ok(_) => return Ok(in_place()),
            // A link that leads nowhere is followed when the file is made.
            Err(_) if fs::symlink_metadata(path).is_ok() => return Ok(in_place()),
            Err(_) => None,
        };
        let end = match &present {
            Some(_) => fs::canonicalize(path)?,
            None => PathBuf::from(path),
        };
        let Some(directory) = directory_for(&end, present.as_ref()) else {
            return Ok(in_place());
        };
        if let Some(backing) = list.given("backing_file").filter(|name| !name.is_empty())
            && present.is_some()
            && identity_of(path) == identity_of(&backing_name(target, backing)?)
        {
            return Err(DiskError::invalid(
                "Error: Trying to create an image with the same filename as the backing file",
            ));
        }
        let present = match present {
            Some(present) => Some((present, lock_present(path, lock_of(list.format()))?)),
            None => None,
        };
        let part =
            directory.join(format!(".holstein-{:016x}.part", RandomState::new().hash_one(0)));
        let Some(name) = part.to_str() else { return Ok(in_place()) };
        let name = match target.len() == path.len() {
            true => name.to_owned(),
            false => format!("file:{name}"),
        };
        let file = Doomed::new(part)?;
        Ok(Self { target: target.to_owned(), part: Some(Part { file, name, end, present }) })
    }

    /// What the image is called while it is being made.
    pub(super) fn name(&self) -> &str {
        self.part.as_ref().map_or(&self.target, |part| &part.name)
    }

    /// Whether signals are taken care of.
    pub(super) fn minds_signals(&self) -> bool {
        self.part.is_some()
    }

    /// The file was made: whoever could not read what is there now cannot read this either.
    ///
    /// # Errors
    /// Its permissions cannot be changed.
    pub(super) fn made(&self) -> Result<(), DiskError> {
        let Some(Part { file, present: Some((present, _)), .. }) = &self.part else {
            return Ok(());
        };
        let own = fs::metadata(file.path())?;
        if (own.uid(), own.gid()) != (present.uid(), present.gid()) {
            // Only the superuser may give files away; everybody else keeps them.
            let _ = chown(file.path(), Some(present.uid()), Some(present.gid()));
        }
        Ok(fs::set_permissions(file.path(), present.permissions())?)
    }

    /// The image is complete and becomes the target.
    ///
    /// # Errors
    /// It cannot be renamed; then the target is as it was.
    pub(super) fn finish(self) -> Result<(), DiskError> {
        let Some(part) = self.part else { return Ok(()) };
        if part.present.is_some() {
            // What is replaced is not given up for bytes that a power cut could still take.
            let synced = fs::File::open(part.file.path()).and_then(|file| file.sync_all());
            synced.map_err(|error| DiskError::from(error).prefixed("Could not flush it: "))?;
        }
        let renamed = part.file.rename(&part.end);
        renamed.map_err(|error| DiskError::from(error).prefixed("Could not take its name: "))
    }

    /// A failure in words that name the target.
    pub(super) fn worded(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Error(prefix, error, status) => {
                Failure::Error(self.with_target(&prefix), self.error(error), status)
            }
            other => other,
        }
    }

    /// An error in words that name the target.
    pub(super) fn error(&self, error: DiskError) -> DiskError {
        error.reworded(|text| self.with_target(text))
    }

    fn with_target(&self, text: &str) -> String {
        let Some(part) = &self.part else { return text.to_owned() };
        let path = strip_file_protocol(&part.name);
        let text = text.replace(&part.name, &self.target);
        text.replace(path, strip_file_protocol(&self.target))
    }
}

/// The lock that making an image of this format takes.
fn lock_of(format: CreateFormat) -> LockMode {
    match format {
        CreateFormat::Raw | CreateFormat::File => LockMode::Exact(ImageLock::CREATE),
        CreateFormat::Luks | CreateFormat::Qcow2 => LockMode::Write,
    }
}

/// The directory of a file, if another one can be made in it that takes the place of the present one.
fn directory_for(end: &Path, present: Option<&Metadata>) -> Option<PathBuf> {
    let directory = match end.parent()? {
        empty if empty.as_os_str().is_empty() => PathBuf::from("."),
        directory => directory.to_owned(),
    };
    let own = fs::metadata(&directory).ok()?;
    if present.is_some_and(|present| present.dev() != own.dev()) {
        // Something else is mounted there.
        return None;
    }
    rustix::fs::access(&directory, Access::WRITE_OK | Access::EXEC_OK).ok()?;
    Some(directory)
}
