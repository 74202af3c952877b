//! Options with which a qcow2 image is opened.

use holstein::format::CryptMethod;
use holstein::{OverlapCheck, Region};

use super::Options;
use crate::disk::DiskError;

/// The options that were given; the others keep the engine's defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct QcowOptions {
    /// Postpone refcount writes.
    pub(crate) lazy_refcounts: Option<bool>,
    /// Guest discards go down.
    pub(crate) pass_discard_request: Option<bool>,
    /// Space that deleted snapshots free is discarded.
    pub(crate) pass_discard_snapshot: Option<bool>,
    /// Other space that is freed is discarded.
    pub(crate) pass_discard_other: Option<bool>,
    /// Discarded clusters keep their host cluster.
    pub(crate) discard_no_unref: Option<bool>,
    /// Structures that writes are checked against.
    pub(crate) overlap_check: OverlapChecks,
    /// Bytes of all metadata caches.
    pub(crate) cache_size: Option<u64>,
    /// Bytes of the cache of L2 tables.
    pub(crate) l2_cache_size: Option<u64>,
    /// Bytes of one entry of it.
    pub(crate) l2_cache_entry_size: Option<u64>,
    /// Bytes of the cache of refcount blocks.
    pub(crate) refcount_cache_size: Option<u64>,
    /// Seconds after which unused entries are dropped; 0 never drops them.
    pub(crate) cache_clean_interval: Option<u64>,
    /// The backing file is left out.
    pub(crate) no_backing: bool,
    /// The format of the backing file, whatever is recorded.
    pub(crate) backing: Option<Options>,
    /// The node to use as the external data file, whatever is recorded.
    pub(crate) data_file: Option<Options>,
    /// The encryption that the image should have.
    pub(crate) encrypt_format: Option<String>,
    /// The name of the secret that is its passphrase.
    pub(crate) key_secret: Option<String>,
}

/// The template of overlap checks and what overrides it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OverlapChecks {
    /// `none`, `constant`, `cached` or `all`.
    pub(crate) template: Option<String>,
    /// Single structures, protected or not.
    pub(crate) single: Vec<(Region, bool)>,
}

/// Names of the single overlap checks.
const CHECKS: [(&str, Region); 9] = [
    ("main-header", Region::MainHeader),
    ("active-l1", Region::ActiveL1),
    ("active-l2", Region::ActiveL2),
    ("refcount-table", Region::RefcountTable),
    ("refcount-block", Region::RefcountBlock),
    ("snapshot-table", Region::SnapshotTable),
    ("inactive-l1", Region::InactiveL1),
    ("inactive-l2", Region::InactiveL2),
    ("bitmap-directory", Region::BitmapDirectory),
];

impl QcowOptions {
    /// Takes all options of the driver.
    ///
    /// # Errors
    /// A value does not fit its option, an option is unknown, or it belongs to a feature that this
    /// version does not have.
    pub(crate) fn take(options: &mut Options) -> Result<Self, DiskError> {
        let mut taken = Self {
            lazy_refcounts: options.take_bool("lazy-refcounts")?,
            pass_discard_request: options.take_bool("pass-discard-request")?,
            pass_discard_snapshot: options.take_bool("pass-discard-snapshot")?,
            pass_discard_other: options.take_bool("pass-discard-other")?,
            discard_no_unref: options.take_bool("discard-no-unref")?,
            overlap_check: take_overlap_checks(options)?,
            cache_size: options.take_size("cache-size")?,
            l2_cache_size: options.take_size("l2-cache-size")?,
            l2_cache_entry_size: options.take_size("l2-cache-entry-size")?,
            refcount_cache_size: options.take_size("refcount-cache-size")?,
            cache_clean_interval: options.take_number("cache-clean-interval")?,
            ..Self::default()
        };
        taken.take_encryption(options)?;
        taken.take_data_file(options)?;
        taken.take_backing(options)?;
        match options.first_key() {
            None => Ok(taken),
            Some(key) => Err(DiskError::invalid(format!(
                "Block format 'qcow2' does not support the option '{key}'"
            ))),
        }
    }

