//! Where a rebase puts the streams that it compresses.

use std::sync::Arc;

use holstein::chain::{Chain, Layer, RawLayer};
use holstein::storage::MemStorage;
use holstein::{CreateOptions, NewBacking, OpenOptions, RebaseOptions};
use holstein_testkit::Rng;

const CLUSTER: u64 = 64 << 10;
const CLUSTERS: u64 = 200;

/// Clusters of which one in four takes much longer to compress than the others: workers overtake each other.
fn uneven() -> Vec<u8> {
    let mut rng = Rng::new(271);
    let mut bytes = Vec::new();
    for cluster in 0..CLUSTERS {
        let most = if cluster % 16 < 4 { 16 } else { 1 };
        bytes.extend((0..CLUSTER).map(|_| 1 + rng.below(most) as u8));
    }
    bytes
}

/// Compression goes on beside each other, and the streams lie in the order of the disk: what is read in
/// a row is read from the file in a row.
#[test]
fn streams_of_a_rebase_lie_in_the_order_of_the_disk() -> Result<(), Box<dyn std::error::Error>> {
    let below = RawLayer::new(Arc::new(MemStorage::from_bytes(&uneven())))?;
    let below: Arc<dyn Layer> = Arc::new(below);
    for workers in [2, 4] {
        let file = Arc::new(MemStorage::new());
        CreateOptions::new(CLUSTERS * CLUSTER)
            .cluster_size(CLUSTER)
            .backing_file(b"old".to_vec(), Some(b"raw".to_vec()))
            .create_on(Arc::<MemStorage>::clone(&file))?
            .close()?;
        let chain = Arc::new(Chain::new(vec![Arc::clone(&below)]));
        let image = OpenOptions::new()
            .backing_chain(chain)
            .open_storage(Arc::<MemStorage>::clone(&file))?;
        let options = RebaseOptions::new().workers(workers).compress(true);
        options.run(&image, NewBacking::Nothing, None, &mut |_, _| {})?;
        image.close()?;
        let bytes = file.to_bytes()?;
        let word = |at: u64| {
            let at = usize::try_from(at).expect("small");
            u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
        };
        let l2 = word(word(40)) & 0x00ff_ffff_ffff_fe00;
        let entries: Vec<u64> = (0..CLUSTERS).map(|n| word(l2 + 8 * n)).collect();
        // Bit 62 says that a cluster is compressed; its stream begins at the low 54 bits.
        assert!(entries.iter().all(|entry| entry >> 62 == 1), "{workers} workers: {entries:x?}");
        let starts: Vec<u64> = entries.iter().map(|entry| entry & ((1 << 54) - 1)).collect();
        assert!(starts.is_sorted(), "{workers} workers: {starts:x?}");
    }
    Ok(())
}
