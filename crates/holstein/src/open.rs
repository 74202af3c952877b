//! Opening images.

use std::path::Path;
use std::sync::Arc;

use holstein_cache::CacheSizes;
use holstein_check::{RepairKind, RepairNote, RepairOptions};
use holstein_codec::{ClusterCodec, Deflate};
use holstein_crypto::{LegacyAes, Secret, SectorCipher};
use holstein_engine::{Backing, Disk, DiskConfig, EngineError};
use holstein_format::{
    CompatibleFeatures, CompressionType, CryptMethod, DecodePurpose, FormatError, Header,
    IncompatibleFeatures, Version,
};
use holstein_guard::{Listener, RegionMask};
use holstein_luks::Limits;
use holstein_refcount::DiscardPolicy;
use holstein_storage::{FileIdentity, FileOptions, FileStorage, LockMode, Storage};
use holstein_units::HostOffset;

use crate::chain::{BackingPolicy, Chain, Top, open_chain};
use crate::error::Cause;
use crate::luks_area::{Unlocked, unlock};
use crate::{Error, Image, ReadOnlyImage};

/// Bytes read at once when an image is opened: enough for the header of most.
const FIRST_READ: usize = 4096;

/// The refusal of lazy refcounts where a dirty image cannot be told from others.
const LAZY_IN_V2: &str =
    "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level";

/// The refusal of clusters that keep their place without their data, which version 2 cannot say.
const NO_UNREF_IN_V2: &str = "discard-no-unref is only supported since qcow2 version 3";

/// Hears what a repair finds and does.
type RepairNotes = Arc<dyn Fn(&RepairNote) + Send + Sync>;

/// How images are opened. The default needs no choice for a standalone image.
///
/// All of them but [`Self::file_options`] and [`Self::backing_policy`] are about the image that is
/// opened; the images of its backing chain are opened with defaults.
///
/// ```no_run
/// use holstein::OpenOptions;
///
/// let image = OpenOptions::new().l2_cache_size(8 << 20).open("disk.qcow2")?;
/// image.discard(0, 1 << 20)?;
/// image.close()?;
/// # Ok::<(), holstein::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct OpenOptions {
    pub(crate) file: Option<FileOptions>,
    cache: CacheSizes,
    discard: DiscardPolicy,
    discard_no_unref: bool,
    overlap: Option<RegionMask>,
    backing: Option<Arc<dyn Backing>>,
    chain: Option<Arc<Chain>>,
    policy: BackingPolicy,
    no_backing: bool,
    lazy_refcounts: Option<bool>,
    no_repair: bool,
    on_repair: Option<RepairNotes>,
    passphrase: Option<Secret>,
    luks_limits: Limits,
    /// What opens a LUKS image, where it is known without a passphrase.
    unlocked: Option<Unlocked>,
    data_file: Option<Arc<dyn Storage>>,
    listener: Option<Arc<dyn Listener>>,
}

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenOptions").field("file", &self.file).finish_non_exhaustive()
    }
}

impl OpenOptions {
    /// Defaults: QEMU's locks, up to 32 MiB of L2 tables, guest discards free clusters without
    /// telling the host, no backing file is read.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the file is opened by [`Self::open`] and [`Self::open_read_only`]: lock, `O_DIRECT`, when
    /// writes become durable. Whether it is opened for writing follows from the method.
    pub fn file_options(mut self, options: FileOptions) -> Self {
        self.file = Some(options);
        self
    }

    /// Bytes of L2 tables in memory (`l2-cache-size`).
    pub fn l2_cache_size(mut self, bytes: u64) -> Self {
        self.cache.l2 = Some(bytes);
        self
    }

    /// Bytes of refcount blocks in memory (`refcount-cache-size`).
    pub fn refcount_cache_size(mut self, bytes: u64) -> Self {
        self.cache.refcount = Some(bytes);
        self
    }

    /// Bytes of both in memory (`cache-size`).
    pub fn cache_size(mut self, bytes: u64) -> Self {
        self.cache.total = Some(bytes);
        self
    }

    /// Bytes of an L2 slice (`l2-cache-entry-size`): a power of two from 512 to the cluster size.
    pub fn l2_cache_entry_size(mut self, bytes: u64) -> Self {
        self.cache.l2_slice = Some(bytes);
        self
    }

    /// Whether guest discards are passed to the host (`pass-discard-request`).
    pub fn pass_discard_request(mut self, pass: bool) -> Self {
        self.discard.request = pass;
        self
    }

