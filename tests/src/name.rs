//! Names of the files below an image.

use std::fmt;
use std::str::FromStr;

/// What an image may be based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The image into which it is committed, over [`Name::Lowest`].
    Base,
    /// The same file by another name.
    Alias,
    /// What is below the base.
    Lowest,
    /// An image that has nothing to do with the others.
    Other,
}

impl Name {
    const ALL: [(Self, &str); 4] = [
        (Self::Base, "base"),
        (Self::Alias, "alias"),
        (Self::Lowest, "lowest"),
        (Self::Other, "other"),
    ];

    /// All of them.
    pub fn each() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().map(|(name, _)| name)
    }

    /// The name as a header has it.
    #[must_use]
    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(name, _)| *name == self).map_or("", |(_, text)| text)
    }

    /// Whether it is the file of [`Name::Base`].
    #[must_use]
    pub fn is_base(self) -> bool {
        matches!(self, Self::Base | Self::Alias)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(name, _)| *name).ok_or_else(|| format!("{text:?} is no file below an image"))
    }
}
