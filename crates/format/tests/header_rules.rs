//! Each rule of opening an image, one edit of an honest header each.

use holstein_format::{
    AutoclearFeatures, BitmapsExtension, CryptMethod, DecodePurpose, ErrnoClass, FormatError,
    Header, HeaderExtension, IncompatibleFeatures, Version,
};
use holstein_units::{ClusterBits, Geometry, HostOffset};

fn header(bits: u32) -> Header {
    let bits = ClusterBits::new(bits).expect("a cluster size");
    let mut header = Header::new(Version::V3, Geometry::new(bits, false), 1 << 20);
    header.refcount_table_offset = HostOffset::new(bits.size());
    header.refcount_table_clusters = 1;
    header.l1_table_offset = HostOffset::new(3 * bits.size());
    header.l1_size = 64;
    header
}

fn honest() -> Vec<u8> {
    header(16).encode().expect("fits")
}

fn decode(bytes: &[u8], purpose: DecodePurpose) -> Result<Header, FormatError> {
    Header::decode(bytes, bytes.len() as u64, purpose)
}

fn put(bytes: &mut [u8], edits: &[(usize, &[u8])]) {
    for (at, edit) in edits {
        bytes[*at..*at + edit.len()].copy_from_slice(edit);
    }
}

fn refuse(edits: &[(usize, &[u8])], class: ErrnoClass, message: &str) {
    let mut bytes = honest();
    put(&mut bytes, edits);
    let error = decode(&bytes, DecodePurpose::Use).expect_err(message);
    assert_eq!((error.qemu_message().as_str(), error.errno_class()), (message, class));
    assert!(!error.to_string().is_empty());
}

/// The first 104 bytes of the extension area hold feature names; edits replace them.
const EXT: usize = 112;

fn be(n: u64) -> [u8; 8] {
    n.to_be_bytes()
}

#[test]
fn every_broken_rule_is_refused_in_the_words_of_qemu() {
    use ErrnoClass::{Invalid, NotSupported, TooBig};
    let word = |n: u32| n.to_be_bytes();
    refuse(&[(0, &word(1))], Invalid, "Image is not in qcow2 format");
    refuse(&[(4, &word(4))], NotSupported, "Unsupported qcow2 version 4");
    refuse(&[(20, &word(8))], Invalid, "Unsupported cluster size: 2^8");
    refuse(&[(20, &word(63))], Invalid, "Unsupported cluster size: 2^63");
    refuse(&[(100, &word(103))], Invalid, "qcow2 header too short");
    refuse(&[(100, &word(65_537))], Invalid, "qcow2 header exceeds cluster size");
    refuse(&[(8, &be(65_537))], Invalid, "Invalid backing file offset");
    refuse(&[(104, &[2])], NotSupported, "qcow2: unknown compression type: 2");
    refuse(
        &[(72, &be(8))],
        Invalid,
        "qcow2: Compression type incompatible feature bit must not be set",
    );
    refuse(&[(104, &[1])], Invalid, "qcow2: Compression type incompatible feature bit must be set");
    refuse(
        &[(72, &be(1 << 63 | 32))],
        NotSupported,
        "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000020",
    );
    refuse(
        &[(72, &be(1 | 1 << 5 | 1 << 6)), (EXT + 8, &[0, 5])],
        NotSupported,
        "Unsupported qcow2 feature(s): dirty bit, Unknown incompatible feature: 40",
    );
    refuse(
        &[(96, &word(7))],
        Invalid,
        "Reference count entry width too large; may not exceed 64 bits",
    );
    refuse(&[(56, &word(0))], Invalid, "Image does not contain a reference count table");
    refuse(&[(56, &word(129))], TooBig, "Reference count table too large");
    refuse(&[(48, &be(0x1_0200))], Invalid, "Reference count table offset invalid");
    refuse(&[(48, &be((1 << 63) - 0x1_0000))], Invalid, "Reference count table offset invalid");
    refuse(&[(48, &be(0))], Invalid, "Reference count table offset invalid");
    refuse(&[(60, &word(65_537))], TooBig, "Snapshot table too large");
    refuse(&[(64, &be(512))], Invalid, "Snapshot table offset invalid");
    refuse(&[(64, &be(1 << 63))], Invalid, "Snapshot table offset invalid");
    refuse(&[(60, &word(1))], Invalid, "Snapshot table offset invalid");
    refuse(&[(36, &word((4 << 20) + 1))], TooBig, "Active L1 table too large");
    refuse(&[(40, &be(512))], Invalid, "Active L1 table offset invalid");
    refuse(&[(40, &be(1 << 63))], Invalid, "Active L1 table offset invalid");
    refuse(&[(40, &be(0))], Invalid, "Active L1 table offset invalid");
    refuse(&[(24, &be(1 << 62))], TooBig, "Image is too big");
    refuse(&[(24, &be(u64::MAX))], TooBig, "Image is too big");
    refuse(&[(24, &be(1 << 40))], Invalid, "L1 table is too small");
    refuse(&[(32, &word(3))], Invalid, "Unsupported encryption method 3");
    refuse(&[(32, &word(2))], Invalid, "Missing CRYPTO header for crypt method 2");
    refuse(
        &[(EXT, &word(0x1234)), (EXT + 4, &word(u32::MAX))],
        Invalid,
        "Header extension too large",
    );
    refuse(
        &[(EXT, &word(0xe279_2aca)), (EXT + 4, &word(16))],
        Invalid,
        "ERROR: ext_backing_format: len=16 too large (>=16)",
    );
    refuse(&[(88, &be(2))], Invalid, "data-file-raw requires a data file");
    refuse(&[(8, &be(1000)), (16, &word(1024))], Invalid, "Backing file name too long");
    refuse(&[(8, &be(65_530)), (16, &word(10))], Invalid, "Backing file name too long");
}

