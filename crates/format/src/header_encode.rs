//! From a header to the bytes of the first cluster, or of a few fields.

use alloc::vec::Vec;

use crate::error::FormatError;
use crate::feature_name::FeatureName;
use crate::header::{CompressionType, Header};
use crate::header_extension::{self, ExtensionFrame, HeaderExtension};
use crate::limits::{HEADER_V2_BYTES, HEADER_V3_BYTES, MAGIC, MAX_BACKING_FORMAT_BYTES};
use crate::raw_header::{RawHeaderV2, RawHeaderV3};
use crate::refcount_order::RefcountOrder;
use crate::version::Version;
use holstein_units::HostOffset;
use zerocopy::IntoBytes as _;

/// Where the fields are that are written alone; each lies within one sector.
pub mod field_offset {
    use core::mem::offset_of;

    use crate::raw_header::{RawHeaderV2, RawHeaderV3};

    /// The disk size: 8 bytes.
    pub const SIZE: u64 = offset_of!(RawHeaderV2, size) as u64;
    /// L1 size and offset: 4 and 8 bytes.
    pub const L1: u64 = offset_of!(RawHeaderV2, l1_size) as u64;
    /// Refcount table offset and clusters: 8 and 4 bytes.
    pub const REFCOUNT_TABLE: u64 = offset_of!(RawHeaderV2, refcount_table_offset) as u64;
    /// Number of snapshots and offset of their table: 4 and 8 bytes.
    pub const SNAPSHOTS: u64 = offset_of!(RawHeaderV2, nb_snapshots) as u64;
    /// Incompatible features: 8 bytes.
    pub const INCOMPATIBLE: u64 = offset_of!(RawHeaderV3, incompatible_features) as u64;
    /// Autoclear features: 8 bytes.
    pub const AUTOCLEAR: u64 = offset_of!(RawHeaderV3, autoclear_features) as u64;
}

impl Header {
    /// The disk size, to be written alone.
    #[must_use]
    pub fn encode_size(&self) -> (HostOffset, [u8; 8]) {
        (HostOffset::new(field_offset::SIZE), self.size.to_be_bytes())
    }

    /// Size and offset of the active L1 table, to be written alone.
    #[must_use]
    pub fn encode_l1_fields(&self) -> (HostOffset, [u8; 12]) {
        let at = HostOffset::new(field_offset::L1);
        (at, narrow_wide(self.l1_size, self.l1_table_offset))
    }

    /// Offset and clusters of the refcount table, to be written alone.
    #[must_use]
    pub fn encode_refcount_table_fields(&self) -> (HostOffset, [u8; 12]) {
        let mut bytes = [0; 12];
        let (offset, clusters) = bytes.split_at_mut(8);
        offset.copy_from_slice(&self.refcount_table_offset.get().to_be_bytes());
        clusters.copy_from_slice(&self.refcount_table_clusters.to_be_bytes());
        (HostOffset::new(field_offset::REFCOUNT_TABLE), bytes)
    }

    /// Number of snapshots and offset of their table, to be written alone.
    #[must_use]
    pub fn encode_snapshot_fields(&self) -> (HostOffset, [u8; 12]) {
        let at = HostOffset::new(field_offset::SNAPSHOTS);
        (at, narrow_wide(self.nb_snapshots, self.snapshots_offset))
    }

    /// The incompatible features, to be written alone; in version 3 only.
    ///
    /// # Errors
    /// [`FormatError::NotInVersion2`].
    pub fn encode_incompatible(&self) -> Result<(HostOffset, [u8; 8]), FormatError> {
        self.needs_version_3("incompatible features", self.version == Version::V2)?;
        let at = HostOffset::new(field_offset::INCOMPATIBLE);
        Ok((at, self.incompatible.bits().to_be_bytes()))
    }

    /// The autoclear features, to be written alone; in version 3 only.
    ///
    /// # Errors
    /// [`FormatError::NotInVersion2`].
    pub fn encode_autoclear(&self) -> Result<(HostOffset, [u8; 8]), FormatError> {
        self.needs_version_3("autoclear features", self.version == Version::V2)?;
        Ok((HostOffset::new(field_offset::AUTOCLEAR), self.autoclear.bits().to_be_bytes()))
    }

    /// The whole first cluster.
    ///
    /// Fixed fields, unknown fields, then extensions: backing format, data file, encryption header,
    /// feature names, bitmaps, unknown ones in their order; the end marker, the backing name, zeros.
    /// Of several extensions of a known kind the last is written. The feature names are always the
    /// standard ones, in version 3 with clusters above 4096 bytes, and left out otherwise.
    ///
    /// # Errors
    /// [`FormatError::NoSpace`] if a cluster is too small, [`FormatError::NotInVersion2`],
    /// [`FormatError::BackingNameTooLong`], [`FormatError::BackingFormatTooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let cluster_size = self.geometry.cluster_size();
        let mut rest = self.unknown_fields.clone();
        rest.resize(rest.len().next_multiple_of(8), 0);
        let fixed_bytes = match self.version {
            Version::V2 => HEADER_V2_BYTES,
            Version::V3 => HEADER_V3_BYTES,
        };
        let header_length = u64::from(fixed_bytes) + rest.len() as u64;
        let no_space = |needed| FormatError::NoSpace { needed, cluster_size };
        if header_length > cluster_size {
            return Err(no_space(header_length));
        }
        for extension in self.extensions_to_write() {
            push_extension(&mut rest, &extension).ok_or(no_space(u64::MAX))?;
        }
        let end = ExtensionFrame { kind: header_extension::END.into(), length: 0.into() };
        rest.extend_from_slice(end.as_bytes());

