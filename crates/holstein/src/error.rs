//! One error for all of the library.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holstein_bitmap::BitmapError;
use holstein_check::{CheckError, RepairError};
use holstein_engine::EngineError;
use holstein_format::{ErrnoClass, FormatError};
use holstein_guard::{GuardError, Region};
use holstein_luks::LuksError;
use holstein_mapping::MapError;
use holstein_refcount::RefcountError;
use holstein_snapshot::SnapshotError;
use holstein_storage::OpenError;

/// What kind of thing went wrong: small and stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not a qcow2 image.
    NotQcow2,
    /// The image contradicts itself.
    Corrupt,
    /// The image or the request needs something that this version does not do.
    Unsupported,
    /// An option or size that makes no sense.
    InvalidInput,
    /// Bytes past the end of the disk were asked for.
    OutOfRange,
    /// Another process has the image open.
    Locked,
    /// No such file.
    NotFound,
    /// The operating system does not allow it.
    PermissionDenied,
    /// No space is left.
    Full,
    /// The image is encrypted, and no passphrase was given.
    NeedsPassphrase,
    /// The passphrase opens no key slot of the image.
    WrongPassphrase,
    /// The image is open, or may be opened, for reading only.
    ReadOnly,
    /// Somebody is using it.
    Busy,
    /// Any other failure of the operating system.
    Io,
}

/// Why an operation on an image failed: a kind, the file where there is one, and the cause.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    path: Option<PathBuf>,
    cause: Cause,
}

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Cause {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{0}")]
    Repair(Arc<RepairError>),
    #[error("{0}")]
    Open(Arc<OpenError>),
    #[error("read the header: {0}")]
    Header(Arc<io::Error>),
    #[error("write the new image: {0}")]
    Create(Arc<io::Error>),
    #[error("backing file {name:?}: {error}")]
    Backing { name: String, error: Box<Error> },
    #[error("{what}: {source}")]
    Copy { what: &'static str, source: Arc<io::Error> },
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    Invalid(String),
    #[error("image is marked dirty: {0}")]
    Dirty(String),
    #[error("image is corrupt; cannot be opened read/write")]
    CorruptBit,
    #[error("the image is encrypted, and no passphrase was given")]
    NeedsPassphrase,
    #[error(transparent)]
    Luks(#[from] LuksError),
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        Cause::Open(Arc::new(error)).into()
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        Cause::Engine(error).into()
    }
}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Self {
        Cause::Format(error).into()
    }
}

impl From<LuksError> for Error {
    fn from(error: LuksError) -> Self {
        Cause::Luks(error).into()
    }
}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        Self(Box::new(Inner { path: None, cause }))
    }
}

