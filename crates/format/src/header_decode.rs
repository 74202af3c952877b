//! From the bytes of the first cluster to a header.

use alloc::vec::Vec;

use crate::error::{FormatError, Table};
use crate::feature_name::{FeatureName, feature_kind};
use crate::features::{AutoclearFeatures, CompatibleFeatures, IncompatibleFeatures};
use crate::header::{CompressionType, CryptMethod, DecodePurpose, Header};
use crate::header_extension::{self, ExtensionFrame, HeaderExtension};
use crate::limits::{
    HEADER_V2_BYTES, HEADER_V3_BYTES, HEADER_V3_MIN_BYTES, MAGIC, MAX_FILE_BYTES, MAX_L1_BYTES,
    MAX_REFCOUNT_TABLE_BYTES, MAX_SNAPSHOTS, MIN_EXTENDED_CLUSTER_BITS,
};
use crate::raw_header::{RawHeaderV2, RawHeaderV3};
use crate::refcount_order::RefcountOrder;
use crate::snapshot_record::SnapshotRecord;
use crate::version::Version;
use holstein_units::{ClusterBits, Geometry, HostOffset, SECTOR};

/// L1 entries past which QEMU calls a disk too big: 2^31 - 1.
const MAX_L1_NEEDED: u64 = i32::MAX as u64;

impl Header {
    /// The size of a cluster, from the first 24 bytes or more of a file.
    ///
    /// For callers that read 512 bytes first and the rest of the first cluster only if
    /// [`Header::decode`] asks for it.
    ///
    /// # Errors
    /// [`FormatError::BadMagic`], [`FormatError::UnsupportedVersion`] and
    /// [`FormatError::ClusterBits`].
    pub fn cluster_size_hint(first_512: &[u8]) -> Result<u64, FormatError> {
        let mut bytes = [0; size_of::<RawHeaderV2>()];
        for (to, from) in bytes.iter_mut().zip(first_512) {
            *to = *from;
        }
        let raw: RawHeaderV2 = zerocopy::transmute!(bytes);
        decode_shape(&raw).map(|(_, bits)| bits.size())
    }

