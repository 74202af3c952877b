//! What a qcow2 image says about itself, read without guest data and without any other file.

use holstein_format::{
    AutoclearFeatures, BitmapDirectoryEntry, BitmapFlags, CompatibleFeatures, CompressionType,
    CryptMethod, DecodePurpose, Header, IncompatibleFeatures, RecordError, Version,
};
use holstein_snapshot::{SnapshotError, SnapshotTable};
use holstein_storage::Storage;

use super::luks::luks_facts;
use super::{FileNode, read_header};
use crate::disk::{DiskError, engine_error};
use crate::text::Json;

/// Facts about a qcow2 image.
#[derive(Clone, Debug)]
pub(crate) struct QcowFacts {
    /// The header.
    pub(crate) header: Header,
    /// The format's own facts, in the order in which they are printed.
    pub(crate) specific: Json,
    /// Internal snapshots.
    pub(crate) snapshots: SnapshotTable,
}

impl QcowFacts {
    /// Reads the header, the snapshot table and what `specific` names.
    ///
    /// # Errors
    /// One of them is broken, or the image has features that are unknown.
    pub(crate) fn read(file: &FileNode) -> Result<Self, DiskError> {
        let header = read_header(file, DecodePurpose::Use)?;
        let snapshots = SnapshotTable::read(&*file.storage, &header)
            .map_err(|error| no_snapshots(&error, header.nb_snapshots))?;
        let specific = specific(&*file.storage, &header)?;
        Ok(Self { header, specific, snapshots })
    }

    /// Whether the image was not closed after writes under lazy refcounts.
    pub(crate) fn is_dirty(&self) -> bool {
        self.header.incompatible.contains(IncompatibleFeatures::DIRTY)
    }

    /// Whether guest data is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.header.crypt_method != CryptMethod::None
    }

    /// The name of the backing file as it is stored.
    pub(crate) fn backing_file(&self) -> Option<String> {
        self.header.backing_file.as_deref().map(lossy)
    }

    /// The name of the backing file's format.
    pub(crate) fn backing_format(&self) -> Option<String> {
        self.header.backing_format().map(lossy)
    }
}

/// Why the table of so many snapshots could not be read, and whether a repair can cut it.
fn no_snapshots(error: &SnapshotError, count: u32) -> DiskError {
    let failed = DiskError::new(libc::EIO, format!("Could not read snapshots: {error}"));
    let what = match error {
        SnapshotError::TableTooLarge { index, .. } => {
            format!("all {} overhanging snapshots", count.saturating_sub(*index))
        }
        SnapshotError::Record { source: RecordError::ExtraTooLarge { .. }, .. } => {
            "this extra metadata".to_owned()
        }
        _ => return failed,
    };
    failed.with_hint(format!("You can force-remove {what} with qemu-img check -r all"))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The facts that only qcow2 images have.
fn specific(storage: &dyn Storage, header: &Header) -> Result<Json, DiskError> {
    let compression = match header.compression {
        CompressionType::Deflate => "zlib",
        CompressionType::Zstd => "zstd",
    };
    let bits: u64 = 1 << header.refcount_order.get();
    let version_2 = header.version == Version::V2;
    let mut facts = Json::map([
        ("compat", if version_2 { "0.10" } else { "1.1" }.into()),
        ("compression-type", compression.into()),
    ]);
    if !version_2 {
        let lazy = header.compatible.contains(CompatibleFeatures::LAZY_REFCOUNTS);
        facts.push("lazy-refcounts", lazy);
        if let Some(bitmaps) = bitmaps(storage, header)? {
            facts.push("bitmaps", bitmaps);
        }
    }
    facts.push("refcount-bits", bits);
    let has_data_file = header.incompatible.contains(IncompatibleFeatures::DATA_FILE);
    if !version_2
        && has_data_file
        && let Some(name) = header.data_file()
    {
        facts.push("data-file", lossy(name));
    }
    match header.crypt_method {
        CryptMethod::None => {}
        CryptMethod::Aes => facts.push("encrypt", Json::map([("format", "aes".into())])),
        CryptMethod::Luks => {
            if let Some(luks) =
                holstein::luks_header(storage, header).map_err(|e| engine_error(&e))?
            {
                facts.push("encrypt", luks_facts(&luks));
            }
        }
    }
    if !version_2 {
        if has_data_file {
            facts
                .push("data-file-raw", header.autoclear.contains(AutoclearFeatures::RAW_DATA_FILE));
        }
        facts.push("corrupt", header.incompatible.contains(IncompatibleFeatures::CORRUPT));
        facts.push("extended-l2", header.geometry.extended_l2());
    }
    Ok(facts)
}

/// The persistent bitmaps, if the image has any that hold.
fn bitmaps(storage: &dyn Storage, header: &Header) -> Result<Option<Json>, DiskError> {
    let Some(extension) = header.bitmaps() else { return Ok(None) };
    let broken = |what: &str| DiskError::new(libc::EINVAL, format!("bitmap directory: {what}"));
    let file_len = storage.len()?;
    let end = extension.directory_offset.get().checked_add(extension.directory_size);
    if end.is_none_or(|end| end > file_len) {
        return Err(broken("it lies past the end of the file"));
    }
    // The format allows 64 MiB at most, and the file has them.
    let size = usize::try_from(extension.directory_size).map_err(|_| broken("it is too large"))?;
    let mut directory = vec![0; size];
    if storage.read_at(extension.directory_offset, &mut directory)? < size {
        return Err(broken("it lies past the end of the file"));
    }
    let mut rest = directory.as_slice();
    let mut list = Vec::new();
    while !rest.is_empty() {
        let (entry, len) =
            BitmapDirectoryEntry::decode(rest).map_err(|error| broken(&error.to_string()))?;
        rest = rest.get(len..).unwrap_or_default();
        let mut flags = Vec::new();
        for (flag, name) in [(BitmapFlags::IN_USE, "in-use"), (BitmapFlags::AUTO, "auto")] {
            if entry.flags.contains(flag) {
                flags.push(Json::str(name));
            }
        }
        let granularity = 1u64.checked_shl(entry.granularity_bits.into()).unwrap_or(0);
        list.push(Json::map([
            ("flags", Json::List(flags)),
            ("name", Json::Str(lossy(&entry.name))),
            ("granularity", granularity.into()),
        ]));
    }
    Ok(Some(Json::List(list)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holstein_units::HostOffset;

    #[test]
    fn tables_that_a_repair_can_cut_say_so() {
        let at = HostOffset::new(0x10000);
        let large = no_snapshots(&SnapshotError::TableTooLarge { at, index: 507 }, 508);
        let hint = "You can force-remove all 1 overhanging snapshots with qemu-img check -r all";
        assert_eq!(large.hint(), Some(hint));
        let source = RecordError::ExtraTooLarge { size: 65_536 };
        let extra = no_snapshots(&SnapshotError::Record { index: 3, at, source }, 4);
        let hint = "You can force-remove this extra metadata with qemu-img check -r all";
        assert_eq!(extra.hint(), Some(hint));
        assert_eq!(no_snapshots(&SnapshotError::Truncated { index: 0, at }, 1).hint(), None);
    }
}
