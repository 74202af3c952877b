//! Making a qcow2 image: its options judged as a whole, then the image.

use std::sync::Arc;

use holstein::CreateOptions;
use holstein::format::{CompressionType, Version};
use holstein_storage::Storage;

use super::create_list::CreateList;
use super::encryption::Encryption;
use crate::disk::{DiskError, Heard, Preallocation, engine_error, engine_preallocation};
use crate::node::strip_file_protocol;
use crate::objects::Objects;

/// What the end of a message about version 3 says.
const NEEDS_V3: &str =
    "only supported with compatibility level 1.1 and above (use version=v3 or greater)";

/// The largest L1 table in bytes.
const MAX_L1_BYTES: u64 = 32 << 20;

/// A qcow2 image that can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QcowPlan {
    size: u64,
    version_2: bool,
    cluster_size: u64,
    extended_l2: bool,
    zstd: bool,
    refcount_bits: u32,
    lazy_refcounts: bool,
    preallocation: Preallocation,
    backing: Option<(String, String)>,
    data_file: Option<DataFile>,
    encryption: Option<Encryption>,
}

/// An external data file that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DataFile {
    path: String,
    /// It always reads as the disk does.
    raw: bool,
}

impl QcowPlan {
    /// Judges the options in the order in which the reference does.
    ///
    /// # Errors
    /// The first option that does not fit the others.
    pub(super) fn judge(
        list: &CreateList,
        size: u64,
        objects: &Objects,
    ) -> Result<Self, DiskError> {
        let invalid = |text: &str| Err(DiskError::invalid(text));
        let encryption = Encryption::of_qcow2(list, objects)?;
        let version_2 = match list.given("compat") {
            None | Some("1.1" | "v3") => false,
            Some("0.10" | "v2") => true,
            Some(other) => {
                return invalid(&format!("Parameter 'version' does not accept value '{other}'"));
            }
        };
        let preallocation = match list.given("preallocation") {
            None => Preallocation::Off,
            Some(name) => {
                Preallocation::parse(name).ok_or_else(|| not_accepted("preallocation", name))?
            }
        };
        let zstd = match list.value("compression_type") {
            None | Some("zlib") => false,
            Some("zstd") => true,
            Some(other) => return Err(not_accepted("compression-type", other)),
        };
        let cluster_size = list.number("cluster_size").unwrap_or(65536);
        if !cluster_size.is_power_of_two() || !(512..=2 << 20).contains(&cluster_size) {
            return invalid("Cluster size must be a power of two between 512 and 2048k");
        }
        let extended_l2 = list.is_on("extended_l2");
        if extended_l2 && version_2 {
            return invalid(&format!("Extended L2 entries are {NEEDS_V3}"));
        }
        if extended_l2 && cluster_size < 16384 {
            return invalid(
                "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes",
            );
        }
        let backing = list.given("backing_file");
        if backing.is_some() && preallocation != Preallocation::Off && !extended_l2 {
            return invalid(
                "Backing file and preallocation can only be used at the same time if extended_l2 \
                 is on",
            );
        }
        let lazy_refcounts = list.is_on("lazy_refcounts");
        if lazy_refcounts && version_2 {
            return invalid(&format!("Lazy refcounts {NEEDS_V3}"));
        }
        let refcount_bits = refcount_bits(list, version_2)?;
        let data_file = data_file(list, version_2, backing)?;
        if zstd && version_2 {
            return invalid(&format!("Non-zlib compression type is {NEEDS_V3}"));
        }
        let backing = match (backing, list.given("backing_fmt")) {
            (None, None) => None,
            (None, Some(_)) => {
                return invalid("Backing format cannot be used without backing file");
            }
            (Some(_), None) => return invalid("Backing format must be specified"),
            (Some(name), Some(format)) => Some((name.to_owned(), format.to_owned())),
        };
        let plan = Self {
            size,
            version_2,
            cluster_size,
            extended_l2,
            zstd,
            refcount_bits,
            lazy_refcounts,
            preallocation,
            backing,
            data_file,
            encryption,
        };
        plan.check_size()?;
        Ok(plan)
    }

    /// The path of the external data file, if the disk is to have one.
    pub(super) fn data_path(&self) -> Option<&str> {
        self.data_file.as_ref().map(|data| data.path.as_str())
    }

    /// Bytes of a cluster.
    pub(super) fn cluster_size(&self) -> u64 {
        self.cluster_size
    }