    fn take_encryption(&mut self, options: &mut Options) -> Result<(), DiskError> {
        let mut encrypt = options.take_node("encrypt");
        self.encrypt_format = encrypt.take_text("format")?;
        self.key_secret = encrypt.take_text("key-secret")?;
        match encrypt.first_key() {
            None => Ok(()),
            Some(key) => Err(DiskError::invalid(format!("Parameter '{key}' is unexpected"))),
        }
    }

    /// Compares the encryption that was asked for with that of the header.
    ///
    /// # Errors
    /// They differ.
    pub(crate) fn check_encryption(&self, method: CryptMethod) -> Result<(), DiskError> {
        let Some(asked) = &self.encrypt_format else { return Ok(()) };
        let found = match method {
            CryptMethod::None => {
                return Err(DiskError::invalid(format!(
                    "No encryption in image header, but options specified format '{asked}'"
                )));
            }
            CryptMethod::Aes => "aes",
            CryptMethod::Luks => "luks",
        };
        if asked == found {
            return Ok(());
        }
        Err(DiskError::invalid(format!(
            "Header reported '{found}' encryption format but options specify '{asked}'"
        )))
    }

    fn take_data_file(&mut self, options: &mut Options) -> Result<(), DiskError> {
        let nested = options.take_node("data-file");
        match options.take("data-file") {
            Some(crate::text::Json::Str(name)) => return Err(no_node(&name)),
            Some(_) => {
                return Err(DiskError::invalid(
                    "Invalid parameter type for 'data-file', expected: string",
                ));
            }
            None => {}
        }
        self.data_file = (!nested.is_empty()).then_some(nested);
        Ok(())
    }

    fn take_backing(&mut self, options: &mut Options) -> Result<(), DiskError> {
        let nested = options.take_node("backing");
        match options.take("backing") {
            Some(crate::text::Json::Null) => self.no_backing = true,
            Some(crate::text::Json::Str(name)) if name.is_empty() => self.no_backing = true,
            Some(crate::text::Json::Str(name)) => {
                return Err(no_node(&name).prefixed("Could not open backing file: "));
            }
            Some(_) => {
                return Err(DiskError::invalid(
                    "Invalid parameter type for 'backing', expected: string",
                ));
            }
            None => {}
        }
        if !nested.is_empty() {
            self.backing = Some(nested);
        }
        Ok(())
    }
}

/// No node has a name to which another one could refer.
pub(super) fn no_node(name: &str) -> DiskError {
    DiskError::invalid(format!("Cannot find device='{name}' nor node-name='{name}'"))
}

fn take_overlap_checks(options: &mut Options) -> Result<OverlapChecks, DiskError> {
    let short = options.take_text("overlap-check")?;
    let long = options.take_text("overlap-check.template")?;
    let template = match (short, long) {
        (Some(short), Some(long)) if short != long => {
            return Err(DiskError::invalid(format!(
                "Conflicting values for qcow2 options 'overlap-check' ('{short}') and \
                 'overlap-check.template' ('{long}')"
            )));
        }
        (short, long) => short.or(long),
    };
    if let Some(template) = &template
        && !matches!(template.as_str(), "none" | "constant" | "cached" | "all")
    {
        return Err(DiskError::invalid(format!(
            "Unsupported value '{template}' for qcow2 option 'overlap-check'. Allowed are any of \
             the following: none, constant, cached, all"
        )));
    }
    let mut single = Vec::new();
    for (name, region) in CHECKS {
        if let Some(on) = options.take_bool(&format!("overlap-check.{name}"))? {
            single.push((region, on));
        }
    }
    Ok(OverlapChecks { template, single })
}