impl Error {
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.0.path.get_or_insert_with(|| path.to_path_buf());
        self
    }

    /// The same error, of a backing file that an image names.
    pub(crate) fn in_backing(self, name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(name).into_owned();
        Cause::Backing { name, error: Box::new(self) }.into()
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match &self.0.cause {
            Cause::Engine(EngineError::Header(_)) => ErrorKind::InvalidInput,
            Cause::Engine(error) => engine_kind(error),
            Cause::Format(FormatError::BadMagic { .. }) => ErrorKind::NotQcow2,
            Cause::Format(error) => match error.errno_class() {
                ErrnoClass::NotSupported => ErrorKind::Unsupported,
                ErrnoClass::Invalid | ErrnoClass::TooBig => ErrorKind::Corrupt,
                ErrnoClass::Access => ErrorKind::ReadOnly,
            },
            Cause::Repair(error) => repair_kind(error),
            Cause::Open(error) => match &**error {
                OpenError::Io { source, .. } => io_kind(source),
                OpenError::Lock { .. } => ErrorKind::Locked,
                _ => ErrorKind::InvalidInput,
            },
            Cause::Header(error) | Cause::Create(error) => io_kind(error),
            Cause::Backing { error, .. } => error.kind(),
            Cause::Copy { source, .. } => inner(source).map_or_else(|| io_kind(source), Self::kind),
            Cause::Refused(_) => ErrorKind::PermissionDenied,
            Cause::Unsupported(_) => ErrorKind::Unsupported,
            Cause::Invalid(_) => ErrorKind::InvalidInput,
            Cause::CorruptBit | Cause::Dirty(_) => ErrorKind::ReadOnly,
            Cause::NeedsPassphrase => ErrorKind::NeedsPassphrase,
            Cause::Luks(error) => luks_kind(error),
        }
    }

    /// Whether the image was found to be corrupt just now, in tables or by what they name: a request
    /// for writing that fails with it marks the image.
    #[must_use]
    pub fn finds_corruption(&self) -> bool {
        matches!(&self.0.cause, Cause::Engine(error) if error.is_corruption())
    }

    /// The file, where the error is about one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The number that the operating system would use: EIO for a corrupt image.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        if let Some(number) = self.io().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        if let Cause::Engine(EngineError::Occupied { .. }) = self.0.cause {
            return Some(5);
        }
        if let Cause::Engine(EngineError::MarkedCorrupt) = &self.0.cause {
            // As if the disk was taken out.
            return Some(123);
        }
        Some(match self.kind() {
            ErrorKind::Corrupt | ErrorKind::OutOfRange | ErrorKind::Io => 5,
            ErrorKind::InvalidInput | ErrorKind::NotQcow2 | ErrorKind::NeedsPassphrase => 22,
            // The operation is not permitted.
            ErrorKind::WrongPassphrase => 1,
            ErrorKind::Unsupported => 95,
            ErrorKind::Full => 28,
            ErrorKind::ReadOnly | ErrorKind::PermissionDenied => 13,
            ErrorKind::NotFound => 2,
            ErrorKind::Locked => 11,
            ErrorKind::Busy => 16,
        })
    }

    /// The error of the operating system below, where there is one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        let found = match &self.0.cause {
            Cause::Engine(error) => error.io(),
            Cause::Backing { error, .. } => error.io(),
            Cause::Copy { source, .. } => Some(&**source),
            Cause::Header(error) | Cause::Create(error) | Cause::Luks(LuksError::Io(error)) => {
                Some(&**error)
            }
            Cause::Open(error) => match &**error {
                OpenError::Io { source, .. } => Some(source),
                _ => None,
            },
            _ => None,
        };
        // An error of a layer below travels inside of one of the system.
        match found.and_then(inner) {
            Some(error) => error.io().or(found),
            None => found,
        }
    }

    /// Which metadata a write would have hit, where it was refused for that.
    #[must_use]
    pub fn overlap(&self) -> Option<Region> {
        let Cause::Engine(error) = &self.0.cause else { return None };
        let of_guard = |error: &GuardError| match error {
            GuardError::Overlap { hit, .. } => Some(*hit),
            _ => None,
        };
        match error {
            EngineError::Guard(error) | EngineError::Map(MapError::Guard(error)) => of_guard(error),
            EngineError::Map(MapError::Refcount(error)) => match error {
                RefcountError::Guard(error) => of_guard(error),
                RefcountError::FreeMetadata { region, .. } => Some(*region),
                _ => None,
            },
            _ => None,
        }
    }

    /// The header's fault, where the header is at fault.
    #[must_use]
    pub fn format_error(&self) -> Option<&FormatError> {
        match &self.0.cause {
            Cause::Format(error) | Cause::Engine(EngineError::Header(error)) => Some(error),
            _ => None,
        }
    }

    /// What is wrong with the LUKS header, the passphrase or a key slot, where that is the reason.
    #[must_use]
    pub fn luks_error(&self) -> Option<&LuksError> {
        match &self.0.cause {
            Cause::Luks(error) => Some(error),
            _ => None,
        }
    }

    /// Why clusters could not be counted, where that is the reason.
    #[must_use]
    pub fn refcount_error(&self) -> Option<&RefcountError> {
        match &self.0.cause {
            Cause::Engine(EngineError::Map(MapError::Refcount(error))) => Some(error),
            _ => None,
        }
    }

    /// What is wrong with a bitmap, where that is the reason.
    #[must_use]
    pub fn bitmap_error(&self) -> Option<&BitmapError> {
        match &self.0.cause {
            Cause::Engine(EngineError::Bitmap(error)) => Some(error),
            _ => None,
        }
    }

    /// The bitmap that could not be stored when the image was closed, and why, where that is the
    /// reason: from then on all bitmaps of the image are inconsistent.
    #[must_use]
    pub fn lost_bitmap(&self) -> Option<(&[u8], Self)> {
        match &self.0.cause {
            Cause::Engine(EngineError::BitmapLost { name, source }) => {
                Some((name, Cause::Engine((**source).clone()).into()))
            }
            _ => None,
        }
    }

    /// Why the file could not be opened, where that is the reason.
    #[must_use]
    pub fn open_error(&self) -> Option<&OpenError> {
        match &self.0.cause {
            Cause::Open(error) => Some(error),
            _ => None,
        }
    }
}

/// The error of this library that an error of the system carries.
fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        _ => ErrorKind::Io,
    }
}

fn repair_kind(error: &RepairError) -> ErrorKind {
    match error {
        RepairError::Check(CheckError::Header(FormatError::BadMagic { .. })) => ErrorKind::NotQcow2,
        RepairError::Check(CheckError::Read { source, .. }) => io_kind(source),
        RepairError::File(error) => error.io().map_or(ErrorKind::Io, io_kind),
        _ => ErrorKind::Corrupt,
    }
}

