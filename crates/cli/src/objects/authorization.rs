//! Who may come in: rules about distinguished names.

use super::properties::{Properties, bad_value};
use crate::disk::DiskError;

/// Decides about names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// One name may come in.
    Simple(String),
    /// The first rule that fits decides.
    List {
        /// The rules, in order.
        rules: Vec<Rule>,
        /// What is decided where none fits.
        otherwise: bool,
    },
}

/// A rule about names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pattern: String,
    /// `*` stands for any letters, and `?` for any one.
    glob: bool,
    allow: bool,
}

impl Authorization {
    /// Takes the properties of `authz-simple`.
    ///
    /// # Errors
    /// One of them is missing or unknown.
    pub(super) fn take_simple(properties: &mut Properties) -> Result<Self, DiskError> {
        let identity = properties.needed("identity")?;
        properties.end()?;
        Ok(Self::Simple(identity))
    }

    /// Takes the properties of `authz-list`.
    ///
    /// # Errors
    /// One of them is missing, unknown or wrong.
    pub(super) fn take_list(properties: &mut Properties) -> Result<Self, DiskError> {
        let otherwise = take_policy(properties, "policy")?.unwrap_or(false);
        let mut rules = Vec::new();
        while properties.has_below("rules.") {
            let key = |name: &str| format!("rules.{}.{name}", rules.len());
            if !properties.has_below(&key("")) {
                let text = format!("Parameter 'rules.{}' missing", rules.len());
                return Err(DiskError::invalid(text));
            }
            let pattern = properties.needed(&key("match"))?;
            let missing =
                || DiskError::invalid(format!("Parameter '{}' is missing", key("policy")));
            let allow = take_policy(properties, &key("policy"))?.ok_or_else(missing)?;
            let glob = match properties.text(&key("format"))?.as_deref() {
                None | Some("exact") => false,
                Some("glob") => true,
                Some(other) => return Err(bad_value("format", other)),
            };
            if properties.has_below(&key("")) {
                properties.end()?;
            }
            rules.push(Rule { pattern, glob, allow });
        }
        properties.end()?;
        Ok(Self::List { rules, otherwise })
    }

    /// Whether a name may come in.
    pub(crate) fn allows(&self, name: &str) -> bool {
        match self {
            Self::Simple(identity) => identity == name,
            Self::List { rules, otherwise } => {
                let rule = rules.iter().find(|rule| rule.fits(name));
                rule.map_or(*otherwise, |rule| rule.allow)
            }
        }
    }
}

fn take_policy(properties: &mut Properties, key: &str) -> Result<Option<bool>, DiskError> {
    match properties.text(key)?.as_deref() {
        None => Ok(None),
        Some("allow") => Ok(Some(true)),
        Some("deny") => Ok(Some(false)),
        Some(other) => Err(bad_value("policy", other)),
    }
}

impl Rule {
    fn fits(&self, name: &str) -> bool {
        if self.glob { fits(&self.pattern, name) } else { self.pattern == name }
    }
}

/// Whether a pattern is one of a text. Steps are at most the product of both lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut here) = (0, 0);
    // Where the last star is, and where in the text what follows it was last tried.
    let mut star: Option<(usize, usize)> = None;
    while here < text.len() {
        match (pattern.get(at), star) {
            (Some('*'), _) => {
                star = Some((at, here));
                at += 1;
            }
            (Some(letter), _) if *letter == '?' || Some(letter) == text.get(here) => {
                at += 1;
                here += 1;
            }
            (_, Some((place, tried))) => {
                star = Some((place, tried + 1));
                (at, here) = (place + 1, tried + 1);
            }
            (_, None) => return false,
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|letter| *letter == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*b", "abab", true),
            ("C=*,CN=?", "C=X,O=Y,CN=Z", true),
            ("C=*,CN=?", "C=X,O=Y,CN=ZZ", false),
            ("*a*a*a*a*b", &"a".repeat(200), false),
            ("[a]", "a", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rule = |pattern: &str, glob, allow| Rule { pattern: pattern.to_owned(), glob, allow };
        let rules = vec![rule("CN=a*", false, false), rule("CN=a*", true, true)];
        for otherwise in [false, true] {
            let list = Authorization::List { rules: rules.clone(), otherwise };
            assert!(list.allows("CN=ab") && !list.allows("CN=a*"));
            assert_eq!(list.allows("CN=b"), otherwise);
        }
        let simple = Authorization::Simple("CN=a".to_owned());
        assert!(simple.allows("CN=a") && !simple.allows("CN=ab"));
    }
}
