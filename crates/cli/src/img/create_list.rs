//! Creation options: which there are, how they are checked, and how they are shown.

use crate::disk::DiskError;
use crate::node::{is_export, parse_option_size};
use crate::text::{parse_bool, parse_c_integer, parse_list, quote_commas};

/// The type of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Size,
    Number,
    Bool,
}

/// An option of a format or of the file under it.
pub(super) struct Known {
    pub(super) name: &'static str,
    kind: Kind,
    /// Shown and used where the option is not given.
    default: Option<&'static str>,
    help: &'static str,
}

/// An option without a default.
pub(super) const fn known(name: &'static str, kind: Kind, help: &'static str) -> Known {
    Known { name, kind, default: None, help }
}

const fn with_default(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Known {
    Known { name, kind, default: Some(default), help }
}

/// Options that an image can be created with and that can be amended.
pub(super) mod both {
    use super::{Kind, Known, known};

    pub(crate) const ITER_TIME: Known =
        known("encrypt.iter-time", Kind::Number, "Time to spend in PBKDF in milliseconds");
    pub(crate) const SIZE: Known = known("size", Kind::Size, "Virtual disk size");
    pub(crate) const COMPAT: Known =
        known("compat", Kind::Text, "Compatibility level (v2 [0.10] or v3 [1.1])");
    pub(crate) const BACKING_FILE: Known =
        known("backing_file", Kind::Text, "File name of a base image");
    pub(crate) const BACKING_FMT: Known =
        known("backing_fmt", Kind::Text, "Image format of the base image");
    pub(crate) const DATA_FILE: Known =
        known("data_file", Kind::Text, "File name of an external data file");
    pub(crate) const DATA_FILE_RAW: Known =
        known("data_file_raw", Kind::Bool, "The external data file must stay valid as a raw image");
}

/// Options of qcow2, in the order in which they are shown.
const QCOW2: &[Known] = &[
    known(
        "encryption",
        Kind::Bool,
        "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
    ),
    known("encrypt.format", Kind::Text, "Encrypt the image, format choices: 'aes', 'luks'"),
    known(
        "encrypt.key-secret",
        Kind::Text,
        "ID of secret providing qcow AES key or LUKS passphrase",
    ),
    known("encrypt.cipher-alg", Kind::Text, "Name of encryption cipher algorithm"),
    known("encrypt.cipher-mode", Kind::Text, "Name of encryption cipher mode"),
    known("encrypt.ivgen-alg", Kind::Text, "Name of IV generator algorithm"),
    known("encrypt.ivgen-hash-alg", Kind::Text, "Name of IV generator hash algorithm"),
    known("encrypt.hash-alg", Kind::Text, "Name of encryption hash algorithm"),
    both::ITER_TIME,
    with_default("cluster_size", Kind::Size, "65536", "qcow2 cluster size"),
    with_default("extended_l2", Kind::Bool, "off", "Extended L2 tables"),
    known(
        "preallocation",
        Kind::Text,
        "Preallocation mode (allowed values: off, metadata, falloc, full)",
    ),
    with_default(
        "compression_type",
        Kind::Text,
        "zlib",
        "Compression method used for image cluster compression",
    ),
    both::SIZE,
    both::COMPAT,
    both::BACKING_FILE,
    both::BACKING_FMT,
    both::DATA_FILE,
    both::DATA_FILE_RAW,
    with_default("lazy_refcounts", Kind::Bool, "off", "Postpone refcount updates"),
    with_default("refcount_bits", Kind::Number, "16", "Width of a reference count entry in bits"),
];

/// Options of LUKS volumes, in the order in which they are shown.
const LUKS: &[Known] = &[
    both::SIZE,
    known("key-secret", Kind::Text, "ID of the secret that provides the keyslot passphrase"),
    known("cipher-alg", Kind::Text, "Name of encryption cipher algorithm"),
    known("cipher-mode", Kind::Text, "Name of encryption cipher mode"),
    known("ivgen-alg", Kind::Text, "Name of IV generator algorithm"),
    known("ivgen-hash-alg", Kind::Text, "Name of IV generator hash algorithm"),
    known("hash-alg", Kind::Text, "Name of encryption hash algorithm"),
    known("iter-time", Kind::Number, "Time to spend in PBKDF in milliseconds"),
    known("detached-header", Kind::Bool, "Create a detached LUKS header"),
];

/// Options of raw.
const RAW: &[Known] = &[both::SIZE];

/// Options of the file under any format.
const FILE: &[Known] = &[
    known("preallocation", Kind::Text, "Preallocation mode (allowed values: off, falloc, full)"),
    known("nocow", Kind::Bool, "Turn off copy-on-write (valid only on btrfs)"),
    known("extent_size_hint", Kind::Size, "Extent size hint for the image file, 0 to disable"),
];

/// Options of an export under any format.
const EXPORT: &[Known] =
    &[known("preallocation", Kind::Text, "Preallocation mode (allowed values: off)")];

/// What an image is made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file of the host.
    File,
    /// The export of a server.
    Export,
}

