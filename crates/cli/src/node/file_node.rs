//! The bytes under a format: a file, a device, or another disk.

use std::path::Path;
use std::sync::Arc;

use holstein_storage::{
    FileIdentity, FileOptions, FileStorage, ImageLock, LockMode, OpenError, Storage, SyncMode,
};
use holstein_units::HostOffset;

use super::generic::read_only_node;
use super::keep_space::under_options;
use super::layer::{MAX_DEPTH, open_tree};
use super::lock_wait::{named, open_when_free};
use super::nbd::ExportStates;
use super::probe::PROBE_LEN;
use super::{Debugger, Driver, Generic, OpenFlags, Options, Probed, blkdebug, nbd, probe};
use crate::disk::{DiskError, DiskStorage};
use crate::objects::Objects;
use crate::text::Json;

/// Which locks a node takes on its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockKind {
    /// Those of raw bytes, which others may change.
    Raw,
    /// Those of a format, which nobody else may change.
    Format,
    /// Those of the payload of an image, which nobody else may cut.
    Data,
}

/// A node of bytes that is open.
#[derive(Clone)]
pub(crate) struct FileNode {
    /// The bytes.
    pub(crate) storage: Arc<dyn Storage>,
    /// The driver's name.
    pub(crate) driver: &'static str,
    /// The name by which it is shown.
    pub(crate) name: String,
    /// Which file it is, if it is one.
    pub(crate) identity: Option<FileIdentity>,
    /// The node under it, where it is a format itself.
    pub(crate) child: Option<Box<FileNode>>,
    /// The file, to ask how much space it takes.
    file: Option<Arc<FileStorage>>,
    /// Options under which it was opened that are not its name, for canonical names.
    pub(crate) tree: Option<Json>,
    /// The name alone leads here again.
    pub(crate) plain_name: bool,
    /// The rules by which requests fail and stop, where there are any.
    pub(crate) debugger: Option<Arc<Debugger>>,
    /// What a server says about its parts, where they are the bytes of an export.
    pub(crate) states: Option<ExportStates>,
}

impl FileNode {
    /// Bytes that the node takes on its file system, if that is known.
    pub(crate) fn allocated(&self) -> Option<u64> {
        match (&self.file, &self.child) {
            (Some(file), _) => file.allocated().ok(),
            (None, _) if self.driver == Driver::Blkdebug.name() => None,
            (None, Some(child)) => child.allocated(),
            (None, None) => self.is_null().then_some(0),
        }
    }

    /// The path of the file that holds the bytes in the end, where that is one.
    pub(crate) fn path(&self) -> Option<&str> {
        let mut node = self;
        while let Some(child) = &node.child {
            node = child;
        }
        node.file.as_ref().map(|_| node.name.as_str())
    }

    /// Whether its bytes are those of a server or of nobody, and nothing is said of how they were left.
    pub(crate) fn has_no_file(&self) -> bool {
        match &self.child {
            Some(child) => self.driver == Driver::Raw.name() && child.has_no_file(),
            None => self.driver == Driver::Nbd.name() || self.is_null(),
        }
    }

