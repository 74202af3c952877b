//! Headers as bytes and as values, and headers that nobody should believe.

use std::time::Instant;

use holstein_crypto::Secret;
use holstein_luks::{FileArea, Header, KeySlot, Limits, LuksError, SLOTS};
use holstein_storage::MemStorage;
use proptest::prelude::*;

/// Sectors from one slot to the next for a key of so many bytes.
fn stride(key_bytes: u32) -> u32 {
    (key_bytes * 4000).div_ceil(512).next_multiple_of(8)
}

fn slot(start: u32) -> impl Strategy<Value = KeySlot> {
    (any::<bool>(), 1..=u32::MAX, any::<[u8; 32]>()).prop_map(move |(active, iterations, salt)| {
        KeySlot { active, iterations, salt, start, stripes: 4000 }
    })
}

fn slots(key_bytes: u32) -> Vec<impl Strategy<Value = KeySlot>> {
    (0..8).map(|n| slot(8 + n * stride(key_bytes))).collect()
}

prop_compose! {
    fn header()(key_bytes in prop_oneof![Just(16), Just(24), Just(32), Just(48), Just(64)])(
        slots in slots(key_bytes),
        order in Just((0..SLOTS).collect::<Vec<_>>()).prop_shuffle(),
        key_bytes in Just(key_bytes),
        texts in ["[a-z]{0,31}", "[a-z0-9:-]{0,31}", "[a-z0-9]{0,31}", "[0-9a-f-]{0,39}"],
        more in 0..1000_u32,
        digest in any::<[u8; 20]>(),
        digest_salt in any::<[u8; 32]>(),
        digest_iterations in 1..=u32::MAX,
    ) -> Header {
        let [cipher_name, cipher_mode, hash_name, uuid] = texts;
        Header {
            cipher_name, cipher_mode, hash_name, uuid, digest, digest_salt, digest_iterations,
            payload: 8 + 8 * stride(key_bytes) + more,
            key_bytes,
            slots: std::array::from_fn(|n| slots[order[n]]),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(header in header()) {
        prop_assert_eq!(Header::decode(&header.encode()).expect("it is in order"), header);
    }

    #[test]
    fn any_bytes_are_a_header_or_an_error(
        header in header(),
        changes in prop::collection::vec((0..Header::BYTES, any::<u8>()), 0..6),
        len in 0..=Header::BYTES,
    ) {
        let mut bytes = header.encode();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Ok(read) = Header::decode(&bytes) {
            prop_assert_eq!(Header::decode(&read.encode()).expect("it was in order"), read);
        }
        prop_assert!(len == Header::BYTES || Header::decode(&bytes[..len]).is_err());
    }
}

fn sound() -> Header {
    let slot = |n: u32| KeySlot {
        active: n == 0,
        iterations: 1000,
        salt: [7; 32],
        start: 8 + n * stride(64),
        stripes: 4000,
    };
    Header {
        cipher_name: "aes".to_owned(),
        cipher_mode: "xts-plain64".to_owned(),
        hash_name: "sha256".to_owned(),
        payload: 8 + 8 * stride(64),
        key_bytes: 64,
        digest: [1; 20],
        digest_salt: [2; 32],
        digest_iterations: 1000,
        uuid: String::new(),
        slots: std::array::from_fn(|n| slot(u32::try_from(n).expect("below eight"))),
    }
}

/// H28: each bound of a header, broken alone.
#[test]
fn h28_a_luks_header_out_of_bounds_is_refused() {
    Header::decode(&sound().encode()).expect("nothing is wrong with it");
    type Break = fn(&mut Header);
    let breaks: [(&str, Break); 13] = [
        ("no stripes", |h| h.slots[3].stripes = 0),
        ("one stripe more", |h| h.slots[0].stripes = 4001),
        ("4 G stripes", |h| h.slots[0].stripes = u32::MAX),
        ("a slot over the header", |h| h.slots[2].start = 0),
        ("a slot over the header's end", |h| h.slots[2].start = 7),
        ("a slot over the payload", |h| h.slots[7].start += 8),
        ("a slot past 2 TiB", |h| h.slots[5].start = u32::MAX),
        ("a slot over another", |h| h.slots[1].start = h.slots[0].start + 499),
        ("two slots in one place", |h| h.slots[1].start = h.slots[0].start),
        ("an active slot without iterations", |h| h.slots[0].iterations = 0),
        ("a digest without iterations", |h| h.digest_iterations = 0),
        ("a key of 4 GiB", |h| h.key_bytes = u32::MAX),
        ("no key", |h| h.key_bytes = 0),
    ];
    for (what, broken) in breaks {
        let mut header = sound();
        broken(&mut header);
        assert!(Header::decode(&header.encode()).is_err(), "{what}");
    }
    for (what, at) in [("magic", 0), ("version", 7), ("state", 208), ("cipher name", 39)] {
        let mut bytes = sound().encode();
        if what == "cipher name" {
            bytes[8..40].fill(b'a');
        } else {
            bytes[at] ^= 0x55;
        }
        assert!(Header::decode(&bytes).is_err(), "{what}");
    }
}

/// H28: what would take hours is refused at once, and so is key material that the file does not have.
#[test]
fn h28_work_without_end_is_refused_before_it_begins() {
    let passphrase = Secret::new(b"any".to_vec());
    let start = Instant::now();
    let unlock = |header: &Header, bytes: usize| {
        let mut image = header.encode().to_vec();
        image.resize(bytes, 0);
        let file = MemStorage::from_bytes(&image);
        let header = Header::read(&FileArea::whole(&file)).expect("the header is in order");
        header.unlock(&FileArea::whole(&file), &passphrase, Limits::default())
    };
    let mut header = sound();
    header.slots[0].iterations = u32::MAX;
    let error = unlock(&header, 4 << 20).expect_err("it would take an hour");
    assert!(matches!(error, LuksError::TooMuchWork { .. }), "{error}");
    let mut header = sound();
    header.digest_iterations = u32::MAX;
    let error = unlock(&header, 4 << 20).expect_err("it would take an hour");
    assert!(matches!(error, LuksError::TooMuchWork { .. }), "{error}");
    let error = unlock(&sound(), 100_000).expect_err("the material is cut off");
    assert!(matches!(error, LuksError::Short { .. }), "{error}");
    let error = unlock(&sound(), 4 << 20).expect_err("there is no key in it");
    assert!(matches!(error, LuksError::Passphrase), "{error}");
    let mut header = sound();
    header.cipher_name = "serpent".to_owned();
    let error = unlock(&header, 4 << 20).expect_err("the cipher is not known here");
    assert!(matches!(error, LuksError::Unsupported { .. }), "{error}");
    assert!(start.elapsed().as_secs() < 20, "nothing of this takes long");
}
