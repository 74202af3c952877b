//! What a LUKS header says that needs no passphrase.

use holstein::luks::{FileArea, Header, KeySlot};

use super::FileNode;
use crate::disk::{DiskError, luks_error};
use crate::text::Json;

/// What is known of a volume without a passphrase: bytes of its disk, and its own facts.
///
/// # Errors
/// The file has no LUKS header.
pub(crate) fn volume_facts(file: &FileNode) -> Result<(u64, Json), DiskError> {
    let header = Header::read(&FileArea::whole(&*file.storage));
    let header = header.map_err(|error| luks_error(&error))?;
    let size = file.len()?.saturating_sub(header.payload_offset());
    Ok((size.next_multiple_of(holstein_units::SECTOR), facts(&header, false)))
}

/// The facts of the LUKS header inside of a qcow2 image, in the order in which they are printed.
pub(super) fn luks_facts(header: &Header) -> Json {
    facts(header, true)
}

/// The facts of a header, with the format's name or without.
fn facts(header: &Header, named: bool) -> Json {
    let (mode, iv) = header.cipher_mode.split_once('-').unwrap_or((&header.cipher_mode, "plain"));
    let (iv, iv_hash) = match iv.split_once(':') {
        // Only this one uses its hash; others may have the name of one in the header.
        Some((iv, hash)) => (iv, Some(hash).filter(|_| iv == "essiv")),
        None => (iv, None),
    };
    // XTS uses two keys, of which each has half of the bits.
    let key_bits = u64::from(header.key_bytes) * if mode == "xts" { 4 } else { 8 };
    let cipher = match header.cipher_name.as_str() {
        "cast5" => "cast5-128".to_owned(),
        name => format!("{name}-{key_bits}"),
    };
    let mut facts = Json::map([
        ("ivgen-alg", iv.into()),
        ("detached-header", false.into()),
        ("hash-alg", header.hash_name.as_str().into()),
        ("cipher-alg", cipher.into()),
        ("uuid", header.uuid.as_str().into()),
    ]);
    if let Some(hash) = iv_hash {
        facts.push("ivgen-hash-alg", hash);
    }
    if named {
        facts.push("format", "luks");
    }
    facts.push("cipher-mode", mode);
    let slots = header.slots.iter().map(|slot| slot_facts(header, slot)).collect();
    facts.push("slots", Json::List(slots));
    facts.push("payload-offset", header.payload_offset());
    facts.push("master-key-iters", u64::from(header.digest_iterations));
    facts
}

fn slot_facts(header: &Header, slot: &KeySlot) -> Json {
    let offset = header.slot_offset(slot).into();
    if !slot.active {
        return Json::map([("active", false.into()), ("key-offset", offset)]);
    }
    Json::map([
        ("active", true.into()),
        ("iters", u64::from(slot.iterations).into()),
        ("key-offset", offset),
        ("stripes", u64::from(slot.stripes).into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_taken_apart() {
        let slot = KeySlot { active: false, iterations: 0, salt: [0; 32], start: 8, stripes: 4000 };
        let mut header = Header {
            cipher_name: "aes".to_owned(),
            cipher_mode: "cbc-essiv:sha256".to_owned(),
            hash_name: "sha1".to_owned(),
            payload: 2056,
            key_bytes: 32,
            digest: [0; 20],
            digest_salt: [0; 32],
            digest_iterations: 7,
            uuid: "u-u".to_owned(),
            slots: [slot; 8],
        };
        header.slots[3].active = true;
        let facts = luks_facts(&header);
        for (key, value) in [
            ("cipher-alg", "aes-256"),
            ("ivgen-hash-alg", "sha256"),
            ("ivgen-alg", "essiv"),
            ("cipher-mode", "cbc"),
            ("hash-alg", "sha1"),
        ] {
            assert_eq!(facts.get(key), Some(&Json::str(value)), "{key}");
        }
        assert_eq!(facts.get("payload-offset"), Some(&Json::from(2056u64 * 512)));
        header.cipher_mode = "xts-plain64".to_owned();
        let facts = luks_facts(&header);
        assert_eq!(facts.get("cipher-alg"), Some(&Json::str("aes-128")));
        assert_eq!(facts.get("ivgen-hash-alg"), None);
        // QEMU writes such modes, and shows them so.
        header.cipher_mode = "xts-plain64:sha1".to_owned();
        let facts = luks_facts(&header);
        assert_eq!(facts.get("ivgen-alg"), Some(&Json::str("plain64")));
        assert_eq!(facts.get("ivgen-hash-alg"), None);
    }
}
