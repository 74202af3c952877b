//! What can be amended, and what a list of such options asks for.

use holstein::format::{CryptMethod, Header, IncompatibleFeatures, Version};
use holstein::luks::KeyChange;
use holstein::{AmendOptions, snapshot::SnapshotTable};

use super::create_list::{CreateList, Kind, Known, both, check_value, known, option_line};
use super::key_change::key_change;
use crate::disk::DiskError;
use crate::node::QcowFacts;
use crate::objects::Objects;
use crate::text::parse_list;

/// What is known of qcow2 options that can be amended, in the order in which they are judged.
const AMEND: &[Known] = &[
    known("encrypt.state", Kind::Text, "Select new state of affected keyslots (active/inactive)"),
    known("encrypt.keyslot", Kind::Number, "Select a single keyslot to modify explicitly"),
    known("encrypt.old-secret", Kind::Text, "Select all keyslots that match this password"),
    known(
        "encrypt.new-secret",
        Kind::Text,
        "New secret to set in the matching keyslots. Empty string to erase",
    ),
    both::ITER_TIME,
    both::SIZE,
    both::COMPAT,
    both::BACKING_FILE,
    both::BACKING_FMT,
    both::DATA_FILE,
    both::DATA_FILE_RAW,
    known("lazy_refcounts", Kind::Bool, "Postpone refcount updates"),
    known("refcount_bits", Kind::Number, "Width of a reference count entry in bits"),
];

/// The help that `amend -o help` prints.
pub(super) fn help() -> String {
    let mut known: Vec<&Known> = AMEND.iter().collect();
    known.sort_by_key(|known| known.name);
    let lines: String = known.into_iter().map(option_line).collect();
    format!("Amend options for 'qcow2':\n{lines}")
}

/// What is to be done.
pub(super) struct Judged {
    /// What becomes of the key slots, before anything else.
    pub(super) keys: Option<KeyChange>,
    /// Everything else that can be done.
    pub(super) options: AmendOptions,
    /// Why the image cannot become one of version 2, where it should.
    pub(super) no_downgrade: Option<DiskError>,
}

