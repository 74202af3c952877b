//! One request made of an open image.

use holstein::{Error, Image, Preallocation};

use crate::Op;
use crate::moment::bytes;

/// Makes a request; a write writes pattern `id`.
///
/// # Errors
/// What the library says.
pub fn perform(image: &Image, op: Op, id: u64) -> Result<(), Error> {
    match op {
        Op::Write { at, len } => image.write_at(at, &bytes(id, at, len)),
        Op::Zero { at, len, unmap } => image.write_zeroes(at, len, unmap),
        Op::Discard { at, len } => image.discard(at, len),
        Op::Flush => image.flush(),
        Op::Grow { by } => image.resize(image.virtual_size() + by, Preallocation::Off),
    }
}

/// Whether a request lies within a disk of `size` bytes.
#[must_use]
pub fn is_within(op: Op, size: u64) -> bool {
    match op {
        Op::Write { at, len } | Op::Zero { at, len, .. } | Op::Discard { at, len } => {
            at + len <= size
        }
        Op::Flush | Op::Grow { .. } => true,
    }
}
