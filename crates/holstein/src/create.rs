//! Creating images.

use std::path::Path;
use std::sync::Arc;

use holstein_crypto::Secret;
use holstein_engine::{Backing, NoProgress, Preallocation, Progress};
use holstein_format::{
    AutoclearFeatures, CompatibleFeatures, CompressionType, CryptMethod, Header, HeaderExtension,
    IncompatibleFeatures, RefcountOrder, RefcountTableEntry, Version,
};
use holstein_luks::{Format, Limits};
use holstein_storage::{Create, FileOptions, FileStorage, LockMode, Storage};
use holstein_units::{ClusterBits, Geometry, HostOffset, SECTOR};

use crate::error::Cause;
use crate::luks_area::by_key;
use crate::unflushed::Unflushed;
use crate::{Error, Image, OpenOptions};

/// What a new image is to be.
///
/// ```
/// use std::sync::Arc;
/// use holstein::{CreateOptions, storage::MemStorage};
///
/// let file = Arc::new(MemStorage::new());
/// let image = CreateOptions::new(64 << 20).cluster_size(4096).create_on(file)?;
/// assert_eq!(image.virtual_size(), 64 << 20);
/// # Ok::<(), holstein::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct CreateOptions {
    size: u64,
    version: Version,
    cluster_size: u64,
    refcount_bits: u32,
    lazy_refcounts: bool,
    extended_l2: bool,
    data_file: Option<(Vec<u8>, Arc<dyn Storage>, bool)>,
    compression: CompressionType,
    preallocation: Preallocation,
    legacy_aes: Option<Secret>,
    luks: Option<(Format, Secret)>,
    backing_file: Option<Vec<u8>>,
    backing_format: Option<Vec<u8>>,
    backing: Option<Arc<dyn Backing>>,
    file: Option<FileOptions>,
}

