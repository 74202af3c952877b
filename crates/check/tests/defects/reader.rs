//! What a guest sees, read from the bytes without any of the crates that could be wrong about it.

use std::collections::BTreeMap;

use holstein_format::{COMPRESSED, COPIED, Header, SnapshotRecord, Version};

use super::super::common::Image;

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// What one guest cluster shows; what cannot be read is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Zeros,
    Data(Vec<u8>),
    /// The stream, which ends somewhere in these bytes.
    Compressed(Vec<u8>),
}

/// Disk and snapshots by name, each with the guest clusters that can be read.
pub type Contents = BTreeMap<String, BTreeMap<u64, Shown>>;

/// All that can be read. The image has no backing file, so what is unallocated is zeros and is left
/// out where a whole table is missing.
pub fn contents(image: &Image) -> Contents {
    let header = image.header();
    let mut all = Contents::new();
    let mut add = |name: &str, l1: u64, entries: u64| {
        all.insert(name.to_string(), disk(image, l1, entries));
    };
    add("disk", header.l1_table_offset.get(), header.l1_size.into());
    let mut at = header.snapshots_offset.get();
    for _ in 0..header.nb_snapshots.min(1000) {
        let start = usize::try_from(at).expect("small");
        let Some(bytes) = image.bytes.get(start..) else { break };
        let Ok((record, length)) = SnapshotRecord::decode_any(bytes) else { break };
        at = (at + length as u64).next_multiple_of(8);
        let l1 = record.l1_table_offset;
        if header.geometry.is_aligned(l1) && l1.get() < image.bytes.len() as u64 {
            let name = String::from_utf8_lossy(&record.name).into_owned();
            add(&name, l1.get(), record.l1_size.into());
        }
    }
    all
}

fn word(image: &Image, at: u64) -> u64 {
    let end = image.bytes.len() as u64;
    if at + 8 > end { 0 } else { image.get(at) }
}

fn disk(image: &Image, l1: u64, entries: u64) -> BTreeMap<u64, Shown> {
    let header = image.header();
    let geometry = header.geometry;
    let mut shown = BTreeMap::new();
    for index in 0..entries.min(2) {
        let l2 = word(image, l1 + index * 8) & OFFSET;
        if l2 == 0 || !l2.is_multiple_of(geometry.cluster_size()) {
            continue;
        }
        // Nothing is planted past these.
        for slot in 0..64 {
            let at = l2 + slot * geometry.l2_entry_size();
            let bitmap = if geometry.extended_l2() { word(image, at + 8) } else { 0 };
            if let Some(cluster) = cluster(image, &header, word(image, at), bitmap) {
                shown.insert(index * geometry.l2_entries() + slot, cluster);
            }
        }
    }
    shown
}

fn cluster(image: &Image, header: &Header, entry: u64, bitmap: u64) -> Option<Shown> {
    let geometry = header.geometry;
    let size = geometry.cluster_size();
    let bytes = |at: u64, len: u64| {
        let file = image.bytes.len() as u64;
        let part =
            usize::try_from(at.min(file)).ok()?..usize::try_from((at + len).min(file)).ok()?;
        let mut bytes = image.bytes.get(part)?.to_vec();
        bytes.resize(usize::try_from(len).ok()?, 0);
        Some(bytes)
    };
    if entry & COMPRESSED != 0 {
        let bits = 62 - (geometry.cluster_bits().get() - 8);
        let start = entry & ((1 << bits) - 1);
        // Streams of these tests are short.
        return (start < image.bytes.len() as u64)
            .then(|| bytes(start, 64).map(Shown::Compressed))
            .flatten();
    }
    let zero = entry & 1 != 0 && !geometry.extended_l2();
    if zero && header.version == Version::V2 {
        return None;
    }
    let at = entry & OFFSET;
    if bitmap & (bitmap >> 32) & 0xffff_ffff != 0 {
        return None;
    }
    if zero || at == 0 || (geometry.extended_l2() && bitmap == 0) {
        let is_valid = bitmap & 0xffff_ffff == 0 && entry & COPIED == 0;
        return (is_valid || zero).then_some(Shown::Zeros);
    }
    if !at.is_multiple_of(size) {
        return None;
    }
    let data = bytes(at, size)?;
    let zeros = data.iter().all(|byte| *byte == 0);
    Some(if zeros { Shown::Zeros } else { Shown::Data(data) })
}

/// What could be read before and cannot, or reads otherwise.
pub fn lost(before: &Contents, after: &Contents) -> Vec<(String, u64)> {
    let mut lost = Vec::new();
    for (name, clusters) in before {
        for (guest, shown) in clusters {
            let now = after.get(name).and_then(|disk| disk.get(guest));
            // A table that is gone shows zeros.
            let is_same = match now {
                Some(now) => now == shown,
                None => *shown == Shown::Zeros && after.contains_key(name),
            };
            if !is_same {
                lost.push((name.clone(), *guest));
            }
        }
    }
    lost
}
