//! `blkdebug`: a node that fails, or stops, requests by what the image is doing.
//!
//! Rules wait for an event, such as the writing of an L2 table. An event makes a rule active, sets the
//! state of the node, or suspends the request; while a rule is active, requests to the node fail. Events
//! come from the format above, which says what it is about to do ([`holstein::Listener`]), and from the
//! node itself.
//!
//! Over bytes the node is storage; over a format it is a disk of its own, and what is below stays visible.
//!
//! # Invariants
//! Without such a node nothing of this is on the way of a request.

mod config;
mod debugger;
mod disk;
mod events;
mod gate;
mod limits;
mod open;
mod ranges;
mod rules;
mod storage;

pub(crate) use debugger::Debugger;
pub(crate) use events::COR_WRITE;
pub(super) use open::{Debugging, open, split_name, stands_on_a_format, take};

use disk::DebugDisk;