#[test]
fn broken_extensions_are_refused_in_the_words_of_qemu() {
    let word = |n: u32| n.to_be_bytes();
    let bitmaps = 0x2385_2875;
    let on = (88, &be(1)[..]);
    let ext = |kind: u32, len: u32| [word(kind), word(len)].concat();
    for (edits, message) in [
        (vec![(EXT, &ext(bitmaps, 16)[..])], "bitmaps_ext: Invalid extension length"),
        (
            vec![on, (EXT, &ext(bitmaps, 24)), (EXT + 8, &[0; 24])],
            "found bitmaps extension with zero bitmaps",
        ),
        (
            vec![on, (EXT, &ext(bitmaps, 24)), (EXT + 8, &be(1 << 32 | 1))],
            "bitmaps_ext: Reserved field is not zero",
        ),
        (
            vec![
                on,
                (EXT, &ext(bitmaps, 24)),
                (EXT + 8, &be(1 << 32)),
                (EXT + 16, &be(67_107_841)),
                (EXT + 24, &be(0x1_0000)),
            ],
            "bitmaps_ext: bitmap directory size (67107841) exceeds the maximum supported size \
             (67107840)",
        ),
        (
            vec![
                on,
                (EXT, &ext(bitmaps, 24)),
                (EXT + 8, &be(1 << 32)),
                (EXT + 16, &be(32)),
                (EXT + 24, &be(512)),
            ],
            "bitmaps_ext: invalid bitmap directory offset",
        ),
        (
            vec![(EXT, &ext(0x0537_be77, 16))],
            "CRYPTO header extension only expected with LUKS encryption method",
        ),
        (
            vec![(32, &word(2)[..]), (EXT, &ext(0x0537_be77, 8))],
            "CRYPTO header extension size 8, but expected size 16",
        ),
        (
            vec![(32, &word(2)), (EXT, &ext(0x0537_be77, 16)), (EXT + 8, &be(512))],
            "Encryption header offset '512' is not a multiple of cluster size '65536'",
        ),
    ] {
        refuse(&edits, ErrnoClass::Invalid, message);
    }
}

#[test]
fn a_check_decodes_what_it_can_report() {
    let word = |n: u32| n.to_be_bytes();
    for edit in
        [(56, &word(0)[..]), (48, &be(0)), (60, &word(70_000)), (64, &be(512)), (40, &be(0))]
    {
        let mut bytes = honest();
        put(&mut bytes, &[edit]);
        assert!(decode(&bytes, DecodePurpose::Use).is_err(), "{edit:?}");
        assert!(decode(&bytes, DecodePurpose::Check).is_ok(), "{edit:?}");
    }
}

#[test]
fn a_version_2_header_has_no_features_whatever_lies_behind() {
    let mut header = header(16);
    header.version = Version::V2;
    header.extensions.clear();
    header.header_length = 72;
    let mut bytes = header.encode().expect("fits");
    // The end marker stays; behind it is anything.
    bytes[80..112].fill(0xff);
    assert_eq!(decode(&bytes, DecodePurpose::Use), Ok(header));
}

