//! One request of a program.

use std::fmt;
use std::str::FromStr;

use crate::{Amend, Name, Noting};

/// A request. Prints and parses as `w@300+200` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Writes a pattern: `w@at+len`.
    Write {
        /// The first byte.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// Writes zeros: `z@at+len` where the space may go, else `k@at+len`.
    Zero {
        /// The first byte.
        at: u64,
        /// Bytes.
        len: u64,
        /// Whether the space may go.
        unmap: bool,
    },
    /// Discards: `d@at+len`.
    Discard {
        /// The first byte.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// Flushes: `f`.
    Flush,
    /// Grows the disk: `g+by`.
    Grow {
        /// By so many bytes.
        by: u64,
    },
    /// Lets the disk shrink: `g-512`.
    Shrink {
        /// Bytes that are cut off.
        by: u64,
    },
    /// Writes a pattern, compressed, to whole clusters: `c@at+len`.
    Compressed {
        /// The first byte.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// Takes a snapshot with this number in its name: `s+1`.
    Snapshot(u64),
    /// Makes the disk what that snapshot holds: `s=1`.
    Apply(u64),
    /// Deletes that snapshot: `s-1`.
    Delete(u64),
    /// Closes the image, repairs all that a check finds, and opens it again: `r`.
    Repair,
    /// Changes what the header says of the image: `a:compat2`, `a:width64`, `a:lazy1`.
    Amend(Amend),
    /// Closes the image, commits it into its base, and opens it again: `commit`.
    Commit,
    /// Bases the image on another file, or on none, and opens it again: `b:other`, `b:none`.
    Rebase(Option<Name>),
    /// Does something to the bitmap with this number in its name: `m:add1`, `m:remove1`, `m:clear1`,
    /// `m:on1`, `m:off1`.
    Bitmap(Noting, u64),
    /// Adds passphrase number 1, or erases it: `p+1`, `p-1`.
    Passphrase {
        /// Its number.
        number: u64,
        /// Whether it is added.
        add: bool,
    },
    /// Closes the image and opens it again: `o`.
    Reopen,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { at, len } => write!(f, "w@{at}+{len}"),
            Self::Zero { at, len, unmap: true } => write!(f, "z@{at}+{len}"),
            Self::Zero { at, len, unmap: false } => write!(f, "k@{at}+{len}"),
            Self::Discard { at, len } => write!(f, "d@{at}+{len}"),
            Self::Flush => f.write_str("f"),
            Self::Grow { by } => write!(f, "g+{by}"),
            Self::Shrink { by } => write!(f, "g-{by}"),
            Self::Compressed { at, len } => write!(f, "c@{at}+{len}"),
            Self::Snapshot(number) => write!(f, "s+{number}"),
            Self::Apply(number) => write!(f, "s={number}"),
            Self::Delete(number) => write!(f, "s-{number}"),
            Self::Amend(amend) => write!(f, "a:{amend}"),
            Self::Commit => f.write_str("commit"),
            Self::Rebase(None) => f.write_str("b:none"),
            Self::Rebase(Some(name)) => write!(f, "b:{name}"),
            Self::Bitmap(noting, number) => write!(f, "m:{noting}{number}"),
            Self::Passphrase { number, add: true } => write!(f, "p+{number}"),
            Self::Passphrase { number, add: false } => write!(f, "p-{number}"),
            Self::Repair => f.write_str("r"),
            Self::Reopen => f.write_str("o"),
        }
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is no operation: w@0+512, z@, k@, d@, c@, f, g+512, g-512, s+1, s=1, s-1, a:compat2, m:add1, p+1, p-1, commit, b:none, r, o"
            )
        };
        match text {
            "f" => return Ok(Self::Flush),
            "o" => return Ok(Self::Reopen),
            "r" => return Ok(Self::Repair),
            "commit" => return Ok(Self::Commit),
            "b:none" => return Ok(Self::Rebase(None)),
            _ => {}
        }
        if let Some(amend) = text.strip_prefix("a:") {
            return Ok(Self::Amend(amend.parse()?));
        }
        if let Some(name) = text.strip_prefix("b:") {
            return Ok(Self::Rebase(Some(name.parse()?)));
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
        if let Some(noting) = text.strip_prefix("m:") {
            let (word, place) = noting.split_at(noting.find(char::is_numeric).ok_or_else(bad)?);
            return Ok(Self::Bitmap(word.parse()?, number(place)?));
        }
        let grow = |by| Self::Grow { by };
        let shrink = |by| Self::Shrink { by };
        let add = |number| Self::Passphrase { number, add: true };
        let erase = |number| Self::Passphrase { number, add: false };
        let numbered: [(&str, &dyn Fn(u64) -> Self); 7] = [
            ("p+", &add),
            ("p-", &erase),
            ("g+", &grow),
            ("g-", &shrink),
            ("s+", &Self::Snapshot),
            ("s=", &Self::Apply),
            ("s-", &Self::Delete),
        ];
        for (prefix, op) in numbered {
            if let Some(rest) = text.strip_prefix(prefix) {
                return Ok(op(number(rest)?));
            }
        }
        let (kind, rest) = text.split_once('@').ok_or_else(bad)?;
        let (at, len) = rest.split_once('+').ok_or_else(bad)?;
        let (at, len) = (number(at)?, number(len)?);
        Ok(match kind {
            "w" => Self::Write { at, len },
            "c" => Self::Compressed { at, len },
            "z" => Self::Zero { at, len, unmap: true },
            "k" => Self::Zero { at, len, unmap: false },
            "d" => Self::Discard { at, len },
            _ => return Err(bad()),
        })
    }
}
