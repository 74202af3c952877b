//! Contents of clusters.

/// A cluster from a seed: runs, text and noise mixed.
pub(crate) fn cluster(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(size + 600);
    while bytes.len() < size {
        let run = usize::try_from(next() % 600).expect("small");
        match next() % 3 {
            0 => bytes.resize(bytes.len() + run, (next() % 256) as u8),
            1 => bytes.extend((0..run).map(|i| b"the quick brown fox "[i % 20])),
            _ => bytes.extend((0..run).map(|_| (next() % 256) as u8)),
        }
    }
    bytes.truncate(size);
    bytes
}

/// Bytes that nothing makes smaller.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
