//! Limits on what an image may announce, all enforced before anything is allocated by them.

/// The first four bytes of an image: `Q`, `F`, `I`, 0xfb.
pub const MAGIC: u32 = 0x5146_49fb;
/// Bytes of a version 2 header.
pub const HEADER_V2_BYTES: u32 = 72;
/// Bytes of the smallest version 3 header.
pub const HEADER_V3_MIN_BYTES: u32 = 104;
/// Bytes of the version 3 header this crate writes: 104, the compression type and 7 of padding.
pub const HEADER_V3_BYTES: u32 = 112;
/// The default cluster size is 2^16 = 64 KiB.
pub const DEFAULT_CLUSTER_BITS: u32 = 16;
/// Extended L2 entries need clusters of 2^14 bytes: 32 subclusters of 512.
pub const MIN_EXTENDED_CLUSTER_BITS: u32 = 14;
/// Standard clusters, L2 tables and compressed data end below 2^56 (64 PiB).
pub const HOST_LIMIT: u64 = 1 << 56;
/// The largest L1 table, active or of a snapshot: 32 MiB.
pub const MAX_L1_BYTES: u64 = 32 << 20;
/// The most entries of an L1 table: 32 MiB of 8 bytes each.
pub const MAX_L1_ENTRIES: u64 = MAX_L1_BYTES / 8;
/// The largest refcount table: 8 MiB.
pub const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
/// The most snapshots of an image.
pub const MAX_SNAPSHOTS: u32 = 65_536;
/// The largest snapshot table: 1 KiB for each of the most snapshots.
pub const MAX_SNAPSHOT_TABLE_BYTES: u64 = 65_536 * 1024;
/// The most extra data of a snapshot record.
pub const MAX_SNAPSHOT_EXTRA_BYTES: u32 = 1024;
/// The most bitmaps of an image.
pub const MAX_BITMAPS: u32 = 65_535;
/// The largest bitmap directory: 1 KiB for each of the most bitmaps.
pub const MAX_BITMAP_DIRECTORY_BYTES: u64 = 65_535 * 1024;
/// The most entries of a bitmap table.
pub const MAX_BITMAP_TABLE_ENTRIES: u32 = 0x800_0000;
/// The most data of one bitmap: 512 MiB.
pub const MAX_BITMAP_BYTES: u64 = 512 << 20;
/// The longest name of a bitmap in bytes.
pub const MAX_BITMAP_NAME_BYTES: u16 = 1023;
/// The finest granularity of a bitmap is 2^9 bytes.
pub const MIN_BITMAP_GRANULARITY_BITS: u8 = 9;
/// The coarsest granularity of a bitmap is 2^31 bytes.
pub const MAX_BITMAP_GRANULARITY_BITS: u8 = 31;
/// The longest name of a backing file in bytes.
pub const MAX_BACKING_NAME_BYTES: u32 = 1023;
/// The longest name of a backing format in bytes.
pub const MAX_BACKING_FORMAT_BYTES: u32 = 15;
/// The largest file: offsets are signed 64-bit numbers to the operating system.
pub const MAX_FILE_BYTES: u64 = i64::MAX as u64;