    /// Whether space freed by snapshots is passed to the host (`pass-discard-snapshot`).
    pub fn pass_discard_snapshot(mut self, pass: bool) -> Self {
        self.discard.snapshot = pass;
        self
    }

    /// Whether other freed space is passed to the host (`pass-discard-other`).
    pub fn pass_discard_other(mut self, pass: bool) -> Self {
        self.discard.other = pass;
        self
    }

    /// Whether discarded clusters keep their place (`discard-no-unref`); refused for version 2, which
    /// cannot say that a cluster with a place reads as zeros.
    pub fn discard_no_unref(mut self, keep: bool) -> Self {
        self.discard_no_unref = keep;
        self
    }

    /// Which metadata is protected from stray writes (`overlap-check`).
    pub fn overlap_check(mut self, mask: RegionMask) -> Self {
        self.overlap = Some(mask);
        self
    }

    /// Which backing files are opened; none, unless this says so.
    ///
    /// What [`Self::backing`] and [`Self::backing_chain`] give comes first, and so does
    /// [`Self::no_backing`].
    pub fn backing_policy(mut self, policy: BackingPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// The disks under the image, opened by the caller.
    pub fn backing_chain(mut self, chain: Arc<Chain>) -> Self {
        self.backing = Some(Arc::<Chain>::clone(&chain));
        self.chain = Some(chain);
        self
    }

    /// Whether refcounts may follow the tables, under the dirty bit (`lazy-refcounts`): fewer writes in
    /// a flush, and a repair at the next opening after a crash. The default is what the image says.
    pub fn lazy_refcounts(mut self, lazy: bool) -> Self {
        self.lazy_refcounts = Some(lazy);
        self
    }

    /// Whether an image that is marked dirty, as it was not closed while refcounts were behind, is
    /// repaired when it is opened for writing. The default is that it is; else it is refused.
    pub fn repair_dirty(mut self, repair: bool) -> Self {
        self.no_repair = !repair;
        self
    }

    /// Hears what such a repair finds and does.
    pub fn on_repair(mut self, hear: impl Fn(&RepairNote) + Send + Sync + 'static) -> Self {
        self.on_repair = Some(Arc::new(hear));
        self
    }

    /// What unallocated clusters show.
    pub fn backing(mut self, backing: Option<Arc<dyn Backing>>) -> Self {
        self.backing = backing;
        self.chain = None;
        self
    }

    /// Opens an image that names a backing file without it: unallocated clusters read as zeros.
    pub fn no_backing(mut self) -> Self {
        self.no_backing = true;
        self
    }

    /// The passphrase of an encrypted image. Others have no use for it.
    pub fn passphrase(mut self, passphrase: Secret) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// How much work the LUKS header of an image may ask for, to find out whether the passphrase is right. It
    /// counts digests; the default allows some two minutes.
    pub fn luks_limits(mut self, limits: Limits) -> Self {
        self.luks_limits = limits;
        self
    }

    /// The external data file of an image that has one. Nothing that an image names is opened by the
    /// library itself: without this such an image is refused.
    pub fn data_file(mut self, data: Arc<dyn Storage>) -> Self {
        self.data_file = Some(data);
        self
    }

    /// Who hears of what the image is about to do: for injecting faults and setting breakpoints.
    pub fn listener(mut self, listener: Option<Arc<dyn Listener>>) -> Self {
        self.listener = listener;
        self
    }

    /// Opens the image at `path` for reading and writing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Locked`] if another process has it open; see [`Self::open_storage`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Image, Error> {
        let path = path.as_ref();
        let mut options =
            self.file.unwrap_or(FileOptions { lock: LockMode::Write, ..FileOptions::default() });
        options.write = true;
        let storage = FileStorage::open(path, &options)?;
        let named = Some((path, storage.identity()));
        self.open_named(Arc::new(storage), named).map_err(|e| e.at(path))
    }

