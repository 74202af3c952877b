//! Fuzz body: the header, read for use and for a check, and written again.

use holstein_format::{DecodePurpose, FormatError, Header};

/// The bytes are the start of a file that ends where they end.
///
/// Whatever is read can be written, unless it lacks room, and what was written reads as something that is
/// written the same.
pub(crate) fn run(data: &[u8]) {
    let length = u64::try_from(data.len()).expect("memory is smaller than 2^64");
    let _ = Header::cluster_size_hint(data);
    for purpose in [DecodePurpose::Use, DecodePurpose::Check] {
        match Header::decode(data, length, purpose) {
            Ok(header) => round_trip(&header, length, purpose),
            Err(error) => say(&error),
        }
    }
}

fn round_trip(header: &Header, length: u64, purpose: DecodePurpose) {
    let first = match header.encode() {
        Ok(first) => first,
        Err(error) => return say(&error),
    };
    let length = length.max(u64::try_from(first.len()).expect("memory is smaller than 2^64"));
    let again = match Header::decode(&first, length, purpose) {
        Ok(again) => again,
        Err(error) => panic!("{header:?} was written as bytes that do not read: {error}"),
    };
    assert_eq!(again.size, header.size);
    assert_eq!(again.geometry, header.geometry);
    assert_eq!(again.l1_table_offset, header.l1_table_offset);
    assert_eq!(again.incompatible, header.incompatible);
    assert_eq!(again.backing_file, header.backing_file);
    let second = again.encode().expect("what was read from our own bytes has room");
    assert!(first == second, "written twice, the header differs: {header:?}, {again:?}");
}

/// Both texts of an error are made without a panic, and say something.
fn say(error: &FormatError) {
    assert!(!error.to_string().is_empty());
    assert!(!error.qemu_message().is_empty());
}
