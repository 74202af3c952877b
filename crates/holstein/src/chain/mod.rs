//! Chains of backing files: what an image shows where it holds nothing.
//!
//! ```text
//!   overlay -> Chain [ layer 0 -> layer 1 -> ... ]      read by a loop, never by recursion
//! ```
//!
//! An image names its backing file, and an image may come from anybody. So a name leads nowhere by
//! itself: [`crate::OpenOptions`] follow it only as far as a [`BackingPolicy`] allows, and the default
//! policy follows nothing. A program that has its own way to find files builds a [`Chain`] of
//! [`Layer`]s and hands it over with [`crate::OpenOptions::backing_chain`].
//!
//! # Invariants
//! * Each layer is asked only for what it holds itself. What lies past the end of a layer reads as
//!   zeros, whatever is below it.
//! * No file is in a chain twice, by identity and not by name; no chain is longer than [`MAX_LAYERS`].
//!
//! # Spec
//! "Backing file".

mod layers;
mod members;
mod name;
mod open;
mod policy;
mod stack;

pub(crate) use layers::io_error;
pub use layers::{Held, Layer, LayerExtent, RawLayer};
pub use members::{MAX_LAYERS, Members, MembersError};
pub use name::{NameError, has_protocol, resolve_backing_name, strip_file_protocol};
pub(crate) use open::{Top, open_chain};
pub use policy::{BackingAnswer, BackingPolicy, BackingRequest};
pub use stack::{Chain, ChainExtent};