    /// Opens the image at `path` for reading.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_read_only(&self, path: impl AsRef<Path>) -> Result<ReadOnlyImage, Error> {
        let path = path.as_ref();
        let mut options =
            self.file.unwrap_or(FileOptions { lock: LockMode::Read, ..FileOptions::default() });
        options.write = false;
        let storage = FileStorage::open(path, &options)?;
        let named = Some((path, storage.identity()));
        self.open_named_read_only(Arc::new(storage), named).map_err(|e| e.at(path))
    }

    /// Opens the image in `storage` for reading and writing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotQcow2`], [`crate::ErrorKind::Corrupt`] for headers that are none;
    /// [`crate::ErrorKind::Unsupported`] for what this version does not do;
    /// [`crate::ErrorKind::ReadOnly`] for an image that is marked corrupt;
    /// [`crate::ErrorKind::NeedsPassphrase`] and [`crate::ErrorKind::WrongPassphrase`] for an encrypted one,
    /// but the first encryption of the format cannot tell a wrong one.
    pub fn open_storage(&self, storage: Arc<dyn Storage>) -> Result<Image, Error> {
        self.open_named(storage, None)
    }

    fn open_named(
        &self,
        storage: Arc<dyn Storage>,
        named: Option<(&Path, FileIdentity)>,
    ) -> Result<Image, Error> {
        let mut header = read_header(&*storage, DecodePurpose::Use)?;
        if header.incompatible.contains(IncompatibleFeatures::CORRUPT) {
            return Err(Cause::CorruptBit.into());
        }
        self.fit(&header)?;
        // Who has no key repairs nothing.
        let (cipher, key) = self.unlock(&*storage, &header)?;
        if header.incompatible.contains(IncompatibleFeatures::DIRTY) {
            self.clean(&storage)?;
            header = read_header(&*storage, DecodePurpose::Use)?;
        }
        let options = self.following(&header, named)?;
        let disk = options.open_disk_under(cipher, Arc::clone(&storage), &header, true)?;
        let lazy = header.compatible.contains(CompatibleFeatures::LAZY_REFCOUNTS);
        disk.set_lazy_refcounts(self.lazy_refcounts.unwrap_or(lazy))?;
        disk.clear_unknown_autoclear()?;
        Ok(Image::new(disk).with_key(key).over(options.chain))
    }

    /// Repairs an image that is marked dirty.
    fn clean(&self, storage: &Arc<dyn Storage>) -> Result<(), Error> {
        if self.no_repair {
            return Err(Cause::Dirty("it may not be repaired".to_owned()).into());
        }
        let all = RepairOptions::new(RepairKind::All);
        let outcome = holstein_check::repair(storage, &all, &mut |_| {})?;
        if let Some(hear) = &self.on_repair {
            outcome.plan.notes.iter().for_each(|note| hear(note));
        }
        let report = outcome.report();
        if report.corruptions + report.check_errors > 0 {
            let left = format!("{} errors remain after a repair", report.corruptions);
            return Err(Cause::Dirty(left).into());
        }
        Ok(())
    }

    /// Opens the image in `storage` for reading.
    ///
    /// # Errors
    /// As for [`Self::open_storage`]; marks in the header do not matter.
    pub fn open_storage_read_only(
        &self,
        storage: Arc<dyn Storage>,
    ) -> Result<ReadOnlyImage, Error> {
        self.open_named_read_only(storage, None)
    }

    fn open_named_read_only(
        &self,
        storage: Arc<dyn Storage>,
        named: Option<(&Path, FileIdentity)>,
    ) -> Result<ReadOnlyImage, Error> {
        let header = read_header(&*storage, DecodePurpose::Use)?;
        let options = self.following(&header, named)?;
        let disk = options.open_disk(storage, &header, false)?;
        Ok(ReadOnlyImage::new(disk).over(options.chain))
    }

    /// These options with the backing chain that the policy allows, where the image has one and none
    /// was given.
    fn following(
        &self,
        header: &Header,
        named: Option<(&Path, FileIdentity)>,
    ) -> Result<Self, Error> {
        let given = self.backing.is_some() || self.no_backing;
        if header.backing_file.is_none() || given || self.policy.is_nothing() {
            return Ok(self.clone());
        }
        let (path, identity) = named.unzip();
        let chain = open_chain(self, &Top { path, identity, header })?;
        Ok(self.clone().backing_chain(Arc::new(chain)))
    }

    /// Whether an image with this header can be opened with these options.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for cache sizes that contradict each other or the image, and
    /// for lazy refcounts or `discard-no-unref` in an image of version 2.
    pub fn fit(&self, header: &Header) -> Result<(), Error> {
        self.cache.resolve(header.geometry, header.size).map_err(EngineError::from)?;
        let needs_v3 = |what: &str| Err(Cause::Invalid(what.to_owned()).into());
        match header.version {
            Version::V2 if self.lazy_refcounts == Some(true) => needs_v3(LAZY_IN_V2),
            Version::V2 if self.discard_no_unref => needs_v3(NO_UNREF_IN_V2),
            _ => Ok(()),
        }
    }

    /// The policy for backing files.
    pub(crate) fn policy(&self) -> &BackingPolicy {
        &self.policy
    }

    pub(crate) fn open_disk(
        &self,
        storage: Arc<dyn Storage>,
        header: &Header,
        writable: bool,
    ) -> Result<Disk, Error> {
        self.fit(header)?;
        let (cipher, _) = self.unlock(&*storage, header)?;
        self.open_disk_under(cipher, storage, header, writable)
    }

    /// As [`Self::open_disk`], with the cipher that [`Self::unlock`] found.
    fn open_disk_under(
        &self,
        cipher: Option<Arc<dyn SectorCipher>>,
        storage: Arc<dyn Storage>,
        header: &Header,
        writable: bool,
    ) -> Result<Disk, Error> {
        let has_data_file = header.incompatible.contains(IncompatibleFeatures::DATA_FILE);
        if has_data_file && self.data_file.is_none() {
            return not_given("an external data file");
        }
        let codec = codec(header.compression)?;
        if header.backing_file.is_some() && self.backing.is_none() && !self.no_backing {
            return not_given("a backing file");
        }
        Ok(Disk::open(
            storage,
            header,
            DiskConfig {
                writable,
                cache: self.cache,
                overlap: self.overlap.unwrap_or(RegionMask::CACHED),
                discard: self.discard,
                discard_no_unref: self.discard_no_unref,
                backing: self.backing.clone(),
                names_backing: header.backing_file.is_some(),
                data_file: self.data_file.clone().filter(|_| has_data_file),
                codec,
                cipher,
                listener: self.listener.clone(),
            },
        )?)
    }

    /// What opens a LUKS image that was just made.
    pub(crate) fn unlocked(mut self, unlocked: Unlocked) -> Self {
        self.unlocked = Some(unlocked);
        self
    }

    /// What the payload is encrypted with, and the key that LUKS has for it.
    fn unlock(&self, storage: &dyn Storage, header: &Header) -> Result<Unlocked, Error> {
        match (header.crypt_method, &self.passphrase) {
            (CryptMethod::None, _) => Ok((None, None)),
            (CryptMethod::Luks, _) if self.unlocked.is_some() => {
                Ok(self.unlocked.clone().unwrap_or_default())
            }
            (_, None) => Err(Cause::NeedsPassphrase.into()),
            (CryptMethod::Aes, Some(passphrase)) => {
                Ok((Some(Arc::new(LegacyAes::new(passphrase))), None))
            }
            (CryptMethod::Luks, Some(passphrase)) => {
                unlock(storage, header, passphrase, self.luks_limits)
            }
        }
    }
}