    /// Reads and judges a header.
    ///
    /// * `first_cluster`: bytes from the start of the file, as many as the caller has; more than a
    ///   cluster is as good as a cluster. Where the file ends earlier the rest counts as zeros.
    /// * `file_len`: the length of the file in bytes.
    ///
    /// The rules are applied in the order in which QEMU applies them. Whether a backing or data file
    /// can be opened and whether the corrupt bit matters is for the caller to judge.
    ///
    /// # Errors
    /// [`FormatError::NeedsMore`] if the slice is too short for what the header announces; each of
    /// the others names what is wrong.
    pub fn decode(
        first_cluster: &[u8],
        file_len: u64,
        purpose: DecodePurpose,
    ) -> Result<Self, FormatError> {
        let source = FirstCluster { bytes: first_cluster, file_len };
        let mut fixed = [0; size_of::<RawHeaderV3>()];
        source.fill(0, &mut fixed)?;
        let raw: RawHeaderV3 = zerocopy::transmute!(fixed);
        let (version, bits) = decode_shape(&raw.v2)?;
        let cluster_size = bits.size();

        let header_length = match version {
            Version::V2 => HEADER_V2_BYTES,
            Version::V3 => raw.header_length.get(),
        };
        if version == Version::V3 && header_length < HEADER_V3_MIN_BYTES {
            return Err(FormatError::HeaderTooShort { length: header_length });
        }
        if u64::from(header_length) > cluster_size {
            return Err(FormatError::HeaderTooLong { length: header_length, cluster_size });
        }
        let backing_offset = raw.v2.backing_file_offset.get();
        if backing_offset > cluster_size {
            return Err(FormatError::BackingOffset { offset: backing_offset });
        }

        let (incompatible, compatible, autoclear) = match version {
            Version::V2 => Default::default(),
            Version::V3 => (
                IncompatibleFeatures::new(raw.incompatible_features.get()),
                CompatibleFeatures::new(raw.compatible_features.get()),
                AutoclearFeatures::new(raw.autoclear_features.get()),
            ),
        };
        let compression = decode_compression(&raw, header_length, incompatible)?;

        let end = if backing_offset == 0 { cluster_size } else { backing_offset };
        let frames = read_frames(&source, u64::from(header_length), end);
        if let Err(needs @ FormatError::NeedsMore { .. }) = frames {
            return Err(needs);
        }
        if incompatible.unknown() != 0 {
            let names = names_of(frames.as_deref().unwrap_or_default());
            return Err(FormatError::UnknownFeatures { bits: incompatible.unknown(), names });
        }

        let extended_l2 = incompatible.contains(IncompatibleFeatures::EXTENDED_L2);
        if extended_l2 && bits.get() < MIN_EXTENDED_CLUSTER_BITS {
            return Err(FormatError::SubclusterSize { cluster_size });
        }
        let geometry = Geometry::new(bits, extended_l2);
        let refcount_order = match version {
            Version::V2 => RefcountOrder::DEFAULT,
            Version::V3 => {
                let order = raw.refcount_order.get();
                RefcountOrder::new(order).ok_or(FormatError::RefcountOrder { order })?
            }
        };

        // Rounded down in this type: a disk ends with its last whole sector.
        let size = raw.v2.size.get() / SECTOR * SECTOR;
        judge_tables(&raw.v2, geometry, purpose)?;
        judge_disk_size(size, raw.v2.l1_size.get(), geometry)?;
        let method = raw.v2.crypt_method.get();
        let crypt_method =
            CryptMethod::from_number(method).ok_or(FormatError::UnknownEncryption { method })?;

        let extensions = frames?
            .iter()
            .filter(|(kind, _)| *kind != header_extension::PADDING)
            .map(|(kind, data)| HeaderExtension::decode(*kind, data))
            .collect::<Result<Vec<_>, _>>()?;
        judge_extensions(&extensions, geometry, crypt_method, autoclear)?;
        if autoclear.contains(AutoclearFeatures::RAW_DATA_FILE)
            && !incompatible.contains(IncompatibleFeatures::DATA_FILE)
        {
            return Err(FormatError::RawWithoutDataFile);
        }

        let backing_file = read_backing_name(&source, &raw.v2, cluster_size)?;
        let unknown_fields = read_unknown_fields(&source, version, header_length)?;
        Ok(Self {
            version,
            geometry,
            size,
            crypt_method,
            l1_size: raw.v2.l1_size.get(),
            l1_table_offset: HostOffset::new(raw.v2.l1_table_offset.get()),
            refcount_table_offset: HostOffset::new(raw.v2.refcount_table_offset.get()),
            refcount_table_clusters: raw.v2.refcount_table_clusters.get(),
            nb_snapshots: raw.v2.nb_snapshots.get(),
            snapshots_offset: HostOffset::new(raw.v2.snapshots_offset.get()),
            incompatible,
            compatible,
            autoclear,
            refcount_order,
            header_length,
            compression,
            unknown_fields,
            extensions,
            backing_file,
        })
    }
}

/// The first cluster as far as it was read; past the end of the file it is zeros.
struct FirstCluster<'a> {
    bytes: &'a [u8],
    file_len: u64,
}

impl FirstCluster<'_> {
    /// Copies bytes from `at` on.
    fn fill(&self, at: u64, into: &mut [u8]) -> Result<(), FormatError> {
        let end = at + into.len() as u64;
        if end.min(self.file_len) > self.bytes.len() as u64 {
            return Err(FormatError::NeedsMore { bytes: end.min(self.file_len) });
        }
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(self.bytes.len());
        let (_, rest) = self.bytes.split_at(start);
        into.fill(0);
        for (to, from) in into.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(())
    }

    /// `length` bytes from `at` on; the caller has checked that they are within the first cluster.
    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>, FormatError> {
        let length = usize::try_from(length).expect("a part of a cluster fits in memory");
        let mut data = alloc::vec![0; length];
        self.fill(at, &mut data)?;
        Ok(data)
    }
}

fn decode_shape(raw: &RawHeaderV2) -> Result<(Version, ClusterBits), FormatError> {
    let found = raw.magic.get();
    if found != MAGIC {
        return Err(FormatError::BadMagic { found });
    }
    let version = raw.version.get();
    let version =
        Version::from_number(version).ok_or(FormatError::UnsupportedVersion { version })?;
    let bits = raw.cluster_bits.get();
    let bits = ClusterBits::new(bits).ok_or(FormatError::ClusterBits { bits })?;
    Ok((version, bits))
}