fn luks_kind(error: &LuksError) -> ErrorKind {
    match error {
        LuksError::Passphrase => ErrorKind::WrongPassphrase,
        LuksError::Version { .. }
        | LuksError::Unsupported { .. }
        | LuksError::EssivKey { .. }
        | LuksError::TooMuchWork { .. } => ErrorKind::Unsupported,
        LuksError::Magic
        | LuksError::Short { .. }
        | LuksError::Text { .. }
        | LuksError::Field { .. }
        | LuksError::SlotField { .. }
        | LuksError::Overlap { .. }
        | LuksError::KeyLength { .. } => ErrorKind::Corrupt,
        LuksError::Io(error) => io_kind(error),
        LuksError::Random(_) => ErrorKind::Io,
        _ => ErrorKind::InvalidInput,
    }
}

fn bitmap_kind(error: &BitmapError) -> ErrorKind {
    match error {
        BitmapError::NotFound { .. } => ErrorKind::NotFound,
        BitmapError::Directory { .. } | BitmapError::Inconsistent { .. } => ErrorKind::Corrupt,
        BitmapError::Version2 | BitmapError::Present => ErrorKind::Unsupported,
        _ => ErrorKind::InvalidInput,
    }
}

fn engine_kind(error: &EngineError) -> ErrorKind {
    match error {
        EngineError::OutOfRange { .. } => ErrorKind::OutOfRange,
        EngineError::ReadOnly => ErrorKind::ReadOnly,
        EngineError::CompressWithDataFile => ErrorKind::Unsupported,
        EngineError::MarkedCorrupt => ErrorKind::Corrupt,
        EngineError::Compressed { .. } => ErrorKind::Corrupt,
        EngineError::CompressEncrypted => ErrorKind::Unsupported,
        EngineError::CacheSizes(_) | EngineError::LazyVersion => ErrorKind::InvalidInput,
        EngineError::Unaligned { .. } | EngineError::Occupied { .. } => ErrorKind::InvalidInput,
        EngineError::Amend { .. } => ErrorKind::Unsupported,
        EngineError::Stale => ErrorKind::ReadOnly,
        EngineError::Map(MapError::Refcount(RefcountError::Narrow { .. })) => {
            ErrorKind::InvalidInput
        }
        EngineError::Resize { .. } => ErrorKind::InvalidInput,
        EngineError::Bitmap(error) => bitmap_kind(error),
        EngineError::BitmapLost { source, .. } => engine_kind(source),
        EngineError::NoSnapshot => ErrorKind::NotFound,
        EngineError::SnapshotBusy => ErrorKind::Busy,
        EngineError::SnapshotDataFile => ErrorKind::Unsupported,
        EngineError::Snapshot(SnapshotError::Full { .. } | SnapshotError::New { .. }) => {
            ErrorKind::InvalidInput
        }
        EngineError::Snapshot(SnapshotError::Read { source, .. }) => io_kind(source),
        EngineError::Snapshot(_) | EngineError::SnapshotRecord { .. } => ErrorKind::Corrupt,
        EngineError::SnapshotSize { why, .. } if why.starts_with("a version 2") => {
            ErrorKind::Unsupported
        }
        EngineError::SnapshotSize { .. } => ErrorKind::Corrupt,
        EngineError::Map(MapError::Refcount(RefcountError::Overflow { .. })) => {
            ErrorKind::InvalidInput
        }
        EngineError::Map(MapError::Refcount(RefcountError::Full { .. })) => ErrorKind::Full,
        EngineError::Map(MapError::L1TooLarge { .. }) => ErrorKind::InvalidInput,
        EngineError::Guard(GuardError::ShortTable { .. })
        | EngineError::Map(
            MapError::Guard(GuardError::ShortTable { .. })
            | MapError::Refcount(RefcountError::Guard(GuardError::ShortTable { .. })),
        ) => ErrorKind::Corrupt,
        error if error.is_corruption() => ErrorKind::Corrupt,
        error => error.io().map_or(ErrorKind::Io, io_kind),
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.0.path, &self.0.cause) {
            // The cause names the file already.
            (_, Cause::Open(_)) | (None, _) => write!(f, "{}", self.0.cause),
            (Some(path), cause) => write!(f, "{path:?}: {cause}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            Cause::Engine(error) => error.source(),
            Cause::Format(error) => error.source(),
            Cause::Repair(error) => error.source(),
            Cause::Open(error) => error.source(),
            Cause::Header(error) | Cause::Create(error) => Some(&**error),
            Cause::Backing { error, .. } => Some(&**error),
            Cause::Copy { source, .. } => Some(&**source),
            Cause::Luks(error) => error.source(),
            Cause::Refused(_)
            | Cause::Unsupported(_)
            | Cause::Invalid(_)
            | Cause::CorruptBit
            | Cause::Dirty(_)
            | Cause::NeedsPassphrase => None,
        }
    }
}