impl CreateOptions {
    /// A disk of `size` bytes, rounded up to 512; version 3, 64 KiB clusters, 16-bit refcounts.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            version: Version::V3,
            cluster_size: 1 << holstein_format::limits::DEFAULT_CLUSTER_BITS,
            refcount_bits: 16,
            lazy_refcounts: false,
            extended_l2: false,
            data_file: None,
            compression: CompressionType::Deflate,
            preallocation: Preallocation::Off,
            legacy_aes: None,
            luks: None,
            backing_file: None,
            backing_format: None,
            backing: None,
            file: None,
        }
    }

    /// The version of the format (`compat`).
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Bytes of a cluster: a power of two from 512 to 2 MiB.
    pub fn cluster_size(mut self, bytes: u64) -> Self {
        self.cluster_size = bytes;
        self
    }

    /// The width of refcounts: 1, 2, 4, 8, 16, 32 or 64; 16 in version 2.
    pub fn refcount_bits(mut self, bits: u32) -> Self {
        self.refcount_bits = bits;
        self
    }

    /// Allows writers to postpone refcount updates; version 3 only.
    pub fn lazy_refcounts(mut self, lazy: bool) -> Self {
        self.lazy_refcounts = lazy;
        self
    }

    /// Asks for extended L2 entries, which this version refuses.
    pub fn extended_l2(mut self, extended: bool) -> Self {
        self.extended_l2 = extended;
        self
    }

    /// How compressed clusters are compressed.
    pub fn compression(mut self, compression: CompressionType) -> Self {
        self.compression = compression;
        self
    }

    /// Encrypts the disk with the first encryption of the format, AES-128-CBC, for programs that know
    /// no other: the passphrase itself is the key, a wrong one is not noticed, and neither is a change
    /// that somebody makes to the file.
    pub fn legacy_aes(mut self, passphrase: Secret) -> Self {
        self.legacy_aes = Some(passphrase);
        self
    }

    /// Encrypts the disk under LUKS: `format` says with what, and how long it takes to try a passphrase.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use holstein::{CreateOptions, ErrorKind, OpenOptions, Secret, luks, storage::MemStorage};
    ///
    /// let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    /// let format = luks::Format { iter_time: Duration::from_millis(1), ..luks::Format::default() };
    /// let file = Arc::new(MemStorage::new());
    /// let image = CreateOptions::new(1 << 20).luks(format, secret("hunter2")).create_on(file.clone())?;
    /// image.write_at(0, b"hello")?;
    /// image.close()?;
    ///
    /// let wrong = OpenOptions::new().passphrase(secret("hunter3")).open_storage_read_only(file.clone());
    /// assert_eq!(wrong.unwrap_err().kind(), ErrorKind::WrongPassphrase);
    /// let image = OpenOptions::new().passphrase(secret("hunter2")).open_storage_read_only(file)?;
    /// let mut bytes = [0; 5];
    /// image.read_at(0, &mut bytes)?;
    /// assert_eq!(&bytes, b"hello");
    /// # Ok::<(), holstein::Error>(())
    /// ```
    pub fn luks(mut self, format: Format, passphrase: Secret) -> Self {
        self.luks = Some((format, passphrase));
        self
    }

    /// How much is done for the space of the disk; all of it is written where it is encrypted.
    pub fn preallocation(mut self, preallocation: Preallocation) -> Self {
        self.preallocation = preallocation;
        self
    }

    /// The name and format of the backing file, stored as they are; the file is not opened.
    pub fn backing_file(mut self, name: Vec<u8>, format: Option<Vec<u8>>) -> Self {
        self.backing_file = Some(name);
        self.backing_format = format;
        self
    }

    /// What unallocated clusters of the image that is returned show; zeros without this.
    pub fn backing(mut self, backing: Option<Arc<dyn Backing>>) -> Self {
        self.backing = backing;
        self
    }

    /// Puts payload into another file: `name` is stored as it is, `data` is the file. With `raw` the
    /// data file always reads as the disk does.
    pub fn data_file(mut self, name: Vec<u8>, data: Arc<dyn Storage>, raw: bool) -> Self {
        self.data_file = Some((name, data, raw));
        self
    }

    /// How [`Self::create`] opens the file.
    pub fn file_options(mut self, options: FileOptions) -> Self {
        self.file = Some(options);
        self
    }

    /// Creates the image at `path`, in place of what is there.
    ///
    /// # Errors
    /// As for [`Self::create_on`]; a file that was made here is left for the caller to remove.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<Image, Error> {
        let path = path.as_ref();
        self.header()?;
        let mut options = self.file.unwrap_or(FileOptions {
            lock: LockMode::Write,
            create: Create::Truncate,
            ..FileOptions::default()
        });
        options.write = true;
        let storage = FileStorage::open(path, &options)?;
        self.create_on(Arc::new(storage)).map_err(|e| e.at(path))
    }

    /// Creates the image in `storage`, whose old content does not matter.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for options that do not go together;
    /// [`crate::ErrorKind::Unsupported`]; I/O.
    pub fn create_on(&self, storage: Arc<dyn Storage>) -> Result<Image, Error> {
        self.create_on_with(storage, &mut NoProgress)
    }

    /// As [`Self::create_on`]; `progress` hears how many bytes of the disk have their space, where there is
    /// preallocation.
    ///
    /// # Errors
    /// As for [`Self::create_on`].
    pub fn create_on_with(
        &self,
        storage: Arc<dyn Storage>,
        progress: &mut dyn Progress,
    ) -> Result<Image, Error> {
        let header = self.header()?;
        let luks = self.luks.as_ref().map(|(format, passphrase)| format.format(passphrase));
        let luks = luks.transpose()?;
        let failed = |e| Error::from(Cause::Create(Arc::new(e)));
        if storage.capabilities().resizable {
            storage.set_len(0).map_err(failed)?;
        }
        write_empty(&*storage, &header).map_err(failed)?;
        // Grown without its backing, which the new range is to show rather than to hide.
        let mut options = OpenOptions::new();
        if let Some(passphrase) = &self.legacy_aes {
            options = options.passphrase(passphrase.clone());
        }
        if let Some((_, data, _)) = &self.data_file {
            if data.capabilities().resizable {
                data.set_len(0).map_err(failed)?;
            }
            options = options.data_file(Arc::clone(data));
        }
        let mut alone = options.clone().no_backing();
        // Nothing has been promised yet: one barrier at the end is as good as many on the way.
        let unflushed: Arc<dyn Storage> = Arc::new(Unflushed(Arc::clone(&storage)));
        let mut disk = alone.open_disk(Arc::clone(&unflushed), &header, true)?;
        let size = self.size.div_ceil(SECTOR) * SECTOR;
        if let Some(luks) = luks {
            let raw = matches!(self.data_file, Some((_, _, true)));
            if self.preallocation == Preallocation::Off && !raw {
                // The tables come first, as in images of others, where no payload has to be encrypted.
                disk.resize(size, Preallocation::Off, &mut NoProgress)?;
            }
            disk.add_encryption_area(&luks.bytes)?;
            let header = disk.header();
            drop(disk);
            let unlocked = by_key(luks.key, Limits::default())?;
            options = options.unlocked(unlocked.clone());
            alone = alone.unlocked(unlocked);
            disk = alone.open_disk(unflushed, &header, true)?;
        }
        disk.resize(size, self.preallocation, progress)?;
        disk.close()?;
        drop(disk);
        storage.flush().map_err(failed)?;
        match &self.backing {
            Some(_) => options.backing(self.backing.clone()).open_storage(storage),
            None => alone.open_storage(storage),
        }
    }

    /// The header of the image while it is empty: header, refcount table and one block.
    fn header(&self) -> Result<Header, Error> {
        let invalid = |what: String| Err(Error::from(Cause::Invalid(what)));
        let Some(bits) = ClusterBits::from_size(self.cluster_size) else {
            return invalid(format!(
                "cluster size {} is not a power of two from 512 to 2 MiB",
                self.cluster_size
            ));
        };
        let Some(order) = RefcountOrder::from_bits(self.refcount_bits) else {
            return invalid(format!(
                "refcount width {} is not a power of two up to 64",
                self.refcount_bits
            ));
        };
        if self.version == Version::V2 {
            let needs = |what| invalid(format!("version 2 images have no {what}"));
            if self.refcount_bits != 16 {
                return needs("refcounts of other widths than 16 bits");
            }
            if self.lazy_refcounts {
                return needs("lazy refcounts");
            }
            if self.extended_l2 {
                return needs("extended L2 entries");
            }
            if self.data_file.is_some() {
                return needs("external data file");
            }
            if self.compression != CompressionType::Deflate {
                return needs("compression type");
            }
        }
        if self.backing_file.is_none() && self.backing_format.is_some() {
            return invalid("a backing format needs a backing file".to_owned());
        }
        if self.extended_l2 && self.cluster_size < 16384 {
            let size = self.cluster_size;
            return invalid(format!(
                "clusters of {size} bytes are too small for extended L2 entries"
            ));
        }
        // Preallocated subclusters still show the backing file.
        let hides = self.preallocation != Preallocation::Off && !self.extended_l2;
        if self.backing_file.is_some() && hides {
            return invalid("preallocation would hide the backing file".to_owned());
        }
        if let Some((_, _, true)) = &self.data_file
            && self.backing_file.is_some()
        {
            return invalid("a raw data file and a backing file exclude each other".to_owned());
        }
        let geometry = Geometry::new(bits, self.extended_l2);
        let max_entries = holstein_format::limits::MAX_L1_BYTES / 8;
        if geometry.l1_entries_for(self.size) > max_entries || self.size > i64::MAX.unsigned_abs() {
            return invalid(format!(
                "{} bytes are too many for clusters of {} bytes",
                self.size, self.cluster_size
            ));
        }
        let mut header = Header::new(self.version, geometry, 0);
        header.refcount_order = order;
        header.compression = self.compression;
        if self.compression != CompressionType::Deflate {
            header.incompatible.insert(IncompatibleFeatures::COMPRESSION);
        }
        if let Some((format, _)) = &self.luks {
            if self.legacy_aes.is_some() {
                return invalid("a disk is encrypted in one way".to_owned());
            }
            if let Err(error) = format.area_bytes() {
                return invalid(error.to_string());
            }
        }
        if self.legacy_aes.is_some() {
            header.crypt_method = CryptMethod::Aes;
        }
        header.refcount_table_offset = HostOffset::new(self.cluster_size);
        header.refcount_table_clusters = 1;
        if self.lazy_refcounts {
            header.compatible.insert(CompatibleFeatures::LAZY_REFCOUNTS);
        }
        if let Some((name, _, raw)) = &self.data_file {
            header.incompatible.insert(IncompatibleFeatures::DATA_FILE);
            if *raw {
                header.autoclear.insert(AutoclearFeatures::RAW_DATA_FILE);
            }
            header.extensions.insert(0, HeaderExtension::DataFile(name.clone()));
        }
        header.backing_file.clone_from(&self.backing_file);
        if let Some(format) = &self.backing_format {
            header.extensions.insert(0, HeaderExtension::BackingFormat(format.clone()));
        }
        // Whether it fits is known only when it is written out.
        header.encode()?;
        Ok(header)
    }
}

impl std::fmt::Debug for CreateOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateOptions").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Writes header, refcount table and refcount block: clusters 0 to 2.
fn write_empty(storage: &dyn Storage, header: &Header) -> std::io::Result<()> {
    let invalid = |e| std::io::Error::new(std::io::ErrorKind::InvalidInput, e);
    let mut bytes = header.encode().map_err(invalid)?;
    let cluster = bytes.len();
    let block = HostOffset::new(2 * cluster as u64);
    bytes.resize(3 * cluster, 0);
    bytes[cluster..cluster + 8]
        .copy_from_slice(&RefcountTableEntry::Block(block).encode().to_be_bytes());
    for used in 0..3 {
        header.refcount_order.write(&mut bytes[2 * cluster..], used, 1);
    }
    storage.write_at(HostOffset::new(0), &bytes)
}
