//! The numbers of the format, by which images of other programs are read: written down a second time.
#![forbid(unsafe_code)]

use holstein_format::{
    AutoclearFeatures, BitmapTableEntry, COMPRESSED, COPIED, ClusterState, CompatibleFeatures,
    CryptMethod, IncompatibleFeatures, L1Entry, RefcountTableEntry, ZERO, feature_kind, limits,
};

#[test]
fn format_numbers_are_those_of_the_format() {
    assert_eq!(limits::MAGIC.to_be_bytes(), *b"QFI\xfb");
    let methods = [CryptMethod::None, CryptMethod::Aes, CryptMethod::Luks];
    assert_eq!(methods.map(CryptMethod::number), [0, 1, 2]);
    let kinds = [feature_kind::INCOMPATIBLE, feature_kind::COMPATIBLE, feature_kind::AUTOCLEAR];
    assert_eq!(kinds, [0, 1, 2]);
    let incompatible = [
        IncompatibleFeatures::DIRTY,
        IncompatibleFeatures::CORRUPT,
        IncompatibleFeatures::DATA_FILE,
        IncompatibleFeatures::COMPRESSION,
        IncompatibleFeatures::EXTENDED_L2,
    ];
    assert_eq!(incompatible.map(IncompatibleFeatures::bits), [1, 2, 4, 8, 16]);
    assert_eq!(IncompatibleFeatures::KNOWN.bits(), 0x1f);
    assert_eq!(CompatibleFeatures::LAZY_REFCOUNTS.bits(), 1);
    assert_eq!(CompatibleFeatures::KNOWN.bits(), 1);
    let autoclear = [AutoclearFeatures::BITMAPS, AutoclearFeatures::RAW_DATA_FILE];
    assert_eq!(autoclear.map(AutoclearFeatures::bits), [1, 2]);
    assert_eq!(AutoclearFeatures::KNOWN.bits(), 3);
}

#[test]
fn flags_offsets_and_reserved_bits_share_no_bit() {
    assert_eq!((COPIED, COMPRESSED, ZERO), (1 << 63, 1 << 62, 1));
    for (what, parts) in [
        ("l1", &[L1Entry::OFFSET_MASK, L1Entry::RESERVED_MASK, COPIED][..]),
        (
            "l2",
            &[ClusterState::OFFSET_MASK, ClusterState::RESERVED_MASK, COPIED, COMPRESSED, ZERO][..],
        ),
        ("refcount", &[RefcountTableEntry::OFFSET_MASK, RefcountTableEntry::RESERVED_MASK][..]),
        ("bitmap", &[L1Entry::OFFSET_MASK, BitmapTableEntry::RESERVED_MASK, 1][..]),
    ] {
        let whole = parts.iter().fold(0_u64, |all, part| {
            assert_eq!(all & part, 0, "{what}");
            all | part
        });
        assert_eq!(whole, u64::MAX, "{what}");
    }
    assert_eq!(L1Entry::OFFSET_MASK, 0x00ff_ffff_ffff_fe00);
    assert_eq!(ClusterState::OFFSET_MASK, 0x00ff_ffff_ffff_fe00);
    assert_eq!(RefcountTableEntry::OFFSET_MASK, 0xffff_ffff_ffff_fe00);
}
