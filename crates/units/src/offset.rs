//! One type per address space.

use core::fmt;
use core::ops::{Add, Sub};

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            #[doc = concat!("The ", $unit, " with this number.")]
            #[must_use]
            pub const fn new(n: u64) -> Self {
                Self(n)
            }

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Moves on by `n`; `None` past the end of 64 bits.
            #[must_use]
            pub const fn checked_add(self, n: u64) -> Option<Self> {
                match self.0.checked_add(n) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl Add<u64> for $name {
            type Output = Self;
            fn add(self, n: u64) -> Self {
                Self(self.0 + n)
            }
        }

        impl Sub<$name> for $name {
            type Output = u64;
            fn sub(self, other: Self) -> u64 {
                self.0 - other.0
            }
        }
    };
}

address! {
    /// A byte address on the guest disk.
    GuestOffset, "byte of the guest disk"
}
address! {
    /// A byte address in the file that holds the bytes: the image file, or the external data file.
    HostOffset, "byte of the host file"
}
address! {
    /// The index of a guest cluster: guest offset divided by the cluster size.
    GuestCluster, "guest cluster"
}
address! {
    /// The index of a host cluster: host offset divided by the cluster size. Cluster 0 is the
    /// header's.
    HostCluster, "host cluster"
}

/// A number of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClusterCount(pub u64);

impl fmt::Display for ClusterCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} clusters", self.0)
    }
}
