//! What the tests of this crate share.

use std::sync::Arc;

use holstein_format::{Header, RefcountOrder, RefcountTableEntry, Version};
use holstein_storage::MemStorage;
use holstein_units::{ClusterBits, Geometry, HostOffset};

/// An image of an empty disk: header, refcount table, refcount block.
pub(crate) fn empty(
    version: Version,
    cluster_bits: u32,
    extended: bool,
    order: u32,
) -> (Arc<MemStorage>, Header) {
    let bits = ClusterBits::new(cluster_bits).expect("within 9..=21");
    let cluster = bits.size();
    let mut header = Header::new(version, Geometry::new(bits, extended), 0);
    header.refcount_order = RefcountOrder::new(order).expect("within 0..=6");
    header.refcount_table_offset = HostOffset::new(cluster);
    header.refcount_table_clusters = 1;
    let mut bytes = header.encode().expect("it fits");
    bytes.resize(3 * cluster as usize, 0);
    let block = HostOffset::new(2 * cluster);
    bytes[cluster as usize..][..8]
        .copy_from_slice(&RefcountTableEntry::Block(block).encode().to_be_bytes());
    for used in 0..3 {
        header.refcount_order.write(&mut bytes[2 * cluster as usize..], used, 1);
    }
    (Arc::new(MemStorage::from_bytes(&bytes)), header)
}