        let backing = self.backing_file.as_deref().unwrap_or_default();
        let backing_at = u64::from(fixed_bytes) + rest.len() as u64;
        let needed = backing_at + backing.len() as u64;
        if needed > cluster_size {
            return Err(no_space(needed));
        }
        self.judge_names(backing_at)?;
        rest.extend_from_slice(backing);

        let backing_at = if backing.is_empty() { 0 } else { backing_at };
        let fixed = self.encode_fixed(header_length, backing_at, backing.len())?;
        let mut cluster = fixed.as_bytes().get(..fixed_bytes as usize).unwrap_or_default().to_vec();
        cluster.extend_from_slice(&rest);
        cluster.resize(usize::try_from(cluster_size).expect("at most 2 MiB"), 0);
        Ok(cluster)
    }

    fn encode_fixed(
        &self,
        header_length: u64,
        backing_at: u64,
        backing_length: usize,
    ) -> Result<RawHeaderV3, FormatError> {
        let narrow = |n: u64| u32::try_from(n).expect("within the first cluster");
        let old = self.version == Version::V2;
        self.needs_version_3(
            "feature bits",
            old && (self.incompatible.bits() | self.compatible.bits() | self.autoclear.bits()) != 0,
        )?;
        self.needs_version_3(
            "refcount width",
            old && self.refcount_order != RefcountOrder::DEFAULT,
        )?;
        self.needs_version_3(
            "compression type",
            old && self.compression != CompressionType::Deflate,
        )?;
        self.needs_version_3("unknown fields", old && !self.unknown_fields.is_empty())?;
        Ok(RawHeaderV3 {
            v2: RawHeaderV2 {
                magic: MAGIC.into(),
                version: self.version.number().into(),
                backing_file_offset: backing_at.into(),
                backing_file_size: narrow(backing_length as u64).into(),
                cluster_bits: self.geometry.cluster_bits().get().into(),
                size: self.size.into(),
                crypt_method: self.crypt_method.number().into(),
                l1_size: self.l1_size.into(),
                l1_table_offset: self.l1_table_offset.get().into(),
                refcount_table_offset: self.refcount_table_offset.get().into(),
                refcount_table_clusters: self.refcount_table_clusters.into(),
                nb_snapshots: self.nb_snapshots.into(),
                snapshots_offset: self.snapshots_offset.get().into(),
            },
            incompatible_features: self.incompatible.bits().into(),
            compatible_features: self.compatible.bits().into(),
            autoclear_features: self.autoclear.bits().into(),
            refcount_order: self.refcount_order.get().into(),
            header_length: narrow(header_length).into(),
            compression_type: self.compression.number(),
            padding: [0; 7],
        })
    }

    /// Known extensions by rank, the last of each kind, then the unknown ones.
    fn extensions_to_write(&self) -> Vec<HeaderExtension> {
        let mut all = Vec::new();
        for kind in [
            header_extension::BACKING_FORMAT,
            header_extension::DATA_FILE,
            header_extension::ENCRYPTION_HEADER,
            header_extension::FEATURE_NAMES,
            header_extension::BITMAPS,
        ] {
            if kind == header_extension::FEATURE_NAMES {
                if self.has_feature_names() {
                    all.push(HeaderExtension::FeatureNames(FeatureName::standard_table()));
                }
            } else {
                all.extend(self.extensions.iter().rev().find(|e| e.kind() == kind).cloned());
            }
        }
        let unknown = |e: &&HeaderExtension| matches!(e, HeaderExtension::Unknown { .. });
        all.extend(self.extensions.iter().filter(unknown).cloned());
        all
    }

    fn judge_names(&self, backing_at: u64) -> Result<(), FormatError> {
        if let Some(name) = &self.backing_file {
            let length = name.len() as u64;
            let limit = Self::backing_name_limit(self.geometry.cluster_size(), backing_at);
            if length > limit {
                return Err(FormatError::BackingNameTooLong { offset: backing_at, length, limit });
            }
            if name.contains(&0) {
                return Err(FormatError::ZeroByteInName { name: "backing file name" });
            }
        }
        for (name, what) in
            [(self.backing_format(), "backing format name"), (self.data_file(), "data file name")]
        {
            if name.is_some_and(|name| name.contains(&0)) {
                return Err(FormatError::ZeroByteInName { name: what });
            }
        }
        match self.backing_format() {
            Some(name) if name.len() > MAX_BACKING_FORMAT_BYTES as usize => {
                Err(FormatError::BackingFormatTooLong { length: name.len() })
            }
            _ => Ok(()),
        }
    }

    fn needs_version_3(&self, field: &'static str, needed: bool) -> Result<(), FormatError> {
        if needed { Err(FormatError::NotInVersion2 { field }) } else { Ok(()) }
    }
}

/// Appends frame, data and padding; `None` if the length does not fit in 32 bits.
fn push_extension(to: &mut Vec<u8>, extension: &HeaderExtension) -> Option<()> {
    let data = extension.encode();
    let length = u32::try_from(data.len()).ok()?;
    let frame = ExtensionFrame { kind: extension.kind().into(), length: length.into() };
    to.extend_from_slice(frame.as_bytes());
    to.extend_from_slice(&data);
    to.resize(to.len().next_multiple_of(8), 0);
    Some(())
}

/// A 32-bit and a 64-bit field side by side.
fn narrow_wide(narrow: u32, wide: HostOffset) -> [u8; 12] {
    let mut bytes = [0; 12];
    let (low, high) = bytes.split_at_mut(4);
    low.copy_from_slice(&narrow.to_be_bytes());
    high.copy_from_slice(&wide.get().to_be_bytes());
    bytes
}
