//! Fuzz body: entries of L1, L2, refcount and bitmap tables under every rule that an image can set.

use holstein_format::{
    BitmapTableEntry, ClusterState, EntryRules, ExtendedState, L1Entry, RefcountTableEntry, Version,
};
use holstein_units::{ClusterBits, Geometry};

/// The first two bytes choose the rules; each 16 bytes behind them are an entry and its bitmap.
///
/// What is read can be written, and what was written reads the same.
pub(crate) fn run(data: &[u8]) {
    let Some(([shape, bits], entries)) = data.split_first_chunk::<2>() else { return };
    let bits = 9 + u32::from(*bits) % 13;
    let bits = ClusterBits::new(bits).expect("9 to 21 are cluster sizes");
    let extended = shape & 1 != 0 && bits.get() >= 14;
    let version = if shape & 2 != 0 || extended { Version::V3 } else { Version::V2 };
    let rules = EntryRules {
        geometry: Geometry::new(bits, extended),
        version,
        data_file: shape & 4 != 0 && version == Version::V3,
    };
    for entry in entries.chunks_exact(16) {
        let Some((raw, bitmap)) = entry.split_first_chunk::<8>() else { return };
        let raw = u64::from_be_bytes(*raw);
        let bitmap = bitmap.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
        cluster(raw, &rules);
        extended_cluster(raw, bitmap.unwrap_or_default(), &rules);
        others(raw, rules.geometry);
    }
}

fn cluster(raw: u64, rules: &EntryRules) {
    let _ = ClusterState::reserved_bits(raw);
    match ClusterState::decode(raw, rules) {
        Ok(state) => {
            let written = state.encode(rules).expect("a state that was read can be written");
            assert_eq!(ClusterState::decode(written, rules), Ok(state), "{raw:#018x}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn extended_cluster(raw: u64, bitmap: u64, rules: &EntryRules) {
    if !rules.geometry.extended_l2() {
        return;
    }
    let Ok(state) = ExtendedState::decode(raw, bitmap, rules) else { return };
    if let Some((raw, bitmap)) = state.encode(rules) {
        assert_eq!(ExtendedState::decode(raw, bitmap, rules), Ok(state));
    } else {
        // The one thing that is read and not written: a bitmap of a compressed cluster.
        assert!(matches!(state.cluster, ClusterState::Compressed(_)) && bitmap != 0);
    }
    if matches!(state.cluster, ClusterState::Compressed(_)) {
        return;
    }
    for index in 0..32 {
        let run = state.bitmap.run(index);
        assert!((1..=32 - index).contains(&run), "run of {run} at {index} of {bitmap:#018x}");
        let kind = state.bitmap.kind(index);
        assert!((index..index + run).all(|next| state.bitmap.kind(next) == kind));
    }
}

fn others(raw: u64, geometry: Geometry) {
    let _ = (L1Entry::reserved_bits(raw), RefcountTableEntry::reserved_bits(raw));
    if let Ok(entry) = L1Entry::decode(raw, geometry) {
        assert_eq!(L1Entry::decode(entry.encode(), geometry), Ok(entry));
    }
    if let Ok(entry) = RefcountTableEntry::decode(raw, geometry) {
        assert_eq!(RefcountTableEntry::decode(entry.encode(), geometry), Ok(entry));
    }
    if let Ok(entry) = BitmapTableEntry::decode(raw, geometry) {
        assert_eq!(BitmapTableEntry::decode(entry.encode(), geometry), Ok(entry));
    }
}
