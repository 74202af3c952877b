//! Fuzz body: the snapshot table, record after record.

use holstein_format::SnapshotRecord;
use holstein_units::{ClusterBits, Geometry};

/// The bytes are the table. Each record that is read is written as the bytes it was read from.
pub(crate) fn run(data: &[u8]) {
    let bits = ClusterBits::new(16).expect("64 KiB is a cluster size");
    let geometry = Geometry::new(bits, false);
    let mut rest = data;
    loop {
        match SnapshotRecord::decode(rest) {
            Ok((record, length)) => {
                let bytes = record.encode().expect("what was read has room");
                assert_eq!(Some(bytes.as_slice()), rest.get(..length));
                let _ = (record.vm_state_size(), record.disk_size(), record.icount());
                if let Err(error) = record.validate_l1(geometry) {
                    assert!(!error.to_string().is_empty());
                }
                let Some(next) = rest.get(length.next_multiple_of(8)..) else { return };
                rest = next;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let _ = SnapshotRecord::decode_any(rest);
                return;
            }
        }
    }
}
