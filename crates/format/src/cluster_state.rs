//! The first or only 8 bytes of an L2 entry.

use crate::compressed_run::CompressedRun;
use crate::entry::{COMPRESSED, EntryError, OFFSET_MASK, Sharing, ZERO};
use crate::version::Version;
use holstein_units::{Geometry, HostOffset};

/// What an image says about how its L2 entries are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRules {
    /// Cluster size, and whether entries are extended.
    pub geometry: Geometry,
    /// The zero flag exists from version 3 on.
    pub version: Version,
    /// Guest data is in another file: offset 0 is a place for data, and nothing is compressed.
    pub data_file: bool,
}

/// Where a guest cluster is.
///
/// With extended entries `Data` means that host space is there, `Zero` does not occur, and the
/// bitmap of [`crate::ExtendedState`] says what each subcluster reads as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClusterState {
    /// Reads as the backing file, or zeros.
    Unallocated,
    /// Reads as zeros and hides the backing file.
    Zero {
        /// The host cluster that is kept for it, if any; its content means nothing.
        at: Option<HostOffset>,
        /// Whether that cluster's refcount is 1; kept as found where there is none.
        sharing: Sharing,
    },
    /// Reads as the host cluster.
    Data {
        /// Cluster aligned; in the data file if there is one, and only there 0 is a place.
        at: HostOffset,
        /// Whether its refcount is 1.
        sharing: Sharing,
    },
    /// Reads as the bytes that decompress from the run.
    Compressed(CompressedRun),
}

impl ClusterState {
    /// Bits 9..=55, the offset of a standard cluster.
    pub const OFFSET_MASK: u64 = OFFSET_MASK;
    /// Bits of a standard cluster that must be zero; readers ignore them, a check reports them.
    pub const RESERVED_MASK: u64 = 0x3f00_0000_0000_01fe;

    /// Reads an entry that was converted from big-endian; reserved bits are ignored.
    ///
    /// # Errors
    /// Each variant of [`EntryError`] but `InvalidBitmap` and `ReservedBits`.
    #[inline]
    pub const fn decode(raw: u64, rules: &EntryRules) -> Result<Self, EntryError> {
        let at = HostOffset::new(raw & OFFSET_MASK);
        let zero = raw & ZERO != 0 && !rules.geometry.extended_l2();
        if raw & COMPRESSED == 0 && !zero && at.get() != 0 && rules.geometry.is_aligned(at) {
            return Ok(Self::Data { at, sharing: Sharing::of(raw) });
        }
        if raw == 0 {
            return Ok(Self::Unallocated);
        }
        Self::decode_rest(raw, zero, rules)
    }

    /// All that is neither a data cluster nor empty.
    const fn decode_rest(raw: u64, zero: bool, rules: &EntryRules) -> Result<Self, EntryError> {
        if raw & COMPRESSED != 0 {
            if rules.data_file {
                return Err(EntryError::CompressedWithDataFile { raw });
            }
            return match CompressedRun::decode(raw, rules.geometry.cluster_bits()) {
                Ok(run) => Ok(Self::Compressed(run)),
                Err(error) => Err(error),
            };
        }
        let at = HostOffset::new(raw & OFFSET_MASK);
        let sharing = Sharing::of(raw);
        if zero && matches!(rules.version, Version::V2) {
            return Err(EntryError::ZeroFlagInVersion2 { raw });
        }
        if !rules.geometry.is_aligned(at) {
            return Err(EntryError::Unaligned { raw, offset: at });
        }
        if zero {
            let at = if at.get() == 0 { None } else { Some(at) };
            return Ok(Self::Zero { at, sharing });
        }
        match (sharing, rules.data_file) {
            (Sharing::Shared, _) => Ok(Self::Unallocated),
            (Sharing::Exclusive, true) => Ok(Self::Data { at, sharing }),
            (Sharing::Exclusive, false) => Err(EntryError::AtHeader { raw }),
        }
    }

    /// The entry as a number, to be stored big-endian; `None` for a state that this image cannot
    /// hold, such as a zero cluster in version 2 or an unaligned offset.
    #[inline]
    #[must_use]
    pub const fn encode(self, rules: &EntryRules) -> Option<u64> {
        match self {
            Self::Unallocated => Some(0),
            Self::Data { at, sharing } => {
                let placed =
                    at.get() != 0 || (rules.data_file && matches!(sharing, Sharing::Exclusive));
                if !placed || !Self::is_place(at, rules) {
                    return None;
                }
                Some(at.get() | sharing.flag())
            }
            Self::Zero { at, sharing } => {
                if rules.geometry.extended_l2() || matches!(rules.version, Version::V2) {
                    return None;
                }
                match at {
                    None => Some(ZERO | sharing.flag()),
                    Some(at) if at.get() != 0 && Self::is_place(at, rules) => {
                        Some(at.get() | ZERO | sharing.flag())
                    }
                    Some(_) => None,
                }
            }
            Self::Compressed(run) => {
                if rules.data_file {
                    return None;
                }
                run.encode(rules.geometry.cluster_bits())
            }
        }
    }