#[test]
fn files_cut_in_the_header_are_zeros_from_there_on() {
    let bytes = honest();
    for cut in 0..112 {
        let answer = decode(&bytes[..cut], DecodePurpose::Use);
        match cut {
            0..4 => assert!(matches!(answer, Err(FormatError::BadMagic { .. })), "{cut}"),
            4..8 => assert!(matches!(answer, Err(FormatError::UnsupportedVersion { .. })), "{cut}"),
            8..24 => assert!(matches!(answer, Err(FormatError::ClusterBits { .. })), "{cut}"),
            24..104 => assert!(matches!(answer, Err(FormatError::HeaderTooShort { .. })), "{cut}"),
            _ => assert!(answer.is_ok(), "{cut}: {answer:?}"),
        }
    }
}

#[test]
fn a_short_slice_of_a_long_file_asks_for_more() {
    let mut header = header(16);
    header.backing_file = Some(b"base".to_vec());
    let bytes = header.encode().expect("fits");
    let len = bytes.len() as u64;
    let first = Header::decode(&bytes[..100], len, DecodePurpose::Use);
    assert_eq!(first, Err(FormatError::NeedsMore { bytes: 112 }));
    assert_eq!(Header::decode(&bytes[..1024], len, DecodePurpose::Use), Ok(header));
}

#[test]
fn names_with_zero_bytes_are_refused() {
    let mut header = header(16);
    header.backing_file = Some(b"aXb".to_vec());
    let mut bytes = header.encode().expect("fits");
    let at = bytes.windows(3).position(|w| w == b"aXb").expect("the name is stored");
    bytes[at + 1] = 0;
    let error = decode(&bytes, DecodePurpose::Use);
    assert_eq!(error, Err(FormatError::ZeroByteInName { name: "backing file name" }));
    header.backing_file = Some(b"a\0b".to_vec());
    assert_eq!(header.encode(), Err(FormatError::ZeroByteInName { name: "backing file name" }));
}

#[test]
fn a_header_that_does_not_fit_is_not_encoded() {
    let mut header = header(9);
    header.backing_file = Some(vec![b'x'; 512 - 112 - 8]);
    assert!(header.encode().is_ok());
    header.backing_file = Some(vec![b'x'; 512 - 112 - 7]);
    assert_eq!(header.encode(), Err(FormatError::NoSpace { needed: 513, cluster_size: 512 }));
}

#[test]
fn bitmaps_without_the_autoclear_bit_are_not_judged_and_not_used() {
    let mut header = header(16);
    header.extensions.push(HeaderExtension::Bitmaps(BitmapsExtension {
        nb_bitmaps: 0,
        reserved: 7,
        directory_size: u64::MAX,
        directory_offset: HostOffset::new(1),
    }));
    let bytes = header.encode().expect("fits");
    let decoded = decode(&bytes, DecodePurpose::Use).expect("ignored");
    assert_eq!(decoded.bitmaps(), None);
    header.autoclear.insert(AutoclearFeatures::BITMAPS);
    let bytes = header.encode().expect("fits");
    assert!(matches!(decode(&bytes, DecodePurpose::Use), Err(FormatError::BitmapsField { .. })));
}

#[test]
fn version_2_cannot_say_what_version_3_can() {
    let mut header = header(16);
    header.version = Version::V2;
    header.incompatible.insert(IncompatibleFeatures::DIRTY);
    assert_eq!(header.encode(), Err(FormatError::NotInVersion2 { field: "feature bits" }));
    assert!(header.encode_incompatible().is_err());
    assert!(header.encode_autoclear().is_err());
}

#[test]
fn the_corrupt_bit_is_for_writers_to_mind() {
    let mut header = header(16);
    header.incompatible.insert(IncompatibleFeatures::CORRUPT);
    let decoded = decode(&header.encode().expect("fits"), DecodePurpose::Use).expect("readable");
    let error = decoded.ensure_not_corrupt().expect_err("not writable");
    assert_eq!(error.errno_class(), ErrnoClass::Access);
    assert_eq!(decoded.crypt_method, CryptMethod::None);
}

#[test]
fn of_two_extensions_of_a_kind_the_last_holds() {
    let mut header = header(16);
    for name in [&b"raw"[..], b"qcow2"] {
        header.extensions.push(HeaderExtension::BackingFormat(name.to_vec()));
    }
    assert_eq!(header.backing_format(), Some(&b"qcow2"[..]));
    let decoded = decode(&header.encode().expect("fits"), DecodePurpose::Use).expect("valid");
    assert_eq!(decoded.backing_format(), Some(&b"qcow2"[..]));
}
