//! One step of a sequence.

use std::fmt;
use std::str::FromStr;

use crate::Op;

/// A step of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A request to both sides.
    Op(Op),
    /// The images change places: each side goes on with what the other wrote. Prints as `x`.
    Swap,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Op(op) => op.fmt(f),
            Self::Swap => f.write_str("x"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "x" { Ok(Self::Swap) } else { text.parse().map(Self::Op) }
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
