//! Half-open byte ranges.

use crate::{GuestOffset, HostOffset};
use core::fmt;

macro_rules! range {
    ($(#[$doc:meta])* $name:ident, $offset:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name {
            /// The first byte.
            pub start: $offset,
            /// How many bytes.
            pub len: u64,
        }

        impl $name {
            /// `len` bytes from `start`; `None` if the end does not fit in 63 bits.
            #[must_use]
            pub const fn new(start: $offset, len: u64) -> Option<Self> {
                match start.get().checked_add(len) {
                    Some(end) if end <= i64::MAX as u64 => Some(Self { start, len }),
                    _ => None,
                }
            }

            /// The first byte past the range.
            #[must_use]
            pub const fn end(self) -> $offset {
                $offset::new(self.start.get().saturating_add(self.len))
            }

            /// Whether nothing is in it.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.len == 0
            }

            /// Whether at least one byte is in both.
            #[must_use]
            pub const fn overlaps(self, other: Self) -> bool {
                self.len != 0
                    && other.len != 0
                    && self.start.get() < other.end().get()
                    && other.start.get() < self.end().get()
            }

            /// The first `n` bytes and the rest; all and nothing if `n` is the length or more.
            #[must_use]
            pub fn split_at(self, n: u64) -> (Self, Self) {
                let n = n.min(self.len);
                (
                    Self { start: self.start, len: n },
                    Self { start: $offset::new(self.start.get() + n), len: self.len - n },
                )
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}+{:#x}", self.start, self.len)
            }
        }
    };
}

range! {
    /// Bytes of the guest disk.
    GuestRange, GuestOffset
}
range! {
    /// Bytes of the host file.
    HostRange, HostOffset
}
