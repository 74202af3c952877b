//! Changes of an image as a whole, made by a command of their own.

use holstein::format::Version;

use super::{BackingFormat, BackingRow, BackingSize, DataRow, Lower, Row};

/// A change of an image as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// What it holds goes into its backing file.
    Commit {
        /// It keeps it as well.
        keep: bool,
    },
    /// It gets another backing file, or none, and reads as before.
    Rebase {
        /// The new one.
        to: Option<Lower>,
        /// What is copied is compressed.
        compress: bool,
    },
    /// It names a copy of its backing file.
    Rename,
    /// Another version of the format.
    Version(Version),
    /// Another width of refcounts, in bits.
    Width(u32),
    /// Refcounts may be late, or not.
    Lazy(bool),
    /// The bytes of its data file need not be those of the disk.
    NotRaw,
}

impl Change {
    /// All of them, with the words that steps are written in.
    pub const ALL: &[(&str, Self)] = &[
        ("m", Self::Commit { keep: false }),
        ("mk", Self::Commit { keep: true }),
        ("b=none", Self::rebase(None)),
        ("b=first", Self::rebase(Some(Lower::First))),
        ("b=raw", Self::rebase(Some(Lower::Raw))),
        ("b=qcow2", Self::rebase(Some(Lower::Qcow2))),
        ("bc=none", Self::rebase_compressed(None)),
        ("bc=first", Self::rebase_compressed(Some(Lower::First))),
        ("bc=qcow2", Self::rebase_compressed(Some(Lower::Qcow2))),
        ("b=copy", Self::Rename),
        ("a=v2", Self::Version(Version::V2)),
        ("a=v3", Self::Version(Version::V3)),
        ("a=1", Self::Width(1)),
        ("a=2", Self::Width(2)),
        ("a=4", Self::Width(4)),
        ("a=8", Self::Width(8)),
        ("a=16", Self::Width(16)),
        ("a=32", Self::Width(32)),
        ("a=64", Self::Width(64)),
        ("a=lazy", Self::Lazy(true)),
        ("a=prompt", Self::Lazy(false)),
        ("a=mapped", Self::NotRaw),
    ];

    const fn rebase(to: Option<Lower>) -> Self {
        Self::Rebase { to, compress: false }
    }

    const fn rebase_compressed(to: Option<Lower>) -> Self {
        Self::Rebase { to, compress: true }
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, change)| *change == self);
        named.map_or("?", |(word, _)| word)
    }

    /// The file that has to be there, beside the image.
    #[must_use]
    pub fn needs(self) -> Option<Lower> {
        match self {
            Self::Rebase { to, .. } => to,
            Self::Rename => Some(Lower::Copy),
            _ => None,
        }
    }

    /// Whether what is shown where the image holds nothing is another afterwards: then snapshots
    /// show it too.
    #[must_use]
    pub fn alters_below(self) -> bool {
        matches!(self, Self::Commit { .. } | Self::Rebase { .. })
    }

    /// What an image is that was a `row`; `format` is that of the file that was needed.
    #[must_use]
    pub fn applied(self, row: Row, format: Option<BackingFormat>) -> Row {
        let over =
            |file| format.map(|format| BackingRow { format, size: BackingSize::Equal, file });
        match self {
            Self::Commit { .. } => row,
            Self::Rebase { to, .. } => Row { backing: to.and_then(over), ..row },
            Self::Rename => Row { backing: over(Lower::Copy), ..row },
            Self::Version(Version::V2) => {
                Row { version: Version::V2, lazy: false, no_unref: false, zstd: false, ..row }
            }
            Self::Version(version) => Row { version, ..row },
            Self::Width(refcount_bits) => Row { refcount_bits, ..row },
            Self::Lazy(lazy) => Row { lazy, ..row },
            Self::NotRaw => Row { data: row.data.map(|_| DataRow::Mapped), ..row },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_has_a_word_of_its_own() {
        let words: HashSet<_> = Change::ALL.iter().map(|(word, _)| word).collect();
        let changes: HashSet<_> = Change::ALL.iter().map(|(_, change)| change).collect();
        assert_eq!((words.len(), changes.len()), (Change::ALL.len(), Change::ALL.len()));
    }
}