impl Place {
    /// What a name leads to.
    pub(super) fn of(filename: &str) -> Self {
        if is_export(filename) { Self::Export } else { Self::File }
    }

    fn known(self) -> &'static [Known] {
        match self {
            Self::File => FILE,
            Self::Export => EXPORT,
        }
    }
}

/// A format that can be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CreateFormat {
    /// Bytes as they are, over the `raw` driver.
    Raw,
    /// Bytes as they are, by the `file` driver itself.
    File,
    /// qcow2.
    Qcow2,
    /// A LUKS volume.
    Luks,
}

impl CreateFormat {
    /// The format of that name.
    ///
    /// # Errors
    /// There is none, it cannot be created, or this version does not have it.
    pub(super) fn named(name: &str) -> Result<Self, DiskError> {
        match name {
            "raw" => Ok(Self::Raw),
            "file" => Ok(Self::File),
            "qcow2" => Ok(Self::Qcow2),
            "luks" => Ok(Self::Luks),
            "null-co" | "null-aio" | "bochs" | "cloop" | "dmg" | "vvfat" | "blkdebug"
            | "blkverify" | "quorum" | "throttle" | "copy-on-read" | "compress" => {
                Err(DiskError::invalid(format!(
                    "Format driver '{name}' does not support image creation"
                )))
            }
            "qcow" | "qed" | "vdi" | "vhdx" | "vmdk" | "vpc" | "parallels" => {
                Err(DiskError::unsupported(format!(
                    "file format '{name}' is not available in this version"
                )))
            }
            _ => Err(DiskError::invalid(format!("Unknown file format '{name}'"))),
        }
    }

    /// The name of the format.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::File => "file",
            Self::Qcow2 => "qcow2",
            Self::Luks => "luks",
        }
    }

    /// Options of the format, then those of its place that the format does not have itself.
    fn known(self, place: Option<Place>) -> Vec<&'static Known> {
        let own = match self {
            Self::Qcow2 => QCOW2,
            Self::Luks => LUKS,
            Self::Raw | Self::File => RAW,
        };
        let added = place
            .map_or(&[][..], Place::known)
            .iter()
            .filter(|option| !own.iter().any(|own| own.name == option.name));
        own.iter().chain(added).collect()
    }
}

/// Options as they were given, each checked by its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CreateList {
    format: CreateFormat,
    place: Place,
    given: Vec<(&'static str, String)>,
}

impl CreateList {
    /// No options yet.
    pub(super) fn new(format: CreateFormat, place: Place) -> Self {
        Self { format, place, given: Vec::new() }
    }

    /// Options of an `-o` list for an image in a file.
    ///
    /// # Errors
    /// An option is unknown, or its value not of its type.
    pub(super) fn parse(format: CreateFormat, list: &str) -> Result<Self, DiskError> {
        Self::parse_in(format, Place::File, list)
    }

    /// Options of an `-o` list for an image in some place.
    ///
    /// # Errors
    /// As for [`CreateList::parse`].
    pub(super) fn parse_in(
        format: CreateFormat,
        place: Place,
        list: &str,
    ) -> Result<Self, DiskError> {
        let mut options = Self::new(format, place);
        for pair in parse_list(list) {
            // Also where an option's own name begins with `no`, as for the reference.
            let (key, value) = pair.flag_form();
            options.set(&key, &value)?;
        }
        Ok(options)
    }

    fn find(&self, name: &str) -> Option<&'static Known> {
        self.format.known(Some(self.place)).into_iter().find(|known| known.name == name)
    }

    /// Whether qcow2 itself has an option of that name, and not only the file under it.
    pub(super) fn qcow2_has(name: &str) -> bool {
        QCOW2.iter().any(|known| known.name == name)
    }

    /// Sets one option.
    ///
    /// # Errors
    /// The option is unknown, or the value not of its type.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), DiskError> {
        let known = self
            .find(name)
            .ok_or_else(|| DiskError::invalid(format!("Invalid parameter '{name}'")))?;
        let value = check_value(known, value)?;
        self.given.retain(|(given, _)| *given != known.name);
        self.given.push((known.name, value));
        Ok(())
    }

    /// Sets an option that the format has, whatever text it is; false if it has none of that name.
    pub(super) fn set_text(&mut self, name: &str, value: &str) -> bool {
        self.set(name, value).is_ok()
    }

    /// The value that was given.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// The names of the options that were given.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.given.iter().map(|(name, _)| *name)
    }

    /// The value that was given, or the default.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.given(name).or_else(|| self.find(name)?.default)
    }

    /// A flag.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.value(name) == Some("on")
    }

    /// A number or size.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    /// The format whose options these are.
    pub(super) fn format(&self) -> CreateFormat {
        self.format
    }

    /// A value as it is shown: numbers are signed there.
    fn shown_value(known: &Known, value: &str) -> String {
        match (known.kind, value.parse::<u64>()) {
            (Kind::Number, Ok(number)) => number.cast_signed().to_string(),
            _ => quote_commas(value),
        }
    }

    /// All options that have a value, as `key=value` with blanks between.
    pub(super) fn shown(&self) -> String {
        let shown = self.format.known(Some(self.place)).into_iter().filter_map(|known| {
            let value = self.value(known.name)?;
            Some(format!("{}={}", known.name, Self::shown_value(known, value)))
        });
        shown.collect::<Vec<_>>().join(" ")
    }
}