    /// Bytes of an L2 entry.
    pub(super) fn l2_entry_size(&self) -> u64 {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// Bits of a refcount.
    pub(super) fn refcount_bits(&self) -> u32 {
        self.refcount_bits
    }

    /// Bytes of the clusters that the encryption takes for itself.
    pub(super) fn encryption_size(&self) -> u64 {
        let bytes = self.encryption.as_ref().map_or(0, Encryption::area_bytes);
        bytes.next_multiple_of(self.cluster_size)
    }

    /// Whether every cluster of the disk will have space from the start.
    pub(super) fn allocates_all(&self) -> bool {
        matches!(self.preallocation, Preallocation::Falloc | Preallocation::Full)
    }

    /// Whether there will be a backing file.
    pub(super) fn has_backing(&self) -> bool {
        self.backing.is_some()
    }

    /// Refuses a disk whose L1 table would be too large.
    fn check_size(&self) -> Result<(), DiskError> {
        let entry = self.l2_entry_size();
        let mapped = u128::from(self.cluster_size) * u128::from(self.cluster_size / entry);
        let l1_entries = u128::from(self.size).div_ceil(mapped);
        if l1_entries * 8 > u128::from(MAX_L1_BYTES) {
            let text = "The image size is too large for file format 'qcow2' (try using a larger \
                        cluster size)";
            return Err(DiskError::new(libc::EFBIG, text));
        }
        Ok(())
    }
}

/// A value is none of those that a parameter has.
pub(super) fn not_accepted(parameter: &str, value: &str) -> DiskError {
    DiskError::invalid(format!("Parameter '{parameter}' does not accept value '{value}'"))
}

/// The width of refcounts in bits.
fn refcount_bits(list: &CreateList, version_2: bool) -> Result<u32, DiskError> {
    let bits = list.number("refcount_bits").unwrap_or(16);
    let bits = u32::try_from(bits).ok().filter(|bits| bits.is_power_of_two() && *bits <= 64);
    match bits {
        None => Err(DiskError::invalid(
            "Refcount width must be a power of two and may not exceed 64 bits",
        )),
        Some(bits) if bits != 16 && version_2 => Err(DiskError::invalid(
            "Different refcount widths than 16 bits require compatibility level 1.1 or above (use \
             version=v3 or greater)",
        )),
        Some(bits) => Ok(bits),
    }
}

/// The external data file that the disk is to have.
///
/// # Errors
/// It does not go together with the version or the backing file.
fn data_file(
    list: &CreateList,
    version_2: bool,
    backing: Option<&str>,
) -> Result<Option<DataFile>, DiskError> {
    let name = list.given("data_file");
    let raw = list.is_on("data_file_raw");
    if name.is_some() && version_2 {
        return Err(DiskError::invalid(format!("External data files are {NEEDS_V3}")));
    }
    if raw && name.is_none() {
        return Err(DiskError::invalid("data-file-raw requires data-file"));
    }
    if raw && backing.is_some() {
        return Err(DiskError::invalid(
            "Backing file and data-file-raw cannot be used at the same time",
        ));
    }
    Ok(name.map(|name| DataFile { path: strip_file_protocol(name).to_owned(), raw }))
}

/// Writes the image into an empty file; `data` is the empty data file of a disk that is to have one, and
/// `progress` hears of space that is prepared.
pub(super) fn make_qcow2(
    file: Arc<dyn Storage>,
    data: Option<Arc<dyn Storage>>,
    plan: &QcowPlan,
    mut progress: Heard<'_>,
) -> Result<(), DiskError> {
    let version = if plan.version_2 { Version::V2 } else { Version::V3 };
    let compression = if plan.zstd { CompressionType::Zstd } else { CompressionType::Deflate };
    let mut options = CreateOptions::new(plan.size)
        .version(version)
        .cluster_size(plan.cluster_size)
        .refcount_bits(plan.refcount_bits)
        .lazy_refcounts(plan.lazy_refcounts)
        .extended_l2(plan.extended_l2)
        .compression(compression)
        .preallocation(engine_preallocation(plan.preallocation));
    if let Some((name, format)) = &plan.backing {
        options =
            options.backing_file(name.clone().into_bytes(), Some(format.clone().into_bytes()));
    }
    if let (Some(data), Some(DataFile { path, raw })) = (data, &plan.data_file) {
        options = options.data_file(path.clone().into_bytes(), data, *raw);
    }
    options = match &plan.encryption {
        None => options,
        Some(Encryption::Aes(passphrase)) => options.legacy_aes(passphrase.clone()),
        Some(Encryption::Luks(format, passphrase)) => options.luks(*format, passphrase.clone()),
    };
    let failed = |error: holstein::Error| engine_error(&error);
    options.create_on_with(file, &mut progress).map_err(failed)?.close().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::create_list::CreateFormat;
    use super::*;

    fn judge(options: &str, size: u64) -> Result<QcowPlan, String> {
        let list = CreateList::parse(CreateFormat::Qcow2, options).map_err(|e| e.to_string())?;
        QcowPlan::judge(&list, size, &Objects::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_largest_disk_fills_the_l1_table() {
        let largest = (MAX_L1_BYTES / 8) * 8192 * 65536;
        assert!(judge("", largest).is_ok());
        assert!(judge("", largest + 512).is_err());
        assert!(judge("cluster_size=512", 128 << 30).is_ok());
        assert!(judge("cluster_size=512", (128 << 30) + 512).is_err());
    }

    #[test]
    fn what_needs_version_3_says_so() {
        for option in ["lazy_refcounts=on", "compression_type=zstd"] {
            let error = judge(&format!("compat=v2,{option}"), 0).expect_err("it needs version 3");
            assert!(error.ends_with("(use version=v3 or greater)"), "{error}");
        }
    }
}
