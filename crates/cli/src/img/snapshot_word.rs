//! Which snapshot `-l` means, and its disk in place of the image's.

use holstein::SnapshotSelector;

use super::Failure;
use crate::disk::Disk;
use crate::out;
use crate::text::parse_list;

/// The value of `-l`: a word, or `snapshot.id=ID,snapshot.name=NAME` of which one may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotWord {
    /// An ID, else a name.
    Word(String),
    /// What all has to fit.
    Parts {
        /// The ID.
        id: Option<String>,
        /// The name.
        name: Option<String>,
    },
}

impl SnapshotWord {
    /// Reads the value of `-l`.
    ///
    /// # Errors
    /// A part that is unknown, which is said.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if !text.starts_with("snapshot.") {
            return Ok(Self::Word(text.to_owned()));
        }
        let (mut id, mut name) = (None, None);
        for pair in parse_list(text) {
            let (key, value) = pair.flag_form();
            match key.as_str() {
                "snapshot.id" => id = Some(value),
                "snapshot.name" => name = Some(value),
                _ => {
                    out::error_line(&format!("Invalid parameter '{key}'"));
                    return Err(Failure::message(format!(
                        "Failed in parsing snapshot param '{text}'"
                    )));
                }
            }
        }
        Ok(Self::Parts { id, name })
    }

    fn selector(&self) -> Option<SnapshotSelector<'_>> {
        Some(match self {
            Self::Word(word) => word.as_str().into(),
            Self::Parts { id: Some(id), name: Some(name) } => {
                SnapshotSelector::Both { id: id.as_bytes(), name: name.as_bytes() }
            }
            Self::Parts { id: Some(id), name: None } => SnapshotSelector::Id(id.as_bytes()),
            Self::Parts { id: None, name: Some(name) } => SnapshotSelector::Name(name.as_bytes()),
            Self::Parts { id: None, name: None } => return None,
        })
    }

    /// The disk as the snapshot holds it.
    ///
    /// # Errors
    /// There is no such snapshot, or the format has none.
    pub(crate) fn load(&self, disk: Box<dyn Disk>) -> Result<Box<dyn Disk>, Failure> {
        let failed = |error| Failure::Error("Failed to load snapshot: ".to_owned(), error, 1);
        let selector = self
            .selector()
            .ok_or_else(|| Failure::message("snapshot_id and name are both NULL"))?;
        disk.into_snapshot(selector).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_word_unless_it_begins_as_an_option() {
        assert_eq!(SnapshotWord::parse("1"), Ok(SnapshotWord::Word("1".to_owned())));
        let parts = SnapshotWord::parse("snapshot.name=a,,b,snapshot.id=2");
        let (id, name) = (Some("2".to_owned()), Some("a,b".to_owned()));
        assert_eq!(parts, Ok(SnapshotWord::Parts { id, name }));
        assert!(SnapshotWord::parse("snapshot.foo=2").is_err());
    }
}
