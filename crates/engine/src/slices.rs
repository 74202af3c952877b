//! Parts of a list of buffers.

use std::io::{IoSlice, IoSliceMut};

/// The buffers that hold bytes `skip..skip + len` of `from`.
pub(crate) fn part<'a>(
    from: &'a [IoSlice<'_>],
    mut skip: usize,
    mut len: usize,
) -> Vec<IoSlice<'a>> {
    let mut parts = Vec::with_capacity(from.len() + 2);
    for buffer in from {
        if len == 0 {
            break;
        }
        if skip >= buffer.len() {
            skip -= buffer.len();
            continue;
        }
        let take = (buffer.len() - skip).min(len);
        parts.push(IoSlice::new(&buffer[skip..skip + take]));
        skip = 0;
        len -= take;
    }
    parts
}

/// The buffers that hold bytes `skip..skip + len` of `into`.
pub(crate) fn part_mut<'a>(
    into: &'a mut [IoSliceMut<'_>],
    mut skip: usize,
    mut len: usize,
) -> Vec<IoSliceMut<'a>> {
    let mut parts = Vec::with_capacity(into.len());
    for buffer in into {
        if len == 0 {
            break;
        }
        if skip >= buffer.len() {
            skip -= buffer.len();
            continue;
        }
        let take = (buffer.len() - skip).min(len);
        parts.push(IoSliceMut::new(&mut buffer[skip..skip + take]));
        skip = 0;
        len -= take;
    }
    parts
}

/// All bytes of a list of buffers.
pub(crate) fn total(from: &[IoSlice<'_>]) -> usize {
    from.iter().map(|b| b.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_bytes_between() {
        let whole: Vec<u8> = (0..20).collect();
        let from =
            [IoSlice::new(&whole[..3]), IoSlice::new(&whole[3..11]), IoSlice::new(&whole[11..])];
        assert_eq!(total(&from), 20);
        for skip in 0..20 {
            for len in 0..=20 - skip {
                let got: Vec<u8> = part(&from, skip, len).iter().flat_map(|b| b.to_vec()).collect();
                assert_eq!(got, whole[skip..skip + len]);
            }
        }
    }
}