/// Options as they were given, each checked by its type.
pub(super) struct AmendList {
    given: Vec<(&'static str, String)>,
}

impl AmendList {
    /// Options of an `-o` list.
    ///
    /// # Errors
    /// An option is unknown or cannot be changed later, or its value is not of its type.
    pub(super) fn parse(list: &str) -> Result<Self, DiskError> {
        let mut given: Vec<(&'static str, String)> = Vec::new();
        let find = |name: &str| AMEND.iter().find(|known| known.name == name);
        for pair in parse_list(list) {
            let (key, value) = pair.flag_form();
            let Some(known) = find(&key) else {
                let error = DiskError::invalid(format!("Invalid parameter '{key}'"));
                return Err(if CreateList::qcow2_has(&key) {
                    error.with_hint("This option is only supported for image creation")
                } else {
                    error
                });
            };
            let value = check_value(known, &value)?;
            given.retain(|(name, _)| *name != known.name);
            given.push((known.name, value));
        }
        Ok(Self { given })
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    /// What the library is to do.
    ///
    /// # Errors
    /// What the image cannot become, in the words and in the order of the reference.
    pub(super) fn judge(&self, facts: &QcowFacts, objects: &Objects) -> Result<Judged, DiskError> {
        let header = &facts.header;
        let mut options = AmendOptions::new();
        let version = match self.value("compat") {
            None => header.version,
            Some("0.10" | "v2") => Version::V2,
            Some("1.1" | "v3") => Version::V3,
            Some(other) => {
                return Err(DiskError::invalid(format!("Unknown compatibility level {other}")));
            }
        };
        let keys = self.judge_encryption(header, objects)?;
        let width = match self.number("refcount_bits") {
            None => header.refcount_order.bits(),
            Some(bits) => match u32::try_from(bits) {
                Ok(bits) if bits.is_power_of_two() && bits <= 64 => bits,
                _ => {
                    return Err(DiskError::invalid(
                        "Refcount width must be a power of two and may not exceed 64 bits",
                    ));
                }
            },
        };
        self.judge_data_file(header)?;
        let later = "require compatibility level 1.1 or above (use compat=1.1 or greater)";
        if version == Version::V2 && self.number("refcount_bits").is_some() && width != 16 {
            return Err(DiskError::invalid(format!("Refcount widths other than 16 bits {later}")));
        }
        self.judge_backing(facts)?;
        let lazy = self.value("lazy_refcounts").map(|value| value == "on");
        if version == Version::V2 && lazy == Some(true) {
            return Err(DiskError::invalid(
                "Lazy refcounts only supported with compatibility level 1.1 and above (use \
                 compat=1.1 or greater)",
            ));
        }
        // No size and a size of 0 are the same to the reference.
        let size = self.number("size").filter(|size| *size != 0);
        judge_size(size, header, version.max(header.version))?;
        let no_downgrade = if version < header.version {
            let size = size.unwrap_or(header.size);
            judge_downgrade(size, width, header, &facts.snapshots).err()
        } else {
            None
        };
        let version = if no_downgrade.is_some() { header.version } else { version };
        options = options.version(version).refcount_bits(width);
        if let Some(lazy) = lazy {
            options = options.lazy_refcounts(lazy);
        }
        if let Some(name) = self.value("data_file") {
            options = options.data_file(name.as_bytes().to_vec());
        }
        if self.value("data_file_raw") == Some("off") {
            options = options.data_file_raw(false);
        }
        if let Some(size) = size {
            options = options.size(size);
        }
        Ok(Judged { keys, options, no_downgrade })
    }

    /// What is to become of the key slots.
    fn judge_encryption(
        &self,
        header: &Header,
        objects: &Objects,
    ) -> Result<Option<KeyChange>, DiskError> {
        if !self.given.iter().any(|(name, _)| name.starts_with("encrypt.")) {
            return Ok(None);
        }
        match header.crypt_method {
            CryptMethod::None => {
                Err(DiskError::invalid("Can't amend encryption options - encryption not present"))
            }
            CryptMethod::Aes => {
                Err(DiskError::unsupported("Only LUKS encryption options can be amended"))
            }
            CryptMethod::Luks => {
                key_change(|name| self.value(&format!("encrypt.{name}")), objects).map(Some)
            }
        }
    }

    fn judge_data_file(&self, header: &Header) -> Result<(), DiskError> {
        let has_data_file = header.incompatible.contains(IncompatibleFeatures::DATA_FILE);
        let why = if self.value("data_file_raw") == Some("on") && !header.has_raw_data_file() {
            "data-file-raw cannot be set on existing images"
        } else if self.value("data_file").is_some() && !has_data_file {
            "data-file can only be set for images that use an external data file"
        } else {
            return Ok(());
        };
        Err(DiskError::invalid(why))
    }

    /// Name and format may be given if they are what the image has.
    fn judge_backing(&self, facts: &QcowFacts) -> Result<(), DiskError> {
        let (name, format) = (self.value("backing_file"), self.value("backing_fmt"));
        let same =
            name == facts.backing_file().as_deref() && format == facts.backing_format().as_deref();
        if (name.is_some() || format.is_some()) && !same {
            return Err(DiskError::invalid("Cannot amend the backing file")
                .with_hint("You can use 'qemu-img rebase' instead."));
        }
        Ok(())
    }
}

fn judge_size(size: Option<u64>, header: &Header, version: Version) -> Result<(), DiskError> {
    let Some(size) = size else { return Ok(()) };
    if !size.is_multiple_of(holstein_units::SECTOR) {
        return Err(DiskError::invalid("The new size must be a multiple of 512"));
    }
    if version == Version::V2 && header.nb_snapshots > 0 {
        return Err(DiskError::unsupported("Can't resize a v2 image which has snapshots"));
    }
    Ok(())
}

fn judge_downgrade(
    size: u64,
    width: u32,
    header: &Header,
    snapshots: &SnapshotTable,
) -> Result<(), DiskError> {
    if width != 16 {
        return Err(DiskError::unsupported("compat=0.10 requires refcount_bits=16"));
    }
    let prevents = snapshots.records().iter().any(|record| {
        record.disk_size().unwrap_or(header.size) != size
            || record.vm_state_size() > u64::from(u32::MAX)
    });
    if prevents {
        return Err(DiskError::unsupported("Internal snapshots prevent downgrade of image"));
    }
    let mut features = header.incompatible;
    features.remove(IncompatibleFeatures::DIRTY);
    // Streams are looked for in the open image.
    features.remove(IncompatibleFeatures::COMPRESSION);
    if features.contains(IncompatibleFeatures::DATA_FILE) {
        return Err(DiskError::unsupported("Cannot downgrade an image with a data file"));
    }
    if features.bits() != 0 {
        let bits = features.bits();
        return Err(DiskError::unsupported(format!(
            "Cannot downgrade an image with incompatible features 0x{bits:x} set"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_options_has_those_that_can_be_amended() {
        let known = AMEND.iter().map(|known| known.name.to_owned());
        assert_eq!(crate::option_table::listed("Changes of an image"), known.collect());
    }

    #[test]
    fn values_are_checked_and_the_last_counts() {
        let list = AmendList::parse("size=1M,compat=v2,lazy_refcounts,size=2M").expect("fine");
        assert_eq!(list.number("size"), Some(2 << 20));
        assert_eq!(list.value("lazy_refcounts"), Some("on"));
        for (list, error, hint) in [
            ("foo=1", "Invalid parameter 'foo'", None),
            (
                "cluster_size=4k",
                "Invalid parameter 'cluster_size'",
                Some("This option is only supported for image creation"),
            ),
            ("lazy_refcounts=1", "Parameter 'lazy_refcounts' expects 'on' or 'off'", None),
        ] {
            let found = AmendList::parse(list).map(|_| ()).expect_err("refused");
            assert_eq!((found.to_string().as_str(), found.hint()), (error, hint));
        }
    }
}