    fn is_null(&self) -> bool {
        self.driver == Driver::NullCo.name() || self.driver == Driver::NullAio.name()
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> Result<u64, DiskError> {
        Ok(self.storage.len()?)
    }

    /// The first bytes, as many as probing looks at.
    pub(crate) fn start(&self) -> Result<Vec<u8>, DiskError> {
        let mut start = vec![0; PROBE_LEN];
        let len = self.storage.read_at(HostOffset::new(0), &mut start)?;
        start.truncate(len);
        Ok(start)
    }

    /// Opens the node that `options` describe; `lock` is asked once the start of the file is known.
    ///
    /// # Errors
    /// The file cannot be opened or locked, or the options are not those of its driver.
    pub(crate) fn open(
        mut options: Options,
        flags: &OpenFlags,
        depth: usize,
        lock: &mut dyn FnMut(&[u8]) -> Result<LockKind, DiskError>,
    ) -> Result<Self, DiskError> {
        let driver = match options.take_text("driver")? {
            Some(name) => Driver::named(&name)?,
            None if options.has("filename") => Driver::File,
            None => return Err(DiskError::invalid("Must specify either driver or file")),
        };
        match driver {
            Driver::File | Driver::HostDevice | Driver::HostCdrom => {
                open_file(driver, options, flags, lock)
            }
            Driver::Nbd => nbd::open(options, flags),
            Driver::Blkdebug if depth < MAX_DEPTH => blkdebug::open(options, flags, depth, lock),
            _ => {
                options.set("driver", driver.name());
                let layer = open_tree(options, flags, depth + 1)?;
                Self::over_disk(layer)
            }
        }
    }

    /// A node over a whole disk of another format.
    fn over_disk(layer: super::Layer) -> Result<Self, DiskError> {
        let name = layer.name.clone();
        let driver = layer.driver.name();
        let identity = layer.file.as_ref().and_then(|file| file.identity);
        let tree = layer.tree();
        // A raw node without a window is its file, unless rules below want to hear of it.
        let debugger = layer.file.as_ref().and_then(|file| file.debugger.clone());
        if layer.driver == Driver::Raw && layer.options.is_empty() && debugger.is_none() {
            let child = layer.file.ok_or_else(|| DiskError::invalid("a raw node has a file"))?;
            return Ok(Self {
                identity,
                debugger: child.debugger.clone(),
                states: child.states.clone(),
                ..Self::of(Arc::clone(&child.storage), driver, name, tree).above(child)
            });
        }
        let child = layer.file.clone();
        let is_null = matches!(layer.driver, Driver::NullCo | Driver::NullAio);
        let plain_name = is_null && !name.starts_with("json:");
        // Secrets are for the image that a command opens, not for what it lies in.
        let disk = layer.into_disk(&Objects::default())?;
        let storage: Arc<dyn Storage> = Arc::new(DiskStorage::new(disk));
        let node = Self::of(storage, driver, name, tree);
        let node = Self { identity, plain_name, debugger, ..node };
        Ok(match child {
            Some(child) => node.above(child),
            None => node,
        })
    }

    /// A node that has nothing but its bytes and what it is called.
    fn of(storage: Arc<dyn Storage>, driver: &'static str, name: String, tree: Json) -> Self {
        Self {
            storage,
            driver,
            name,
            identity: None,
            child: None,
            file: None,
            tree: Some(tree),
            plain_name: false,
            debugger: None,
            states: None,
        }
    }

    /// The node above another.
    fn above(self, child: Self) -> Self {
        Self { child: Some(Box::new(child)), ..self }
    }

    /// A node of bytes that lie elsewhere.
    pub(super) fn remote(
        storage: Arc<dyn Storage>,
        driver: &'static str,
        name: String,
        tree: Json,
        states: ExportStates,
    ) -> Self {
        let node = Self::of(storage, driver, name, tree);
        Self { plain_name: true, states: Some(states), ..node }
    }

    /// A debugging node over `child`.
    pub(super) fn debugging(
        storage: Arc<dyn Storage>,
        name: String,
        plain_name: bool,
        tree: Json,
        child: Self,
        debugger: Arc<Debugger>,
    ) -> Self {
        let (identity, debugger) = (child.identity, Some(debugger));
        let node = Self::of(storage, Driver::Blkdebug.name(), name, tree).above(child);
        Self { identity, plain_name, debugger, ..node }
    }

    /// The node in its canonical form.
    pub(super) fn shown_tree(&self) -> Json {
        self.tree.clone().unwrap_or_else(|| {
            Json::map([("driver", self.driver.into()), ("filename", self.name.as_str().into())])
        })
    }
}

/// Opens a file or device.
fn open_file(
    driver: Driver,
    mut options: Options,
    flags: &OpenFlags,
    lock: &mut dyn FnMut(&[u8]) -> Result<LockKind, DiskError>,
) -> Result<FileNode, DiskError> {
    let generic = Generic::take(&mut options, flags, false)?;
    generic.check_below()?;
    let filename = options.take_text("filename")?.unwrap_or_default();
    let locking = take_locking(&mut options)?;
    take_host_options(&mut options, &generic)?;
    if let Some(unknown) = options.first_key() {
        return Err(DiskError::invalid(format!(
            "Block protocol '{}' doesn't support the option '{unknown}'",
            driver.name()
        )));
    }
    if filename.is_empty() {
        return Err(DiskError::invalid(format!(
            "The '{}' block driver requires a file name",
            driver.name()
        )));
    }
    let special = driver != Driver::File;
    if special {
        require_device(&filename, driver)?;
    }
    let kind = lock(&start_of(&filename, special)?)?;
    let open = |write: bool| {
        let lock = match (locking, generic.share, kind, write) {
            (false, ..) => LockMode::None,
            (true, true, ..) => LockMode::ReadShared,
            (true, false, LockKind::Raw, false) => LockMode::Exact(ImageLock::READ_SHARED),
            (true, false, LockKind::Raw, true) => LockMode::Exact(ImageLock::WRITE_SHARED),
            (true, false, LockKind::Format, false) => LockMode::Read,
            (true, false, LockKind::Format, true) => LockMode::Write,
            (true, false, LockKind::Data, false) => LockMode::Exact(ImageLock::READ_DATA),
            (true, false, LockKind::Data, true) => LockMode::Exact(ImageLock::WRITE_DATA),
        };
        let file_options = FileOptions {
            write,
            direct: generic.cache.direct,
            lock,
            sync: if generic.cache.no_flush { SyncMode::Unsafe } else { SyncMode::Normal },
            allow_special: special,
            streaming: generic.cache.streaming,
            ..FileOptions::default()
        };
        open_when_free(Path::new(&filename), &file_options)
    };
    let file = match open(generic.writable) {
        // Whoever asks for writing does not get it, but a node that could be read.
        Err(OpenError::Io { source, .. })
            if generic.writable && generic.auto_read_only && forbids_writing(&source) =>
        {
            return Err(match open(false) {
                Ok(_) => read_only_node(),
                Err(error) => open_error(&error),
            });
        }
        opened => opened,
    };
    let file = Arc::new(file.map_err(|error| open_error(&error))?);
    generic.check_writer(flags)?;
    let driver = match (special, file.is_block_device()) {
        (false, true) => Driver::HostDevice,
        _ => driver,
    };
    let storage = Arc::clone(&file) as Arc<dyn Storage>;
    Ok(FileNode {
        identity: Some(file.identity()),
        storage: under_options(storage, &generic),
        driver: driver.name(),
        name: filename,
        child: None,
        file: Some(file),
        tree: None,
        plain_name: true,
        debugger: None,
        states: None,
    })
}

/// Refuses what is no device; a name that leads nowhere is left to opening it.
fn require_device(filename: &str, driver: Driver) -> Result<(), DiskError> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::metadata(filename) {
        Ok(meta) if meta.file_type().is_char_device() || meta.file_type().is_block_device() => {
            Ok(())
        }
        Ok(_) => Err(DiskError::invalid(format!(
            "'{}' driver requires '{filename}' to be either a character or block device",
            driver.name()
        ))),
        Err(_) => Ok(()),
    }
}

