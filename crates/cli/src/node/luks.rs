//! What a LUKS header says that needs no passphrase.

use holstein_format::Header;
use holstein_storage::Storage;

use crate::disk::DiskError;
use crate::text::Json;

/// Bytes of the header of version 1 with its eight key slots.
const HEADER_BYTES: usize = 208 + 8 * 48;
const MAGIC: &[u8] = b"LUKS\xba\xbe\0\x01";
const SLOT_ACTIVE: u32 = 0x00ac_71f3;

/// The facts of the LUKS header inside of a qcow2 image, in the order in which they are printed.
///
/// # Errors
/// The header is missing, cut, or not one of LUKS version 1.
pub(super) fn luks_facts(storage: &dyn Storage, header: &Header) -> Result<Json, DiskError> {
    let broken = |what: &str| DiskError::invalid(format!("LUKS header: {what}"));
    let (at, _) = header.encryption_header().ok_or_else(|| broken("it is missing"))?;
    let mut bytes = vec![0; HEADER_BYTES];
    if storage.read_at(at, &mut bytes)? < HEADER_BYTES {
        return Err(broken("it is cut off"));
    }
    facts_of(&bytes).ok_or_else(|| broken("it is not one of version 1"))
}

fn facts_of(bytes: &[u8]) -> Option<Json> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let number =
        |at: usize| bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes).map(u64::from);
    let text = |at: usize, len: usize| {
        let field = bytes.get(at..at + len)?;
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(len);
        Some(String::from_utf8_lossy(&field[..end]).into_owned())
    };
    let (cipher, mode, hash) = (text(8, 32)?, text(40, 32)?, text(72, 32)?);
    let (mode, iv) = mode.split_once('-').unwrap_or((&mode, "plain"));
    let (iv, iv_hash) = match iv.split_once(':') {
        Some((iv, hash)) => (iv, Some(hash)),
        None => (iv, None),
    };
    // XTS uses two keys, of which each has half of the bits.
    let key_bits = number(108)? * if mode == "xts" { 4 } else { 8 };
    let cipher =
        if cipher == "cast5" { "cast5-128".to_owned() } else { format!("{cipher}-{key_bits}") };
    let mut facts = Json::map([
        ("ivgen-alg", iv.into()),
        ("detached-header", false.into()),
        ("hash-alg", hash.into()),
        ("cipher-alg", cipher.into()),
        ("uuid", text(168, 40)?.into()),
    ]);
    if let Some(hash) = iv_hash {
        facts.push("ivgen-hash-alg", hash);
    }
    facts.push("format", "luks");
    facts.push("cipher-mode", mode);
    let mut slots = Vec::new();
    for slot in 0..8 {
        let at = 208 + slot * 48;
        let offset = number(at + 40)? * 512;
        slots.push(if number(at)? == u64::from(SLOT_ACTIVE) {
            Json::map([
                ("active", true.into()),
                ("iters", number(at + 4)?.into()),
                ("key-offset", offset.into()),
                ("stripes", number(at + 44)?.into()),
            ])
        } else {
            Json::map([("active", false.into()), ("key-offset", offset.into())])
        });
    }
    facts.push("slots", slots);
    facts.push("payload-offset", number(104)? * 512);
    facts.push("master-key-iters", number(164)?);
    Some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_taken_apart() {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        for (at, text) in [(8, "aes"), (40, "cbc-essiv:sha256"), (72, "sha256"), (168, "u-u")] {
            bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        bytes[108..112].copy_from_slice(&32u32.to_be_bytes());
        bytes[208..212].copy_from_slice(&SLOT_ACTIVE.to_be_bytes());
        let facts = facts_of(&bytes).expect("the header is whole");
        for (key, value) in
            [("cipher-alg", "aes-256"), ("ivgen-hash-alg", "sha256"), ("ivgen-alg", "essiv")]
        {
            assert_eq!(facts.get(key), Some(&Json::str(value)), "{key}");
        }
        assert_eq!(facts_of(&bytes[1..]), None);
    }
}
