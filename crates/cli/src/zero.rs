//! Looking for zeros, fast.

/// Whether every byte of `bytes` is zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Most data shows itself in the first bytes; the rest goes by in blocks that the compiler turns
    // into wide loads.
    const BLOCK: usize = 256;
    let (head, rest) = bytes.split_at(bytes.len().min(16));
    if head.iter().any(|byte| *byte != 0) {
        return false;
    }
    let mut blocks = rest.chunks_exact(BLOCK);
    for block in blocks.by_ref() {
        if block.iter().fold(0, |all, byte| all | byte) != 0 {
            return false;
        }
    }
    blocks.remainder().iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_is_found() {
        for len in [0, 1, 15, 16, 17, 255, 256, 272, 273, 4096, 5000] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes), "{len}");
            for at in (0..len).step_by(7).chain(len.checked_sub(1)) {
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "{at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
