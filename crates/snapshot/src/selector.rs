//! Which snapshot is meant.

use holstein_format::SnapshotRecord;

use crate::SnapshotTable;

/// Which snapshot is meant. Where several records fit, it is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSelector<'a> {
    /// The one with this ID, else the one with this name: how a user's word is understood when a
    /// snapshot is applied or read.
    IdOrName(&'a [u8]),
    /// The one with this ID.
    Id(&'a [u8]),
    /// The one with this name: how a user's word is understood when a snapshot is deleted.
    Name(&'a [u8]),
    /// The one with this ID and this name.
    Both {
        /// The ID.
        id: &'a [u8],
        /// The name.
        name: &'a [u8],
    },
}

impl<'a> From<&'a str> for SnapshotSelector<'a> {
    fn from(word: &'a str) -> Self {
        Self::IdOrName(word.as_bytes())
    }
}

impl SnapshotTable {
    /// The place in the table, from 0, of the record that is meant.
    #[must_use]
    pub fn position(&self, selector: SnapshotSelector<'_>) -> Option<usize> {
        let first = |fits: &dyn Fn(&SnapshotRecord) -> bool| self.records().iter().position(fits);
        match selector {
            SnapshotSelector::IdOrName(word) => {
                first(&|record| record.id == word).or_else(|| first(&|record| record.name == word))
            }
            SnapshotSelector::Id(id) => first(&|record| record.id == id),
            SnapshotSelector::Name(name) => first(&|record| record.name == name),
            SnapshotSelector::Both { id, name } => {
                first(&|record| record.id == id && record.name == name)
            }
        }
    }

    /// The record that is meant.
    #[must_use]
    pub fn find(&self, selector: SnapshotSelector<'_>) -> Option<&SnapshotRecord> {
        self.position(selector).and_then(|index| self.records().get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewSnapshot;

    #[test]
    fn an_id_comes_before_a_name_and_the_first_of_equals_is_taken() {
        let mut table = SnapshotTable::default();
        for name in ["2", "x", "x"] {
            let record = NewSnapshot::named(name).record(&table, 0, 0);
            table.push(record.expect("there is room")).expect("there is room");
        }
        let at = |selector| table.position(selector);
        assert_eq!(at("2".into()), Some(1));
        assert_eq!(at(SnapshotSelector::Name(b"2")), Some(0));
        assert_eq!(at("x".into()), Some(1));
        assert_eq!(at(SnapshotSelector::Id(b"x")), None);
        assert_eq!(at(SnapshotSelector::Both { id: b"3", name: b"x" }), Some(2));
        assert_eq!(at(SnapshotSelector::Both { id: b"1", name: b"x" }), None);
    }
}
