//! The table of options in `docs/options.md`, beside the options that the program asks for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The options for which a map of them was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    keys: Arc<Mutex<BTreeSet<String>>>,
    prefix: String,
}

impl PartialEq for Asked {
    /// What was asked for is no part of the options.
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Asked {
    /// Notes a question.
    pub(crate) fn note(&self, key: &str) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(format!("{}{key}", self.prefix));
    }

    /// The same for the options of a node below, whose questions are noted here too.
    pub(crate) fn below(&self, name: &str) -> Self {
        Self { keys: Arc::clone(&self.keys), prefix: format!("{}{name}.", self.prefix) }
    }

    /// All keys asked for so far.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The options in the first column of the table under a heading of the document.
pub(crate) fn listed(heading: &str) -> BTreeSet<String> {
    let text = include_str!("../../../docs/options.md");
    let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let rows = section.unwrap_or_else(|| panic!("no section {heading}")).lines();
    let cells = rows.filter_map(|row| row.strip_prefix("| `")?.split('|').next());
    let mut keys = BTreeSet::new();
    for cell in cells {
        for key in format!("`{cell}").split('`').skip(1).step_by(2) {
            assert!(keys.insert(key.to_owned()), "{key} has two rows");
        }
    }
    assert!(!keys.is_empty(), "no rows under {heading}");
    keys
}
