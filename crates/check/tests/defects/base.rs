//! The images into which defects are planted.

use holstein_format::{COPIED, HeaderExtension, IncompatibleFeatures, Version};

use super::super::common::{Builder, Image};

/// The shape of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub bits: u32,
    pub version: Version,
    /// Binary logarithm of the width of refcounts.
    pub order: u32,
}

impl Shape {
    pub const SHAPES: [Self; 6] = [
        Self { bits: 16, version: Version::V3, order: 4 },
        Self { bits: 9, version: Version::V3, order: 4 },
        Self { bits: 16, version: Version::V3, order: 0 },
        Self { bits: 9, version: Version::V3, order: 6 },
        Self { bits: 12, version: Version::V2, order: 4 },
        Self { bits: 21, version: Version::V3, order: 4 },
    ];

    /// Whether a cluster can be counted twice.
    pub fn shares(self) -> bool {
        self.order > 0
    }

    pub fn size(self) -> u64 {
        1 << self.bits
    }
}

/// Guest clusters 0 to 3 are data; 4 is kept zeros and 5 zeros in version 3. With counts above 1
/// there are compressed clusters 8 and 9 in one host cluster, and two snapshots: `s1` shares the L2
/// table, `s2` has a table of its own that shares clusters 0 and 1. The range of the second L2 table
/// has data in its first cluster.
pub fn image(shape: Shape) -> Image {
    let bytes_per_l2 = shape.size() / 8 * shape.size();
    let mut b = Builder::new(shape.bits, shape.version, false, shape.order, bytes_per_l2 * 2);
    let size = shape.size();
    let per_l2 = size / 8;
    let mut fill = Vec::new();
    for guest in [0, 1, 2, 3, per_l2] {
        fill.push((b.data(guest), 0x10 + guest));
    }
    if shape.version == Version::V3 {
        let kept = b.allocate(1);
        b.set_entry(4, kept | COPIED | 1);
        b.set_entry(5, 1);
    }
    if shape.shares() {
        let packed = b.allocate(1);
        b.references.insert(packed / size, 0);
        b.compressed(8, packed, 100);
        b.compressed(9, packed + 100, 150);
        fill.push((packed, 0x99));
        snapshots(&mut b, size);
    }
    for (at, byte) in fill {
        let at = usize::try_from(at).expect("small");
        let [.., byte] = byte.to_be_bytes();
        b.bytes[at..at + usize::try_from(size).expect("small")].fill(byte);
    }
    b.finish()
}

fn snapshots(b: &mut Builder, size: u64) {
    let (l1, l2) = (b.l1(), b.l2_of(0));
    let l1_a = b.allocate(1);
    let l1_b = b.allocate(1);
    let own = b.allocate(1);
    b.put(l1, l2);
    b.put(l1_a, l2);
    b.put(l1_b, own | COPIED);
    b.refer(l2 / size, 1);
    for guest in 0..10 {
        let raw = b.get(l2 + guest * 8);
        if raw == 0 || raw == 1 {
            continue;
        }
        if raw & 1 << 62 != 0 {
            // Both streams and what they touch, once more.
            let packed = (raw & ((1 << 50) - 1)) / size;
            b.refer(packed, 1);
            continue;
        }
        let at = raw & !COPIED;
        b.put(l2 + guest * 8, at);
        b.refer((at & !1) / size, 1);
        if guest < 2 {
            b.put(own + guest * 8, at);
            b.refer(at / size, 1);
        }
    }
    b.snapshots(&[(l1_a, 1), (l1_b, 1)]);
}

/// An image with extended L2 entries: clusters 0 to 2 are data, 8 is compressed.
pub fn extended() -> Image {
    let mut b = Builder::new(16, Version::V3, true, 4, 1 << 30);
    for guest in 0..3 {
        let at = usize::try_from(b.data(guest)).expect("small");
        b.bytes[at..at + 65536].fill(7);
    }
    let packed = b.allocate(1);
    b.references.insert(packed >> 16, 0);
    b.compressed(8, packed, 1000);
    b.finish()
}

/// An image whose data is in another file.
pub fn data_file() -> Image {
    let mut b = Builder::new(16, Version::V3, false, 4, 64 << 20);
    b.header.incompatible.insert(IncompatibleFeatures::DATA_FILE);
    b.header.extensions.push(HeaderExtension::DataFile(b"data.raw".to_vec()));
    for guest in 0..4 {
        b.set_entry(guest, (guest << 16) | COPIED);
    }
    b.finish()
}