/// A value as text of its option's type.
///
/// # Errors
/// It is not of that type.
pub(super) fn check_value(known: &Known, value: &str) -> Result<String, DiskError> {
    let name = known.name;
    Ok(match known.kind {
        Kind::Text => value.to_owned(),
        Kind::Size => parse_option_size(name, value)?.to_string(),
        Kind::Number => wrapping_number(name, value)?.to_string(),
        Kind::Bool => match parse_bool(value) {
            Some(true) => "on".to_owned(),
            Some(false) => "off".to_owned(),
            None => {
                return Err(DiskError::invalid(format!(
                    "Parameter '{name}' expects 'on' or 'off'"
                )));
            }
        },
    })
}

/// A number; a negative one wraps, as in C, and fails where its option is judged.
fn wrapping_number(name: &str, value: &str) -> Result<u64, DiskError> {
    let (negative, digits) = match value.trim_start().strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    match parse_c_integer(digits) {
        Some(number) if negative => Ok(number.wrapping_neg()),
        Some(number) => Ok(number),
        None if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()) => {
            Err(DiskError::invalid(format!("Value '{value}' is too large for parameter '{name}'")))
        }
        None => Err(DiskError::invalid(format!("Parameter '{name}' expects a number"))),
    }
}

/// The line of help on an option.
pub(super) fn option_line(option: &Known) -> String {
    let kind = match option.kind {
        Kind::Text => "str",
        Kind::Size => "size",
        Kind::Number => "num",
        Kind::Bool => "bool (on/off)",
    };
    let left = format!("  {}=<{kind}>", option.name);
    format!("{left:<24} - {}\n", option.help)
}

/// The help that `-o help` prints; with a file name the options of its place are among them.
pub(super) fn help(format: CreateFormat, filename: Option<&str>) -> String {
    let mut known = format.known(filename.map(Place::of));
    known.sort_by_key(|known| known.name);
    let mut text = if filename.is_some() {
        "Supported options:\n".to_owned()
    } else {
        format!("Supported {} options:\n", format.name())
    };
    for option in known {
        text.push_str(&option_line(option));
    }
    if filename.is_none() {
        text.push_str(
            "\nThe protocol level may support further options.\nSpecify the target filename to \
             include those options.\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_shown_in_a_fixed_order_with_defaults() {
        let list = CreateList::parse(CreateFormat::Qcow2, "lazy_refcounts,size=1M,compat=v3");
        assert_eq!(
            list.expect("the list is well formed").shown(),
            "cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 compat=v3 \
             lazy_refcounts=on refcount_bits=16"
        );
        let list = CreateList::parse(CreateFormat::Raw, "preallocation=full,size=1k,nonocow");
        assert_eq!(
            list.expect("the list is well formed").shown(),
            "size=1024 preallocation=full nocow=off"
        );
        let list = CreateList::parse(CreateFormat::Raw, "nocow").map_err(|error| error.to_string());
        assert_eq!(list, Err("Invalid parameter 'cow'".to_owned()));
    }

    #[test]
    fn the_table_of_options_has_those_of_new_images() {
        let own = QCOW2.iter().chain(FILE).map(|known| known.name.to_owned());
        assert_eq!(crate::option_table::listed("New images"), own.collect());
    }

    #[test]
    fn values_are_checked_by_type() {
        for (list, error) in [
            ("nosuch=1", "Invalid parameter 'nosuch'"),
            ("lazy_refcounts=maybe", "Parameter 'lazy_refcounts' expects 'on' or 'off'"),
            ("refcount_bits=foo", "Parameter 'refcount_bits' expects a number"),
            ("size=-1", "Value '-1' is out of range for parameter 'size'"),
        ] {
            let parsed = CreateList::parse(CreateFormat::Qcow2, list);
            assert_eq!(parsed.map_err(|e| e.to_string()), Err(error.to_owned()), "{list}");
        }
    }
}
