//! Known answers, and that each sector stands for itself.

use holstein_crypto::{LegacyAes, Numbering, SECTOR, Secret, SectorCipher};
use proptest::prelude::*;

fn cipher(passphrase: &[u8]) -> LegacyAes {
    LegacyAes::new(&Secret::new(passphrase.to_vec()))
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).expect("hexadecimal digits"))
        .collect()
}

/// NIST SP 800-38A, F.2.1: the vector there is no sector number, so the difference goes into the
/// first block, which it is added to.
#[test]
fn the_published_vectors_of_cbc_come_out() {
    let key = hex("2b7e151628aed2a6abf7158809cf4f3c");
    let vector = hex("000102030405060708090a0b0c0d0e0f");
    let plain = hex(concat!(
        "6bc1bee22e409f96e93d7e117393172a",
        "ae2d8a571e03ac9c9eb76fac45af8e51",
        "30c81c46a35ce411e5fbc1191a0a52ef",
        "f69f2445df4f9b17ad2b417be66c3710",
    ));
    let expected = hex(concat!(
        "7649abac8119b246cee98e9b12e9197d",
        "5086cb9b507219ee95db113a917678b2",
        "73bed6b8e3c1743b7116e69e22229516",
        "3ff1caa1681fac09120eca307586e1a7",
    ));
    let mut sector = [0; SECTOR];
    sector[..64].copy_from_slice(&plain);
    sector.iter_mut().zip(&vector).for_each(|(byte, v)| *byte ^= v);
    cipher(&key).encrypt(0, &mut sector);
    assert_eq!(sector[..64], expected);
}

/// Sectors 0, 1 and 2^40 + 5 of zeros under the passphrase "abc", made with `openssl enc
/// -aes-128-cbc -nopad -K 6162630000... -iv <the number, little-endian>`.
#[test]
fn the_vector_is_the_number_with_the_low_byte_first() {
    for (number, start) in VECTORS {
        let mut sector = [0; SECTOR];
        cipher(b"abc").encrypt(number, &mut sector);
        assert_eq!(sector[..32], hex(start), "sector {number}");
    }
}

const VECTORS: [(u64, &str); 3] = [
    (0, "91c2e34596cf3fa06dbe2548aede5a7086d91c13659acd922751b8478c38f539"),
    (1, "c51c0b72508ac794ef8c951aaa8a6df0ba3fd165030c9ea7e38278c29189f33c"),
    ((1 << 40) + 5, "10e097c5868b5094d0322c8513bc0ac3d304aa650105e8c16c392e776bf87f70"),
];

#[test]
fn sixteen_bytes_of_a_passphrase_count() {
    let encrypted = |passphrase: &[u8]| {
        let mut sector = [5; SECTOR];
        cipher(passphrase).encrypt(3, &mut sector);
        sector
    };
    assert_eq!(encrypted(b"0123456789abcdef"), encrypted(b"0123456789abcdefghi"));
    assert_eq!(encrypted(b"abc"), encrypted(b"abc\0\0"));
    // Other programs take a passphrase for text that ends there.
    assert_eq!(encrypted(b"abc"), encrypted(b"abc\0d"));
    assert_ne!(encrypted(b"abc"), encrypted(b"abd"));
    assert_eq!(encrypted(b""), encrypted(&[0; 16]));
    assert_eq!(cipher(b"").numbering(), Numbering::Guest);
}

proptest! {
    #[test]
    fn sectors_come_back_and_stand_for_themselves(
        passphrase in prop::collection::vec(any::<u8>(), 0..20),
        first in 0..u64::MAX - 8,
        sectors in 0..5_usize,
        rest in 0..511_usize,
        byte: u8,
    ) {
        let cipher = cipher(&passphrase);
        let plain: Vec<u8> =
            (0..sectors * SECTOR + rest).map(|n| byte.wrapping_add((n / 7) as u8)).collect();
        let mut all = plain.clone();
        cipher.encrypt(first, &mut all);
        prop_assert_eq!(&all[sectors * SECTOR..], &plain[sectors * SECTOR..]);
        for (n, part) in plain.chunks_exact(SECTOR).enumerate() {
            let mut one = part.to_vec();
            cipher.encrypt(first + n as u64, &mut one);
            prop_assert_eq!(&one, &all[n * SECTOR..(n + 1) * SECTOR]);
            prop_assert_ne!(&one, part);
        }
        cipher.decrypt(first, &mut all);
        prop_assert_eq!(all, plain);
    }
}
