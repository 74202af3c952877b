//! Options of inner commands by the rules of C's `getopt`.

use crate::out;

/// One option that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Letter<'a> {
    /// Its letter; `?` for one that is unknown or lacks its value, which has been reported.
    pub(super) letter: char,
    /// Its value; empty for flags.
    pub(super) value: &'a str,
}

/// The options of a command, in order, and then its operands.
///
/// Options and operands may be mixed; `--` ends the options.
pub(super) struct Letters<'a> {
    name: &'a str,
    spec: &'a str,
    rest: std::slice::Iter<'a, &'a str>,
    bundle: &'a str,
    operands: Vec<&'a str>,
}

impl<'a> Letters<'a> {
    /// Takes apart `words`, whose first one names the command. In `spec` a letter that is followed
    /// by a colon has a value.
    pub(super) fn new(words: &'a [&'a str], spec: &'a str) -> Self {
        let (name, rest) = match words.split_first() {
            Some((name, rest)) => (*name, rest),
            None => ("", words),
        };
        Self { name, spec, rest: rest.iter(), bundle: "", operands: Vec::new() }
    }

    /// The operands, once there are no more options.
    pub(super) fn operands(self) -> Vec<&'a str> {
        self.operands
    }

    /// Goes to the next word with options in it; false when there is none.
    fn next_bundle(&mut self) -> bool {
        while let Some(word) = self.rest.next() {
            if *word == "--" {
                self.operands.extend(self.rest.by_ref());
            } else if word.len() > 1 && word.starts_with('-') {
                self.bundle = &word[1..];
                return true;
            } else {
                self.operands.push(word);
            }
        }
        false
    }

    /// Whether the letter exists, and whether it has a value.
    fn takes_value(&self, letter: char) -> Option<bool> {
        let at = self.spec.find(letter).filter(|_| letter != ':')?;
        Some(self.spec[at + letter.len_utf8()..].starts_with(':'))
    }

    fn complain(&self, what: &str, letter: char) -> Letter<'a> {
        out::error_text(&format!("{}: {what} -- '{letter}'\n", self.name));
        Letter { letter: '?', value: "" }
    }
}

impl<'a> Iterator for Letters<'a> {
    type Item = Letter<'a>;

    fn next(&mut self) -> Option<Letter<'a>> {
        if self.bundle.is_empty() && !self.next_bundle() {
            return None;
        }
        let letter = self.bundle.chars().next()?;
        self.bundle = &self.bundle[letter.len_utf8()..];
        Some(match self.takes_value(letter) {
            None => self.complain("invalid option", letter),
            Some(false) => Letter { letter, value: "" },
            Some(true) => {
                let attached = std::mem::take(&mut self.bundle);
                let value = match attached {
                    "" => self.rest.next().copied(),
                    attached => Some(attached),
                };
                match value {
                    Some(value) => Letter { letter, value },
                    None => self.complain("option requires an argument", letter),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (String, String) {
        let words: Vec<&str> = line.split(' ').collect();
        let mut letters = Letters::new(&words, "bP:qs:");
        let found: Vec<_> = letters.by_ref().map(|l| format!("{}{}", l.letter, l.value)).collect();
        (found.join(" "), letters.operands().join(" "))
    }

    #[test]
    fn options_and_operands_mix() {
        assert_eq!(parse("read 0 -qP 0xa 512 -s1k"), ("q P0xa s1k".into(), "0 512".into()));
        assert_eq!(parse("read -q -- -P 1"), ("q".into(), "-P 1".into()));
        assert_eq!(parse("read - 0"), (String::new(), "- 0".into()));
    }

    #[test]
    fn what_is_wrong_becomes_a_question_mark() {
        assert_eq!(parse("read -xq 0"), ("? q".into(), "0".into()));
        assert_eq!(parse("read --quiet"), ("? q ? ? ? ?".into(), String::new()));
        assert_eq!(parse("read 0 -P"), ("?".into(), "0".into()));
        assert_eq!(parse("read -: 0"), ("?".into(), "0".into()));
    }
}