/// The structures that the options protect; none where they say nothing.
pub(crate) fn overlap_mask(checks: &OverlapChecks) -> Option<OverlapCheck> {
    if checks.template.is_none() && checks.single.is_empty() {
        return None;
    }
    let mut mask = match checks.template.as_deref() {
        Some("none") => OverlapCheck::NONE,
        Some("constant") => OverlapCheck::CONSTANT,
        Some("all") => OverlapCheck::ALL,
        _ => OverlapCheck::CACHED,
    };
    for (region, on) in &checks.single {
        mask = if *on { mask.union(region.mask()) } else { mask.without(region.mask()) };
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<QcowOptions, String> {
        let mut options = Options::parse(text, None);
        QcowOptions::take(&mut options).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_of_options_has_those_of_opening() {
        let mut options = Options::default();
        QcowOptions::take(&mut options).expect("none is needed");
        let mut known = options.asked.keys();
        // Taken before, for all formats.
        known.insert("file".to_owned());
        assert_eq!(crate::option_table::listed("Opening a qcow2 image"), known);
    }

    #[test]
    fn options_are_taken_by_their_names() {
        let options = take("lazy-refcounts=on,l2-cache-size=1M,overlap-check=all,backing=");
        let options = options.expect("the options are well formed");
        assert_eq!(options.lazy_refcounts, Some(true));
        assert_eq!(options.l2_cache_size, Some(1 << 20));
        assert!(options.no_backing);
        for (name, passed) in [
            ("request", [Some(true), None, None]),
            ("snapshot", [None, Some(true), None]),
            ("other", [None, None, Some(true)]),
        ] {
            let options = take(&format!("pass-discard-{name}=on")).expect("well formed");
            let found = [
                options.pass_discard_request,
                options.pass_discard_snapshot,
                options.pass_discard_other,
            ];
            assert_eq!(found, passed, "{name}");
        }
    }

    #[test]
    fn single_checks_change_the_template() {
        let mask = |text: &str| {
            overlap_mask(&take(text).expect("the options are well formed").overlap_check)
        };
        assert_eq!(mask(""), None);
        assert_eq!(mask("overlap-check=none"), Some(OverlapCheck::NONE));
        assert_eq!(mask("overlap-check.template=constant"), Some(OverlapCheck::CONSTANT));
        assert_eq!(mask("overlap-check=cached"), Some(OverlapCheck::CACHED));
        assert_eq!(mask("overlap-check=all"), Some(OverlapCheck::ALL));
        for (n, name) in [
            "main-header",
            "active-l1",
            "active-l2",
            "refcount-table",
            "refcount-block",
            "snapshot-table",
            "inactive-l1",
            "inactive-l2",
            "bitmap-directory",
        ]
        .into_iter()
        .enumerate()
        {
            let single = OverlapCheck::from_bits(1 << n);
            let on = mask(&format!("overlap-check=none,overlap-check.{name}=on"));
            assert_eq!(on, Some(single), "{name}");
            let off = mask(&format!("overlap-check=all,overlap-check.{name}=off"));
            assert_eq!(off, Some(OverlapCheck::ALL.without(single)), "{name}");
            let alone = mask(&format!("overlap-check.{name}=off"));
            assert_eq!(alone, Some(OverlapCheck::CACHED.without(single)), "{name}");
        }
    }

    #[test]
    fn unknown_and_contradicting_options_are_refused() {
        assert_eq!(
            take("foo=1"),
            Err("Block format 'qcow2' does not support the option 'foo'".to_owned())
        );
        assert!(take("overlap-check=all,overlap-check.template=none").is_err());
        assert!(take("overlap-check=some").is_err());
        assert!(take("overlap-check.active-l1=maybe").is_err());
        assert_eq!(take("encrypt.nosuch=1"), Err("Parameter 'nosuch' is unexpected".to_owned()));
        // Whether there is such a secret matters to who needs it.
        assert!(take("encrypt.key-secret=x").is_ok());
    }
}
