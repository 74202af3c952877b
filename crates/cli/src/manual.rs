//! What help, completions and manual pages tell about a command.
//!
//! A [`Page`] is made from the tables by which command lines are parsed, so that it has the options
//! that the parser takes, and no others. Only operands and examples are told here besides.

use crate::text::Opt;

/// What the table of options does not tell about a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manual {
    /// What follows the options, one form an entry.
    pub(crate) forms: &'static [&'static str],
    /// The words of the forms, and what each means.
    pub(crate) operands: &'static [(&'static str, &'static str)],
    /// What else there is to know, a paragraph an entry.
    pub(crate) notes: &'static [&'static str],
    /// Arguments after the program's name, and what they do.
    pub(crate) examples: &'static [(&'static str, &'static str)],
}

/// All about one command.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) summary: &'static str,
    /// Operands and examples.
    pub(crate) manual: &'static Manual,
    /// The options that it has.
    pub(crate) options: Vec<Opt>,
    /// Options that it has like many others.
    pub(crate) common: Vec<Opt>,
    /// What its first operand can be, where it is one of a few words.
    pub(crate) words: Vec<&'static str>,
}

impl Page {
    /// All its options.
    pub(crate) fn all_options(&self) -> impl Iterator<Item = &Opt> + Clone {
        self.options.iter().chain(&self.common)
    }
}