fn decode_compression(
    raw: &RawHeaderV3,
    header_length: u32,
    incompatible: IncompatibleFeatures,
) -> Result<CompressionType, FormatError> {
    let kind = if header_length > HEADER_V3_MIN_BYTES { raw.compression_type } else { 0 };
    let compression =
        CompressionType::from_number(kind).ok_or(FormatError::UnknownCompression { kind })?;
    let bit = incompatible.contains(IncompatibleFeatures::COMPRESSION);
    if bit != (compression != CompressionType::Deflate) {
        return Err(FormatError::CompressionBit { kind, bit });
    }
    Ok(compression)
}

/// Type and data of every extension; each step moves on by at least the 8 bytes of a frame.
fn read_frames(
    source: &FirstCluster<'_>,
    start: u64,
    end: u64,
) -> Result<Vec<(u32, Vec<u8>)>, FormatError> {
    let mut frames = Vec::new();
    let mut at = start;
    while at < end {
        let mut frame = [0; size_of::<ExtensionFrame>()];
        let data_at = at + frame.len() as u64;
        if data_at > end {
            return Err(FormatError::ExtensionTooLarge { kind: 0, at, length: 0, end });
        }
        source.fill(at, &mut frame)?;
        let frame: ExtensionFrame = zerocopy::transmute!(frame);
        let (kind, length) = (frame.kind.get(), frame.length.get());
        if u64::from(length) > end - data_at {
            return Err(FormatError::ExtensionTooLarge { kind, at, length, end });
        }
        if kind == header_extension::END {
            break;
        }
        frames.push((kind, source.read(data_at, length.into())?));
        at = data_at + u64::from(length).next_multiple_of(8);
    }
    Ok(frames)
}

/// Where the parts of a header are in its first cluster.
pub(crate) struct Reach {
    /// Where the extensions begin.
    pub(crate) list: usize,
    /// Where the backing name is; the end of the list if there is none.
    pub(crate) name: usize,
    /// Nothing from here on matters.
    pub(crate) end: usize,
}

/// How far the header in `cluster` reaches: all of it, where it is none.
pub(crate) fn reach(cluster: &[u8]) -> Reach {
    let whole = cluster.len();
    let source = FirstCluster { bytes: cluster, file_len: whole as u64 };
    let mut fixed = [0; size_of::<RawHeaderV3>()];
    if source.fill(0, &mut fixed).is_err() {
        return Reach { list: whole, name: whole, end: whole };
    }
    let raw: RawHeaderV3 = zerocopy::transmute!(fixed);
    let list = match raw.v2.version.get() {
        2 => u64::from(HEADER_V2_BYTES),
        _ => u64::from(raw.header_length.get()).min(whole as u64),
    };
    let backing = raw.v2.backing_file_offset.get().min(whole as u64);
    let stop = if backing == 0 { whole as u64 } else { backing };
    let frame = size_of::<ExtensionFrame>() as u64;
    let list_end = read_frames(&source, list, stop).map_or(whole as u64, |frames| {
        let used = |(_, data): &(u32, Vec<u8>)| frame + (data.len() as u64).next_multiple_of(8);
        list + frames.iter().map(used).sum::<u64>() + frame
    });
    let name = if backing == 0 { list_end } else { backing };
    let name_end = name + if backing == 0 { 0 } else { raw.v2.backing_file_size.get().into() };
    let small = |n: u64| usize::try_from(n).unwrap_or(whole).min(whole);
    Reach { list: small(list), name: small(name), end: small(list_end.max(name_end)) }
}

/// What the image calls its incompatible features.
fn names_of(frames: &[(u32, Vec<u8>)]) -> Vec<FeatureName> {
    let table = frames.iter().rev().find(|(kind, _)| *kind == header_extension::FEATURE_NAMES);
    let mut names = table.map(|(_, data)| FeatureName::decode_table(data)).unwrap_or_default();
    names.retain(|name| {
        name.kind == feature_kind::INCOMPATIBLE && name.bit < 64 && !name.name.is_empty()
    });
    names
}

