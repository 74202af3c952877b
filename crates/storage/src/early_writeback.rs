//! When the pages of a file that is written in one go are sent on their way to the device.
//!
//! The page cache holds what is written until a flush, and then the device works while the caller
//! waits. In a stream of large writes both can work at once: the pages are done with, and most
//! likely not written again. Nothing becomes durable by it, and no error is lost.

use std::sync::atomic::{AtomicU64, Ordering};

use holstein_units::{HostOffset, HostRange};

/// Bytes after which the device gets them.
const WINDOW: u64 = 8 << 20;

/// Counts what is written.
#[derive(Debug, Default)]
pub(crate) struct EarlyWriteback {
    /// Bytes since the last window.
    bytes: AtomicU64,
    /// Where the last window ended in the file.
    from: AtomicU64,
}

impl EarlyWriteback {
    /// Notes `len` bytes written at `at`; now and then a range that is worth sending.
    ///
    /// Small writes that are far apart are not: the kernel sends such pages one by one,
    /// faster when it has them all.
    pub(crate) fn wrote(&self, at: HostOffset, len: u64) -> Option<HostRange> {
        let bytes = self.bytes.fetch_add(len, Ordering::Relaxed).saturating_add(len);
        // Of threads that pass the border together one takes the window.
        if bytes < WINDOW
            || self.bytes.compare_exchange(bytes, 0, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return None;
        }
        let end = at.get().saturating_add(len);
        let start = self.from.swap(end, Ordering::Relaxed);
        let len = end.checked_sub(start)?;
        (len <= bytes.saturating_mul(2)).then_some(HostRange { start: HostOffset::new(start), len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// The ranges sent for writes of `len` bytes, one each `step` bytes.
    fn sent(len: u64, step: u64, count: u64) -> Vec<(u64, u64)> {
        let early = EarlyWriteback::default();
        (0..count)
            .filter_map(|n| early.wrote(HostOffset::new(n * step), len))
            .map(|range| (range.start.get(), range.len))
            .collect()
    }

    #[test]
    fn a_stream_is_sent_window_by_window() {
        assert_eq!(sent(MIB, MIB, 20), [(0, WINDOW), (WINDOW, WINDOW)]);
        assert_eq!(sent(3 * MIB, 3 * MIB, 4), [(0, 9 * MIB)]);
        assert_eq!(sent(32 * MIB, 32 * MIB, 2), [(0, 32 * MIB), (32 * MIB, 32 * MIB)]);
    }

    #[test]
    fn scattered_pages_are_left_to_the_flush() {
        assert_eq!(sent(4096, 64 << 10, 10_000), []);
    }

    #[test]
    fn a_window_that_ends_before_it_began_is_dropped() {
        let early = EarlyWriteback::default();
        assert_eq!(early.wrote(HostOffset::new(64 * MIB), 8 * MIB), None);
        assert_eq!(early.wrote(HostOffset::new(0), 8 * MIB), None);
        let next = early.wrote(HostOffset::new(8 * MIB), 8 * MIB).expect("it goes on from there");
        assert_eq!((next.start.get(), next.len), (8 * MIB, 8 * MIB));
    }
}
