//! From one header to another so that a crash leaves either.
//!
//! A write may be torn where sectors end, and a header may span several. So a change is a chain of steps,
//! each durable before the next. A step changes the first sector alone, or only bytes that the header
//! of that moment does not reach:
//!
//! ```text
//!   new bytes past the old end:   write them | switch sector 0
//!   old bytes past the new end:   switch sector 0 | clear them
//!   both overlap:                 write the new list behind both | sector 0 that skips to it
//!                                 | write the list in its place | switch sector 0 | clear the copy
//! ```
//!
//! Skipping is an extension of a type of its own, which readers pass over as unknown.

use alloc::vec::Vec;

use crate::error::FormatError;
use crate::header::Header;
use crate::header_decode::reach;
use crate::header_extension::{ExtensionFrame, PADDING};
use holstein_units::{HostOffset, SECTOR};
use zerocopy::IntoBytes as _;

/// One write of a change; it is durable before the next one is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderStep {
    /// Where it goes.
    pub at: HostOffset,
    /// What is there before it.
    pub old: Vec<u8>,
    /// What it writes.
    pub new: Vec<u8>,
    /// Whether this is the step that makes the new header hold.
    pub switches: bool,
}

impl Header {
    /// The writes that turn the first cluster `present` into this header.
    ///
    /// * `present`: the whole first cluster as the file has it, a header of the same cluster size.
    ///
    /// No steps if nothing differs. After steps past the one that switches only tidying is left.
    ///
    /// # Errors
    /// As for [`Header::encode`]; [`FormatError::NoSpace`] also where both headers and a copy of the list
    /// do not fit in the first cluster side by side.
    ///
    /// # Spec
    /// "Rewriting the header"; rule C9.
    pub fn plan_change(&self, present: &[u8]) -> Result<Vec<HeaderStep>, FormatError> {
        let new = self.encode()?;
        let mut old = present.to_vec();
        old.resize(new.len(), 0);
        let sector = usize::try_from(SECTOR).expect("a sector is small");
        let (old_end, new_end) = (reach(&old).end, reach(&new).end);
        let first_beyond = |old: &[u8], new: &[u8]| {
            (sector..new.len()).find(|&i| old.get(i) != new.get(i)).unwrap_or(new.len())
        };
        let changed = first_beyond(&old, &new);
        let states = if changed >= old_end {
            let mut ready = new.clone();
            ready[..sector].copy_from_slice(&old[..sector]);
            alloc::vec![old, ready, new]
        } else if changed >= new_end {
            let mut switched = old.clone();
            switched[..sector].copy_from_slice(&new[..sector]);
            alloc::vec![old, switched, new]
        } else {
            self.detour(old, new, old_end.max(new_end))?
        };
        Ok(steps(&states))
    }

    /// The states of the first cluster when the list takes a detour past `end`.
    fn detour(&self, old: Vec<u8>, new: Vec<u8>, end: usize) -> Result<Vec<Vec<u8>>, FormatError> {
        let sector = usize::try_from(SECTOR).expect("a sector is small");
        let place = reach(&new);
        let copy_at = end.next_multiple_of(8);
        let list = &new[place.list..place.end];
        let frame_len = size_of::<ExtensionFrame>();
        let copy_end = copy_at + list.len();
        if copy_end > new.len() || place.list + frame_len > sector {
            let needed = copy_end as u64;
            return Err(FormatError::NoSpace { needed, cluster_size: new.len() as u64 });
        }
        let mut copied = old.clone();
        copied[copy_at..copy_end].copy_from_slice(list);

        let mut skipping = copied.clone();
        skipping[..sector].copy_from_slice(&new[..sector]);
        let length = copy_at - place.list - frame_len;
        let length = u32::try_from(length).expect("within the first cluster");
        let frame = ExtensionFrame { kind: PADDING.into(), length: length.into() };
        skipping[place.list..place.list + frame_len].copy_from_slice(frame.as_bytes());
        if self.backing_file.is_some() {
            let moved = (place.name - place.list + copy_at) as u64;
            skipping[8..16].copy_from_slice(&moved.to_be_bytes());
        }
        let mut placed = skipping.clone();
        placed[sector..copy_at].copy_from_slice(&new[sector..copy_at]);
        let mut switched = placed.clone();
        switched[..sector].copy_from_slice(&new[..sector]);
        Ok(alloc::vec![old, copied, skipping, placed, switched, new])
    }
}

/// The differences between neighbours, in whole sectors.
fn steps(states: &[Vec<u8>]) -> Vec<HeaderStep> {
    let sector = usize::try_from(SECTOR).expect("a sector is small");
    let mut switched = false;
    let mut steps = Vec::new();
    for pair in states.windows(2) {
        let [old, new] = pair else { continue };
        let differs = |i: &usize| old.get(*i) != new.get(*i);
        let (Some(first), Some(last)) =
            ((0..new.len()).find(differs), (0..new.len()).rev().find(differs))
        else {
            continue;
        };
        let start = first / sector * sector;
        let end = (last / sector + 1) * sector;
        let switches = start == 0 && !switched;
        switched |= switches;
        steps.push(HeaderStep {
            at: HostOffset::new(start as u64),
            old: old[start..end].to_vec(),
            new: new[start..end].to_vec(),
            switches,
        });
    }
    steps
}
