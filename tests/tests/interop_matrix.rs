//! Every version, cluster size and refcount width, both directions: made by one side, written by
//! either, read back and checked by the other.

mod interop;

use holstein::format::Version;
use interop::{Bench, Maker, Script};

/// Runs the configurations of some cluster sizes.
fn matrix(name: &str, cluster_bits: std::ops::RangeInclusive<u32>) {
    let Some(mut bench) = Bench::new(name) else { return };
    let mut images = 0;
    for bits in cluster_bits {
        for (version, widths) in
            [(Version::V2, &[16_u32][..]), (Version::V3, &[1, 2, 4, 8, 16, 32, 64])]
        {
            for &width in widths {
                for maker in [Maker::Ours, Maker::Qemu] {
                    let seed = u64::from(bits * 1000 + width * 10) + u64::from(version.number());
                    let what =
                        format!("{bits} bits, {version:?}, width {width}, made by {maker:?}");
                    bench.start(maker, version, bits, width);
                    // Written by the other side first, checked and read by both after each close.
                    let mut script = Script::new(seed, 1 << bits, bench.size());
                    let order = [maker == Maker::Qemu, maker == Maker::Ours];
                    for (round, ours) in order.into_iter().enumerate() {
                        let ops = script.ops(30);
                        if ours {
                            bench.write_ours(&ops);
                        } else {
                            bench.write_qemu(&ops);
                        }
                        bench.judge(&format!("{what}, round {round}"));
                    }
                    images += 1;
                }
            }
        }
    }
    assert!(images % 16 == 0 && images > 0, "16 configurations for each cluster size");
}

#[test]
fn clusters_of_512_to_2048_bytes() {
    matrix("small", 9..=11);
}

#[test]
fn clusters_of_4_to_32_kib() {
    matrix("medium", 12..=15);
}

#[test]
fn clusters_of_64_to_256_kib() {
    matrix("default", 16..=18);
}

#[test]
fn clusters_of_512_kib_to_2_mib() {
    matrix("large", 19..=21);
}
