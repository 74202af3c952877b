//! Requests about dirty bitmaps.

use std::fmt;
use std::str::FromStr;

/// A request about a bitmap, which has a number in its name. Prints and parses as `p+1@4096` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BitmapOp {
    /// Adds a clean one that records: `p+1@4096`; or one that does not: `p+1@4096-`.
    Add {
        /// The number in its name.
        number: u64,
        /// Bytes of a bit.
        unit: u64,
        /// Whether it records what is written.
        recording: bool,
    },
    /// Removes it: `p-1`.
    Remove(u64),
    /// It records from now on: `p1=on`; or no longer: `p1=off`.
    Record {
        /// The number in its name.
        number: u64,
        /// Whether it records.
        on: bool,
    },
    /// Marks all as clean: `p1=clear`.
    Clear(u64),
    /// Adds the bits of another: `p1<2`.
    Merge {
        /// The one that gets them.
        into: u64,
        /// The one that has them.
        from: u64,
    },
}

impl fmt::Display for BitmapOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { number, unit, recording } => {
                write!(f, "p+{number}@{unit}{}", if *recording { "" } else { "-" })
            }
            Self::Remove(number) => write!(f, "p-{number}"),
            Self::Record { number, on } => {
                write!(f, "p{number}={}", if *on { "on" } else { "off" })
            }
            Self::Clear(number) => write!(f, "p{number}=clear"),
            Self::Merge { into, from } => write!(f, "p{into}<{from}"),
        }
    }
}

impl FromStr for BitmapOp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is nothing about a bitmap: p+1@512, p+1@512-, p-1, p1=on, p1=off, p1=clear, p1<2"
            )
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
        let rest = text.strip_prefix('p').ok_or_else(bad)?;
        if let Some(rest) = rest.strip_prefix('+') {
            let (name, unit) = rest.split_once('@').ok_or_else(bad)?;
            let recording = !unit.ends_with('-');
            let unit = number(unit.trim_end_matches('-'))?;
            return Ok(Self::Add { number: number(name)?, unit, recording });
        }
        if let Some(name) = rest.strip_prefix('-') {
            return Ok(Self::Remove(number(name)?));
        }
        if let Some((into, from)) = rest.split_once('<') {
            return Ok(Self::Merge { into: number(into)?, from: number(from)? });
        }
        let (name, what) = rest.split_once('=').ok_or_else(bad)?;
        let name = number(name)?;
        match what {
            "on" => Ok(Self::Record { number: name, on: true }),
            "off" => Ok(Self::Record { number: name, on: false }),
            "clear" => Ok(Self::Clear(name)),
            _ => Err(bad()),
        }
    }
}

/// The name of bitmap `number`.
#[must_use]
pub fn bitmap_name(number: u64) -> String {
    format!("bitmap-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_print_and_parse() {
        for text in ["p+1@512", "p+2@4096-", "p-3", "p1=on", "p1=off", "p0=clear", "p1<2"] {
            let op: BitmapOp = text.parse().expect(text);
            assert_eq!(op.to_string(), text);
        }
        for text in ["p", "p+1", "p1=x", "px<1", "q-1"] {
            assert!(text.parse::<BitmapOp>().is_err(), "{text}");
        }
    }
}
