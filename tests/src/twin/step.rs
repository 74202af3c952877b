//! One step of a sequence.

use std::fmt;
use std::str::FromStr;

use super::{BitmapOp, Change};
use crate::Op;

/// A step of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A request to both sides.
    Op(Op),
    /// A request about a bitmap, to both sides.
    Bitmap(BitmapOp),
    /// A change of the whole image, by both sides.
    Change(Change),
    /// The images change places: each side goes on with what the other wrote. Prints as `x`.
    Swap,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Op(op) => op.fmt(f),
            Self::Bitmap(op) => op.fmt(f),
            Self::Change(change) => f.write_str(change.word()),
            Self::Swap => f.write_str("x"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "x" {
            return Ok(Self::Swap);
        }
        match Change::ALL.iter().find(|(word, _)| *word == text) {
            Some((_, change)) => Ok(Self::Change(*change)),
            None if text.starts_with('p') => text.parse().map(Self::Bitmap),
            None => text.parse().map(Self::Op),
        }
    }
}

/// Steps as one word.
#[must_use]
pub fn print_steps(steps: &[Step]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// What [`print_steps`] printed.
///
/// # Errors
/// The word that is no step.
pub fn parse_steps(text: &str) -> Result<Vec<Step>, String> {
    text.split(',').filter(|word| !word.is_empty()).map(str::parse).collect()
}
