//! Memory for tables that can go back to the system a page at a time.

#![expect(
    unsafe_code,
    reason = "madvise and memory of zeros for atomics exist in unsafe code alone"
)]

use std::sync::atomic::AtomicU64;

/// Bytes of a page; larger pages are given back in part, or not at all.
const PAGE: usize = 4096;

/// `count` words of 0. Memory is taken when they are first stored to, where the system allows it.
#[must_use]
pub fn zeroed_words(count: usize) -> Box<[AtomicU64]> {
    const { assert!(align_of::<u64>() == align_of::<AtomicU64>()) };
    let words = Box::into_raw(vec![0_u64; count].into_boxed_slice());
    // SAFETY: the box is ours, and AtomicU64 has the size and the values of u64, and, as was asserted, its
    // alignment.
    unsafe { Box::from_raw(words as *mut [AtomicU64]) }
}

/// The first word of `words` at which a page begins, if there is one.
#[must_use]
pub fn first_page(words: &[AtomicU64]) -> usize {
    words.as_ptr().align_offset(PAGE)
}

/// Gives the whole pages under `words` back to the system: their words read as 0 from then on, until
/// something is stored to them. Where the system cannot do that, nothing changes.
pub fn give_back(words: &[AtomicU64]) {
    let skip = first_page(words);
    let Some(rest) = words.get(skip..) else { return };
    let bytes = size_of_val(rest) / PAGE * PAGE;
    if bytes == 0 {
        return;
    }
    // SAFETY: the range is whole pages of memory that `words` borrows, all of it atomics, to which
    // anybody may store at any time; that they become 0 is such a store. The memory is private to the
    // process and stays mapped.
    unsafe {
        libc::madvise(rest.as_ptr().cast_mut().cast(), bytes, libc::MADV_DONTNEED);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn whole_pages_are_given_back_and_nothing_beside_them() {
        let words = zeroed_words(4 * 512);
        assert!(words.iter().all(|word| word.load(Relaxed) == 0));
        for (i, word) in words.iter().enumerate() {
            word.store(i as u64 + 1, Relaxed);
        }
        let first = first_page(&words);
        // One word less than three pages, so two of them are whole.
        give_back(&words[first..first + 3 * 512 - 1]);
        for (i, word) in words.iter().enumerate() {
            let gone = (first..first + 2 * 512).contains(&i);
            assert_eq!(word.load(Relaxed), if gone { 0 } else { i as u64 + 1 }, "{i}");
        }
        words[first].store(7, Relaxed);
        assert_eq!(words[first].load(Relaxed), 7, "it is memory still");
        give_back(&words[..0]);
        give_back(&words[first + 1..first + 513]);
        assert_eq!(words[first].load(Relaxed), 7);
    }
}