fn not_given<T>(what: &str) -> Result<T, Error> {
    Err(Cause::Unsupported(format!("the image has {what}, and none was given")).into())
}

/// What clusters are compressed with.
fn codec(compression: CompressionType) -> Result<Arc<dyn ClusterCodec>, Error> {
    match compression {
        CompressionType::Deflate => Ok(Arc::new(Deflate::default())),
        #[cfg(feature = "zstd")]
        CompressionType::Zstd => Ok(Arc::new(holstein_codec::Zstd::default())),
        #[cfg(not(feature = "zstd"))]
        CompressionType::Zstd => {
            let what = "this version does not support images with zstd compression";
            Err(Cause::Unsupported(what.to_owned()).into())
        }
    }
}

/// Reads and judges the header of the image in `storage`.
pub(crate) fn read_header(storage: &dyn Storage, purpose: DecodePurpose) -> Result<Header, Error> {
    let failed = |e| Error::from(Cause::Header(Arc::new(e)));
    let file_len = storage.len().map_err(failed)?;
    let mut first = vec![0; FIRST_READ];
    loop {
        let got = storage.read_at(HostOffset::new(0), &mut first).map_err(failed)?;
        match Header::decode(&first[..got], file_len, purpose) {
            Ok(header) => return Ok(header),
            Err(FormatError::NeedsMore { bytes }) if bytes > first.len() as u64 => {
                let bytes = usize::try_from(bytes).expect("a header is at most a cluster");
                first.resize(bytes, 0);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
