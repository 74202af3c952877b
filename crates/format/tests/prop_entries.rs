//! Table entries and counters: whatever can be stored comes back, and no bits make decoding panic.

use holstein_format::{
    BitmapTableEntry, ClusterState, CompressedRun, EntryRules, ExtendedState, L1Entry,
    RefcountOrder, RefcountTableEntry, Sharing, SubclusterBitmap, Version,
};
use holstein_units::{ClusterBits, Geometry, HostOffset};
use proptest::prelude::*;

fn rules() -> impl Strategy<Value = EntryRules> {
    (9_u32..=21, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(bits, extended, old, data_file)| {
            let extended = extended && bits >= 14;
            let bits = ClusterBits::new(bits).expect("within the format");
            EntryRules {
                geometry: Geometry::new(bits, extended),
                version: if old && !extended && !data_file { Version::V2 } else { Version::V3 },
                data_file,
            }
        },
    )
}

fn sharing() -> impl Strategy<Value = Sharing> {
    prop_oneof![Just(Sharing::Exclusive), Just(Sharing::Shared)]
}

/// Bits as hostile as possible: any, few, or close to an honest entry.
fn raw() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0_u32..64, 0_u32..64).prop_map(|(a, b)| 1 << a | 1 << b),
        (any::<u32>(), 0_u32..64).prop_map(|(n, b)| u64::from(n) << 9 | 1 << b),
    ]
}