    /// The bits of an entry that must be zero and are not; none in a compressed one.
    #[inline]
    #[must_use]
    pub const fn reserved_bits(raw: u64) -> u64 {
        if raw & COMPRESSED != 0 { 0 } else { raw & Self::RESERVED_MASK }
    }

    const fn is_place(at: HostOffset, rules: &EntryRules) -> bool {
        at.get() & !OFFSET_MASK == 0 && rules.geometry.is_aligned(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holstein_units::ClusterBits;

    fn rules(version: Version, data_file: bool, extended: bool) -> EntryRules {
        let bits = ClusterBits::new(16).expect("16 is a cluster size");
        EntryRules { geometry: Geometry::new(bits, extended), version, data_file }
    }

    #[test]
    fn classification_follows_the_table() {
        let v3 = rules(Version::V3, false, false);
        let at = HostOffset::new(0x5_0000);
        let sharing = Sharing::Exclusive;
        for (raw, state) in [
            (0, ClusterState::Unallocated),
            (1, ClusterState::Zero { at: None, sharing: Sharing::Shared }),
            (0x8000_0000_0005_0000, ClusterState::Data { at, sharing }),
            (0x8000_0000_0005_0001, ClusterState::Zero { at: Some(at), sharing }),
            (0x0000_0000_0005_0000, ClusterState::Data { at, sharing: Sharing::Shared }),
        ] {
            assert_eq!(ClusterState::decode(raw, &v3), Ok(state), "{raw:#x}");
            assert_eq!(state.encode(&v3), Some(raw), "{raw:#x}");
        }
    }

    #[test]
    fn reserved_bits_are_ignored_when_reading_and_named_for_a_check() {
        let raw = 0x8000_0000_0005_0000 | ClusterState::RESERVED_MASK;
        let at = HostOffset::new(0x5_0000);
        let v3 = rules(Version::V3, false, false);
        // Bits 1..=8 are below the cluster size, yet no part of the offset.
        assert_eq!(
            ClusterState::decode(raw, &v3),
            Ok(ClusterState::Data { at, sharing: Sharing::Exclusive })
        );
        assert_eq!(ClusterState::reserved_bits(raw), ClusterState::RESERVED_MASK);
        assert_eq!(
            ClusterState::decode(ClusterState::RESERVED_MASK, &v3),
            Ok(ClusterState::Unallocated)
        );
    }

    #[test]
    fn entries_that_cannot_be_are_named() {
        let v3 = rules(Version::V3, false, false);
        for (raw, rules, error) in [
            (
                0x8000_0000_0005_0200,
                v3,
                EntryError::Unaligned {
                    raw: 0x8000_0000_0005_0200,
                    offset: HostOffset::new(0x5_0200),
                },
            ),
            (1 << 63, v3, EntryError::AtHeader { raw: 1 << 63 }),
            (
                0x5_0001,
                rules(Version::V2, false, false),
                EntryError::ZeroFlagInVersion2 { raw: 0x5_0001 },
            ),
            (
                COMPRESSED | 0x5_0000,
                rules(Version::V3, true, false),
                EntryError::CompressedWithDataFile { raw: COMPRESSED | 0x5_0000 },
            ),
        ] {
            assert_eq!(ClusterState::decode(raw, &rules), Err(error));
        }
    }

    #[test]
    fn a_data_file_has_data_at_offset_0() {
        let external = rules(Version::V3, true, false);
        let at = HostOffset::new(0);
        let state = ClusterState::Data { at, sharing: Sharing::Exclusive };
        assert_eq!(ClusterState::decode(1 << 63, &external), Ok(state));
        assert_eq!(state.encode(&external), Some(1 << 63));
        let zero = ClusterState::Zero { at: None, sharing: Sharing::Exclusive };
        assert_eq!(ClusterState::decode(1 << 63 | 1, &external), Ok(zero));
        assert_eq!(state.encode(&rules(Version::V3, false, false)), None);
    }

    #[test]
    fn bit_0_means_nothing_in_an_extended_entry() {
        let extended = rules(Version::V3, false, true);
        assert_eq!(ClusterState::decode(1, &extended), Ok(ClusterState::Unallocated));
        let zero = ClusterState::Zero { at: None, sharing: Sharing::Shared };
        assert_eq!(zero.encode(&extended), None);
    }
}