fn forbids_writing(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

/// The first bytes of a file, without a lock on it.
fn start_of(filename: &str, special: bool) -> Result<Vec<u8>, DiskError> {
    let options =
        FileOptions { lock: LockMode::None, allow_special: special, ..FileOptions::default() };
    let file = FileStorage::open(Path::new(filename), &options).map_err(|e| open_error(&e))?;
    let mut start = vec![0; PROBE_LEN];
    let len = file.read_at(HostOffset::new(0), &mut start)?;
    start.truncate(len);
    Ok(start)
}

/// Which file a path leads to, if it leads to one.
pub(crate) fn identity_of(path: &str) -> Option<FileIdentity> {
    let options = FileOptions { lock: LockMode::None, ..FileOptions::default() };
    FileStorage::open(Path::new(path), &options).ok().map(|file| file.identity())
}

/// Whether locks are wanted.
fn take_locking(options: &mut Options) -> Result<bool, DiskError> {
    match options.take_text("locking")?.as_deref() {
        None | Some("auto" | "on") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(DiskError::invalid(format!("invalid parameter value: {other}"))),
    }
}

/// Options about how requests are made, each judged by its values.
///
/// None of those that are taken can change what a request does here. Under `aio` all values give the
/// same results, and every request is a system call of its own: no batch is larger than
/// `aio-max-batch` allows. `drop-cache` is about the page cache after a migration, which nothing here
/// does.
fn take_host_options(options: &mut Options, generic: &Generic) -> Result<(), DiskError> {
    match options.take_text("aio")?.as_deref() {
        None | Some("threads" | "io_uring") => {}
        Some("native") if generic.cache.direct => {}
        Some("native") => {
            return Err(DiskError::invalid(
                "aio=native was specified, but it requires cache.direct=on, which was not \
                 specified.",
            ));
        }
        Some(other) => {
            return Err(DiskError::invalid(format!("invalid parameter value: {other}")));
        }
    }
    options.take_number("aio-max-batch")?;
    options.take_bool("drop-cache")?;
    for refused in ["pr-manager", "x-check-cache-dropped"] {
        if options.has(refused) {
            return Err(DiskError::unsupported(format!(
                "the option '{refused}' is not available in this version"
            )));
        }
    }
    Ok(())
}

/// The reference's words for a file that cannot be opened.
pub(crate) fn open_error(error: &OpenError) -> DiskError {
    let path = error.path().display();
    match error {
        OpenError::Io { source, .. } => {
            let error = DiskError::from(source);
            error.prefixed(format_args!("Could not open '{path}': "))
        }
        OpenError::FileType { .. } => {
            DiskError::invalid(format!("'file' driver requires '{path}' to be a regular file"))
        }
        OpenError::Lock { source, holders, .. } => {
            let hint = format!("Is another process using the image [{path}]?");
            let hint = match named(holders).as_str() {
                "" => hint,
                by => format!("{hint} It is held{by}; --wait waits for it."),
            };
            DiskError::new(libc::EAGAIN, source.to_string()).with_hint(hint)
        }
        other => DiskError::new(libc::EIO, other.to_string()),
    }
}

/// Which locks an image takes whose format is not given.
pub(crate) fn probed_lock(start: &[u8]) -> LockKind {
    match probe(start) {
        Probed::Raw => LockKind::Raw,
        Probed::Qcow2 | Probed::Other(_) => LockKind::Format,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(options: Options) -> Result<FileNode, String> {
        let mut lock = |_: &[u8]| Ok(LockKind::Raw);
        open_file(Driver::File, options, &OpenFlags::READ, &mut lock)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_of_options_has_those_of_files() {
        let options = Options::default();
        let asked = options.asked.clone();
        assert!(open(options).is_err(), "a file has a name");
        let every = crate::option_table::listed("Every node");
        let own = asked.keys().into_iter().filter(|key| !every.contains(key)).collect();
        assert_eq!(crate::option_table::listed("Files"), own);
    }

    #[test]
    fn what_a_node_of_bytes_cannot_do_is_refused() {
        let later = "is not available in this version";
        for (text, error) in [
            ("pr-manager=x", format!("the option 'pr-manager' {later}")),
            ("x-check-cache-dropped=on", format!("the option 'x-check-cache-dropped' {later}")),
            (
                "detect-zeroes=on",
                "the option 'detect-zeroes' is not available for a node under another in this \
                 version"
                    .to_owned(),
            ),
        ] {
            let options = Options::parse(&format!("filename=x,{text}"), None);
            assert_eq!(open(options).err(), Some(error), "{text}");
        }
    }
}