fn state(rules: EntryRules) -> impl Strategy<Value = ClusterState> {
    let bits = rules.geometry.cluster_bits();
    let clusters = (1_u64 << 56) / bits.size();
    let at = move |n: u64| HostOffset::new(n % clusters * bits.size());
    let sectors = 1_u64 << (bits.get() - 8);
    let offsets = (1_u64 << 56).min(1 << CompressedRun::offset_bits(bits));
    prop_oneof![
        Just(ClusterState::Unallocated),
        (any::<u64>(), sharing())
            .prop_map(move |(n, sharing)| ClusterState::Data { at: at(n), sharing }),
        (any::<Option<u64>>(), sharing())
            .prop_map(move |(n, sharing)| ClusterState::Zero { at: n.map(at), sharing }),
        (any::<u64>(), any::<u64>()).prop_map(move |(start, n)| {
            ClusterState::Compressed(CompressedRun {
                start: HostOffset::new(start % offsets),
                sectors: n % sectors,
            })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn cluster_states_come_back(
        (rules, state) in rules().prop_flat_map(|rules| (Just(rules), state(rules))),
    ) {
        if let Some(raw) = state.encode(&rules) {
            prop_assert_eq!(ClusterState::decode(raw, &rules), Ok(state));
            prop_assert_eq!(ClusterState::reserved_bits(raw), 0);
        } else {
            let places_0 = matches!(
                state,
                ClusterState::Data { at, .. } | ClusterState::Zero { at: Some(at), .. }
                    if at.get() == 0
            );
            let start_0 = matches!(state, ClusterState::Compressed(run) if run.start.get() == 0);
            let no_zeros = rules.version == Version::V2 || rules.geometry.extended_l2();
            let refused = places_0
                || start_0
                || (matches!(state, ClusterState::Zero { .. }) && no_zeros)
                || (matches!(state, ClusterState::Compressed(_)) && rules.data_file);
            prop_assert!(refused, "{:?} is a state of this image", state);
        }
    }

    #[test]
    fn any_l2_entry_decodes_or_is_refused(rules in rules(), raw in raw(), bitmap in raw()) {
        if let Ok(state) = ClusterState::decode(raw, &rules) {
            let again = state.encode(&rules).expect("what was decoded can be stored");
            prop_assert_eq!(ClusterState::decode(again, &rules), Ok(state));
            match state {
                ClusterState::Data { at, .. } | ClusterState::Zero { at: Some(at), .. } => {
                    prop_assert!(rules.geometry.is_aligned(at) && at.get() < 1 << 56);
                    prop_assert!(at.get() != 0 || rules.data_file);
                }
                ClusterState::Compressed(run) => {
                    prop_assert!(run.start.get() > 0 && run.range().end().get() <= (1 << 56) + (1 << 22));
                }
                _ => {}
            }
        }
        if let Ok(state) = ExtendedState::decode(raw, bitmap, &rules) {
            let compressed = matches!(state.cluster, ClusterState::Compressed(_));
            if rules.geometry.extended_l2() && !(compressed && bitmap != 0) {
                let (a, b) = state.encode(&rules).expect("what was decoded can be stored");
                prop_assert_eq!(ExtendedState::decode(a, b, &rules), Ok(state));
            }
            if !compressed {
                prop_assert_eq!(state.bitmap.data() & state.bitmap.zero(), 0);
            }
        }
    }

    #[test]
    fn l1_and_refcount_table_entries_come_back(rules in rules(), raw in raw()) {
        let geometry = rules.geometry;
        if let Ok(entry) = L1Entry::decode(raw, geometry) {
            prop_assert_eq!(L1Entry::decode(entry.encode(), geometry), Ok(entry));
            prop_assert_eq!(entry.encode() | L1Entry::reserved_bits(raw), raw);
        } else {
            prop_assert!(raw & (geometry.cluster_size() - 1) & !0x1ff != 0 || raw >> 63 == 1);
        }
        if let Ok(entry) = RefcountTableEntry::decode(raw, geometry) {
            prop_assert_eq!(entry.encode() | RefcountTableEntry::reserved_bits(raw), raw);
        }
        if let Ok(entry) = BitmapTableEntry::decode(raw, geometry) {
            prop_assert_eq!(entry.encode(), raw);
        }
    }

    /// The model is 32 booleans for each half.
    #[test]
    fn subcluster_bitmaps_follow_32_booleans(
        ops in prop::collection::vec((0_u32..3, 0_u32..=33, 0_u32..=33), 0..12),
    ) {
        let mut map = SubclusterBitmap::EMPTY;
        let mut model = [None; 32];
        for (op, start, end) in ops {
            let (value, next) = match op {
                0 => (Some(true), map.with_data(&(start..end))),
                1 => (Some(false), map.with_zero(&(start..end))),
                _ => (None, map.without(&(start..end))),
            };
            map = next;
            for (_, slot) in (0..32).zip(model.iter_mut()).filter(|(i, _)| (start..end).contains(i)) {
                *slot = value;
            }
        }
        for (i, slot) in (0_u32..).zip(model) {
            let bit = |half: u32| half >> i & 1 == 1;
            prop_assert_eq!(bit(map.data()), slot == Some(true));
            prop_assert_eq!(bit(map.zero()), slot == Some(false));
            let same = model.iter().skip(i as usize).take_while(|s| **s == slot).count();
            prop_assert_eq!(map.run(i) as usize, same);
        }
        prop_assert!(map.is_valid(true));
    }

    /// The model is a list of numbers; both views of the block agree with it.
    #[test]
    fn counters_follow_a_list_in_bytes_and_in_words(
        order in 0_u32..=6,
        writes in prop::collection::vec((any::<u64>(), any::<u64>()), 0..64),
    ) {
        let order = RefcountOrder::new(order).expect("an order of the format");
        let counters = order.counters_per_block(ClusterBits::new(9).expect("512 bytes"));
        let mut block = vec![0_u8; 512];
        let mut model = vec![0_u64; usize::try_from(counters).expect("at most 4096")];
        for (slot, value) in writes {
            let (slot, value) = (slot % counters, value & order.max());
            prop_assert!(order.write(&mut block, slot, value));
            model[usize::try_from(slot).expect("below 4096")] = value;
        }
        let words: Vec<u64> = block.as_chunks::<8>().0.iter().map(|w| u64::from_be_bytes(*w)).collect();
        for (slot, value) in (0_u64..).zip(&model) {
            prop_assert_eq!(order.read(&block, slot), *value);
            let place = order.locate(slot);
            prop_assert_eq!(words[place.word] >> place.shift & order.mask(), *value);
        }
    }
}