fn judge_tables(
    raw: &RawHeaderV2,
    geometry: Geometry,
    purpose: DecodePurpose,
) -> Result<(), FormatError> {
    let in_use = purpose == DecodePurpose::Use;
    let place = |table, offset, bytes: u64, may_be_0| {
        let at = HostOffset::new(offset);
        let fits = geometry.is_aligned(at) && offset <= MAX_FILE_BYTES - bytes;
        if fits && (offset != 0 || may_be_0) {
            Ok(())
        } else {
            Err(FormatError::TableOffset { table, offset: at })
        }
    };
    let clusters = u64::from(raw.refcount_table_clusters.get());
    if clusters == 0 && in_use {
        return Err(FormatError::NoRefcountTable);
    }
    let bytes = clusters * geometry.cluster_size();
    let limit = MAX_REFCOUNT_TABLE_BYTES;
    if bytes > limit {
        return Err(FormatError::TableTooLarge { table: Table::Refcount, size: bytes, limit });
    }
    place(Table::Refcount, raw.refcount_table_offset.get(), bytes, !in_use)?;

    if in_use {
        let (size, limit) = (raw.nb_snapshots.get().into(), MAX_SNAPSHOTS.into());
        if size > limit {
            return Err(FormatError::TableTooLarge { table: Table::Snapshot, size, limit });
        }
        let bytes = size * SnapshotRecord::FIXED_BYTES as u64;
        place(Table::Snapshot, raw.snapshots_offset.get(), bytes, size == 0)?;
    }

    let size = u64::from(raw.l1_size.get()) * 8;
    if size > MAX_L1_BYTES {
        return Err(FormatError::TableTooLarge { table: Table::L1, size, limit: MAX_L1_BYTES });
    }
    place(Table::L1, raw.l1_table_offset.get(), size, !in_use || size == 0)
}

fn judge_disk_size(size: u64, l1_size: u32, geometry: Geometry) -> Result<(), FormatError> {
    let needed = geometry.l1_entries_for(size);
    if needed > MAX_L1_NEEDED {
        return Err(FormatError::DiskTooLarge { size });
    }
    if u64::from(l1_size) < needed {
        return Err(FormatError::L1TooSmall { entries: l1_size, needed });
    }
    Ok(())
}

fn judge_extensions(
    extensions: &[HeaderExtension],
    geometry: Geometry,
    method: CryptMethod,
    autoclear: AutoclearFeatures,
) -> Result<(), FormatError> {
    let mut encrypted = false;
    for extension in extensions {
        match extension {
            HeaderExtension::Bitmaps(bitmaps) if autoclear.contains(AutoclearFeatures::BITMAPS) => {
                bitmaps.validate(geometry)?;
            }
            HeaderExtension::EncryptionHeader { offset, length } => {
                if method != CryptMethod::Luks {
                    let method = method.number();
                    return Err(FormatError::UnexpectedEncryptionHeader { method });
                }
                let fits = *length <= MAX_FILE_BYTES && offset.get() <= MAX_FILE_BYTES - length;
                if !fits || offset.get() == 0 || !geometry.is_aligned(*offset) {
                    return Err(FormatError::EncryptionHeaderOffset {
                        offset: *offset,
                        length: *length,
                        cluster_size: geometry.cluster_size(),
                    });
                }
                encrypted = true;
            }
            _ => {}
        }
    }
    if method == CryptMethod::Luks && !encrypted {
        return Err(FormatError::MissingEncryptionHeader);
    }
    Ok(())
}

fn read_backing_name(
    source: &FirstCluster<'_>,
    raw: &RawHeaderV2,
    cluster_size: u64,
) -> Result<Option<Vec<u8>>, FormatError> {
    let offset = raw.backing_file_offset.get();
    let length = u64::from(raw.backing_file_size.get());
    if offset == 0 {
        return Ok(None);
    }
    let limit = Header::backing_name_limit(cluster_size, offset);
    if length > limit {
        return Err(FormatError::BackingNameTooLong { offset, length, limit });
    }
    if length == 0 {
        return Ok(None);
    }
    let name = source.read(offset, length)?;
    if name.contains(&0) {
        return Err(FormatError::ZeroByteInName { name: "backing file name" });
    }
    Ok(Some(name))
}

fn read_unknown_fields(
    source: &FirstCluster<'_>,
    version: Version,
    header_length: u32,
) -> Result<Vec<u8>, FormatError> {
    match version {
        Version::V3 if header_length > HEADER_V3_BYTES => {
            source.read(HEADER_V3_BYTES.into(), (header_length - HEADER_V3_BYTES).into())
        }
        _ => Ok(Vec::new()),
    }
}
