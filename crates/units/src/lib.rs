//! Addresses and geometry of a qcow2 image.
//!
//! Every address space has a type of its own, so that a guest offset can never be passed where a
//! host offset is meant, and an index never where an offset is. [`Geometry`] is the only place that
//! converts between them; it holds numbers that were checked once, when the header was decoded.
//!
//! ```
//! use holstein_units::{ClusterBits, Geometry, GuestOffset};
//!
//! let geometry = Geometry::new(ClusterBits::new(16).expect("16 is within 9..=21"), false);
//! let at = GuestOffset::new(0x1_2345_6789);
//! assert_eq!(geometry.l1_index(at), 9);
//! assert_eq!(geometry.l2_index(at), 837);
//! assert_eq!(geometry.in_cluster(at), 0x6789);
//! ```
//!
//! # Spec
//! "Guest mapping" and "Arithmetic": the split of guest offsets and the limits of host offsets.

#![no_std]
#![forbid(unsafe_code)]

mod epoch;
mod geometry;
mod offset;
mod range;

pub use epoch::Epoch;
pub use geometry::{ClusterBits, Geometry, MAX_CLUSTER_BITS, MIN_CLUSTER_BITS, SUBCLUSTERS};
pub use offset::{ClusterCount, GuestCluster, GuestOffset, HostCluster, HostOffset};
pub use range::{GuestRange, HostRange};

/// Sectors, the unit of requests, torn writes and encryption, are always 512 bytes.
pub const SECTOR: u64 = 512;
