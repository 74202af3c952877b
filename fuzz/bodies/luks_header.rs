//! Fuzz body: a LUKS header, read, written again and tried with a passphrase.

use holstein_crypto::Secret;
use holstein_luks::{FileArea, Header, Limits};
use holstein_storage::MemStorage;

/// The bytes are the start of a volume that ends where they end.
///
/// What is read is written as something that reads the same; trying to open it takes no more work than is
/// allowed.
pub(crate) fn run(data: &[u8]) {
    let header = match Header::decode(data) {
        Ok(header) => header,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let again = Header::decode(&header.encode()).expect("it was in order");
    assert_eq!(again, header);
    for slot in &header.slots {
        assert!(header.slot_offset(slot) < header.payload_offset());
    }
    let file = MemStorage::from_bytes(data);
    let passphrase = Secret::new(b"any".to_vec());
    if let Err(error) =
        header.unlock(&FileArea::whole(&file), &passphrase, Limits { digests: 4000 })
    {
        assert!(!error.to_string().is_empty());
    }
}
