//! Known answers, and that each sector stands for itself.

use std::io::IoSlice;

use holstein_crypto::{
    CipherMode, LegacyAes, Numbering, SECTOR, Secret, SectorCipher, VectorKind, aes_sectors,
    encrypt_parts, read_sectors,
};
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

/// IEEE 1619-2007, annex B, vectors 4 and 10: the first blocks of sector 0 and of sector 255.
#[test]
fn the_published_vectors_of_xts_come_out() {
    let rows = [
        (
            "2718281828459045235360287471352631415926535897932384626433832795",
            0,
            "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c",
        ),
        (
            "27182818284590452353602874713526624977572470936999595749669676273141592653589793238462643383279502884197169399375105820974944592",
            255,
            "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
        ),
    ];
    for (key, number, start) in rows {
        let mut sector: [u8; SECTOR] =
            std::array::from_fn(|at| u8::try_from(at % 256).expect("below 256"));
        let plain = sector;
        let cipher = aes_sectors(CipherMode::Xts, &hex(key), VectorKind::Plain64);
        let cipher = cipher.expect("the key has a length that fits");
        cipher.encrypt(number, &mut sector);
        assert_eq!(sector[..32], hex(start));
        cipher.decrypt(number, &mut sector);
        assert_eq!(sector, plain);
    }
}

#[test]
fn keys_of_other_lengths_are_refused() {
    for mode in [CipherMode::Xts, CipherMode::Cbc] {
        for len in (0..80).filter(|len| match mode {
            CipherMode::Xts => ![32, 48, 64].contains(len),
            CipherMode::Cbc => ![16, 24, 32].contains(len),
        }) {
            assert!(aes_sectors(mode, &vec![0; len], VectorKind::Plain).is_err(), "{len}");
        }
        let essiv = VectorKind::Essiv(&[0; 20]);
        assert!(aes_sectors(mode, &[0; 32], essiv).is_err());
    }
}

proptest! {
    /// Many sectors at once are what each is alone, and parts of them are read as they are.
    #[test]
    fn sectors_stand_for_themselves(
        mode in prop_oneof![Just(CipherMode::Xts), Just(CipherMode::Cbc)],
        vector in 0..3,
        first in any::<u64>().prop_map(|n| n >> 1),
        count in 1_usize..20,
        seed: u8,
    ) {
        let vector = match vector {
            0 => VectorKind::Plain,
            1 => VectorKind::Plain64,
            _ => VectorKind::Essiv(&[3; 32]),
        };
        let cipher = aes_sectors(mode, &[seed; 32], vector).expect("it fits both modes");
        let plain: Vec<u8> = (0..count * SECTOR).map(|n| (n / 7) as u8 ^ seed).collect();
        let mut all = plain.clone();
        cipher.encrypt(first, &mut all);
        let mut each = plain.clone();
        for (number, sector) in (first..).zip(each.chunks_mut(SECTOR)) {
            cipher.encrypt(number, sector);
        }
        prop_assert_eq!(&all, &each);
        let mut parts = vec![0; all.len()];
        let (a, b) = plain.split_at(plain.len() / 3);
        encrypt_parts(&*cipher, first, &[IoSlice::new(a), IoSlice::new(&[]), IoSlice::new(b)], &mut parts);
        prop_assert_eq!(&all, &parts);
        for (skip, len) in [(0, all.len()), (100, all.len() - 100), (511, 1), (3, all.len() - 500)] {
            let mut back = vec![0; len.min(all.len() - skip)];
            read_sectors(&*cipher, first, skip, &mut back, |at, into| {
                let at = at as usize;
                into.copy_from_slice(&all[at..at + into.len()]);
                Ok::<(), ()>(())
            }).expect("memory does not fail");
            prop_assert_eq!(&back[..], &plain[skip..skip + back.len()]);
        }
    }
}
