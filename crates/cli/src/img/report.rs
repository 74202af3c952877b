//! The result of a command as JSON, where that is asked for and the reference has no form for it.

use std::cell::RefCell;

use crate::out::{self, say};
use crate::text::Json;

/// What a command has to tell; silent unless it is to be JSON.
#[derive(Debug)]
pub(crate) struct Report {
    wanted: bool,
    facts: RefCell<Vec<(String, Json)>>,
}

impl Report {
    /// One that is printed, or not.
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, facts: RefCell::default() }
    }

    /// Adds a fact; the last one of a name counts.
    pub(super) fn set(&self, key: &str, value: impl Into<Json>) {
        let mut facts = self.facts.borrow_mut();
        facts.retain(|(known, _)| known != key);
        facts.push((key.to_owned(), value.into()));
    }

    /// Prints text for people, which has no place in JSON.
    pub(super) fn say(&self, text: &str) {
        if !self.wanted {
            out::text(text);
        }
    }

    /// Prints text that was asked for; in JSON it is a fact.
    pub(super) fn show(&self, text: &str) {
        match self.wanted {
            true => self.set("text", text),
            false => out::text(text),
        }
    }

    /// Prints the object, if it is wanted.
    pub(super) fn print(&self, command: &str, status: u8) {
        if self.wanted {
            let mut object = Json::map([("command", command.into()), ("status", status.into())]);
            for (key, value) in self.facts.borrow().iter() {
                object.push(key, value.clone());
            }
            say!("{}\n", object.pretty());
        }
    }
}
