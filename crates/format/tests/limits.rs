//! Numbers at which images end: each is allowed, and the next is not.
#![forbid(unsafe_code)]

use holstein_format::{
    AutoclearFeatures, BitmapDirectoryEntry, BitmapFlags, DecodePurpose, FormatError, Header,
    Version, limits,
};
use holstein_units::{ClusterBits, Geometry, HostOffset};

const HUGE: u64 = 1 << 50;

/// The bytes of a header for clusters of 2 MiB, the largest, so that long names fit.
fn honest() -> Vec<u8> {
    let bits = ClusterBits::new(21).expect("a cluster size");
    let mut header = Header::new(Version::V3, Geometry::new(bits, false), 1 << 20);
    header.refcount_table_offset = HostOffset::new(bits.size());
    header.refcount_table_clusters = 1;
    header.l1_table_offset = HostOffset::new(3 * bits.size());
    header.l1_size = 64;
    let mut bytes = header.encode().expect("fits");
    // No feature names: other extensions begin at once.
    bytes[EXTENSION..].fill(0);
    bytes
}

const EXTENSION: usize = 112;

fn decode(edits: &[(usize, Vec<u8>)]) -> Result<Header, FormatError> {
    let mut bytes = honest();
    for (at, edit) in edits {
        bytes[*at..*at + edit.len()].copy_from_slice(edit);
    }
    Header::decode(&bytes, HUGE, DecodePurpose::Use)
}

fn word(n: u64) -> Vec<u8> {
    u32::try_from(n).expect("a word").to_be_bytes().to_vec()
}

fn extension(kind: u32, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).expect("short").to_be_bytes();
    [&kind.to_be_bytes()[..], &len, data].concat()
}

/// The parts of a bitmaps extension, and the bit that says that it holds.
fn bitmaps(count: u64, directory: u64) -> Vec<(usize, Vec<u8>)> {
    let data = [&word(count)[..], &[0; 4], &directory.to_be_bytes(), &(1_u64 << 21).to_be_bytes()];
    vec![
        (88, AutoclearFeatures::BITMAPS.bits().to_be_bytes().to_vec()),
        (EXTENSION, extension(0x2385_2875, &data.concat())),
    ]
}

#[test]
fn each_limit_holds_at_its_number_and_not_one_further() {
    type Edits = fn(u64) -> Vec<(usize, Vec<u8>)>;
    let fields: [(&str, u64, Edits); 8] = [
        ("cluster bits", 21, |n| vec![(20, word(n))]),
        ("entries of the L1 table", limits::MAX_L1_ENTRIES, |n| vec![(36, word(n))]),
        ("clusters of the refcount table", limits::MAX_REFCOUNT_TABLE_BYTES >> 21, |n| {
            vec![(56, word(n))]
        }),
        ("snapshots", u64::from(limits::MAX_SNAPSHOTS), |n| {
            vec![(60, word(n)), (64, (1_u64 << 30).to_be_bytes().to_vec())]
        }),
        ("a backing file name", u64::from(limits::MAX_BACKING_NAME_BYTES), |n| {
            vec![(8, 4096_u64.to_be_bytes().to_vec()), (16, word(n)), (4096, vec![b'x'; 2000])]
        }),
        ("a backing format", u64::from(limits::MAX_BACKING_FORMAT_BYTES), |n| {
            let name = vec![b'x'; usize::try_from(n).expect("short")];
            vec![(EXTENSION, extension(0xe279_2aca, &name))]
        }),
        ("bitmaps", u64::from(limits::MAX_BITMAPS), |n| bitmaps(n, 1 << 20)),
        ("the bitmap directory", limits::MAX_BITMAP_DIRECTORY_BYTES, |n| bitmaps(1, n)),
    ];
    for (what, most, edits) in fields {
        let allowed = decode(&edits(most));
        assert!(allowed.is_ok(), "{what}, {most}: {allowed:?}");
        assert!(decode(&edits(most + 1)).is_err(), "{what}, {}", most + 1);
    }
    assert!(decode(&[(20, word(9))]).is_ok());
    let error = decode(&[(20, word(8))]);
    assert!(matches!(error, Err(FormatError::ClusterBits { bits: 8 })), "{error:?}");
}

#[test]
fn each_limit_of_a_bitmap_holds_at_its_number_and_not_one_further() {
    let entry = |table_size: u32, granularity_bits: u8, name: usize| BitmapDirectoryEntry {
        table_offset: HostOffset::new(1 << 30),
        table_size,
        flags: BitmapFlags::IN_USE,
        kind: BitmapDirectoryEntry::DIRTY_TRACKING,
        granularity_bits,
        extra: Vec::new(),
        name: vec![b'x'; name],
    };
    let valid = |entry: BitmapDirectoryEntry, bits| {
        let bits = ClusterBits::new(bits).expect("a cluster size");
        entry.validate(Geometry::new(bits, false), 1 << 40).is_ok()
    };
    let name = usize::from(limits::MAX_BITMAP_NAME_BYTES);
    for (granularity, ok) in [(8, false), (9, true), (31, true), (32, false)] {
        assert_eq!(valid(entry(1, granularity, 1), 16), ok, "granularity {granularity}");
    }
    for (length, ok) in [(0, false), (1, true), (name, true), (name + 1, false)] {
        assert_eq!(valid(entry(1, 16, length), 16), ok, "a name of {length}");
    }
    // 512 MiB of data come before the most entries of a table, whatever the clusters.
    for bits in 9..=21 {
        let most = u32::try_from(limits::MAX_BITMAP_BYTES >> bits).expect("a word");
        assert!(most <= limits::MAX_BITMAP_TABLE_ENTRIES);
        for (entries, ok) in [(0, false), (1, true), (most, true), (most + 1, false)] {
            assert_eq!(valid(entry(entries, 16, 1), bits), ok, "{entries} entries, {bits} bits");
        }
    }
}
