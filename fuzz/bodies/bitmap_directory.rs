//! Fuzz body: the bitmap directory, entry after entry.

use holstein_format::BitmapDirectoryEntry;
use holstein_units::{ClusterBits, Geometry};

/// The bytes are the directory. Each entry that is read is written as bytes that read the same.
pub(crate) fn run(data: &[u8]) {
    let bits = ClusterBits::new(16).expect("64 KiB is a cluster size");
    let geometry = Geometry::new(bits, false);
    let mut rest = data;
    loop {
        match BitmapDirectoryEntry::decode(rest) {
            Ok((entry, length)) => {
                assert!(length >= BitmapDirectoryEntry::FIXED_BYTES && length % 8 == 0);
                let bytes = entry.encode().expect("what was read has room");
                assert_eq!(bytes.len(), length);
                let again = BitmapDirectoryEntry::decode(&bytes);
                assert_eq!(again, Ok((entry.clone(), length)));
                for size in [0, 512, 1 << 30, u64::MAX] {
                    if let Err(error) = entry.validate(geometry, size) {
                        assert!(!error.to_string().is_empty());
                    }
                }
                let Some(next) = rest.get(length..) else { return };
                rest = next;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        }
    }
}
