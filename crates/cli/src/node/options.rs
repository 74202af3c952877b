//! Options of nodes, as one flat map: `file.filename` and `{"file": {"filename": ...}}` are equal.

use crate::disk::DiskError;
use crate::text::{Json, SizeError, parse_json, parse_list, parse_size};

/// Options in the order in which they were given; keys of nested nodes have dots.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    entries: Vec<(String, Json)>,
    /// What was asked for: the options that are known, for the table of them.
    #[cfg(test)]
    pub(crate) asked: crate::option_table::Asked,
}

impl Options {
    /// Options of a `key=value,...` string, as `--image-opts` and `open -o` take it. With
    /// `implied`, a first entry without `=` is the value of that key.
    pub(crate) fn parse(text: &str, implied: Option<&str>) -> Self {
        let mut options = Self::default();
        for (index, pair) in parse_list(text).into_iter().enumerate() {
            match implied {
                Some(key) if index == 0 && pair.value.is_none() => options.set(key, pair.key),
                _ => {
                    let (key, value) = pair.flag_form();
                    options.set(&key, value);
                }
            }
        }
        options
    }

    /// Options of the JSON text after `json:`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub(crate) fn parse_json(text: &str) -> Result<Self, DiskError> {
        let value = parse_json(text).map_err(|error| {
            DiskError::invalid(format!("Could not parse the JSON options: {error}"))
        })?;
        if !matches!(value, Json::Map(_)) {
            return Err(DiskError::invalid("Invalid JSON object given"));
        }
        let mut options = Self::default();
        options.flatten("", value);
        Ok(options)
    }

    fn flatten(&mut self, prefix: &str, value: Json) {
        let key = |name: &str| match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}.{name}"),
        };
        match value {
            Json::Map(entries) => {
                for (name, value) in entries {
                    self.flatten(&key(&name), value);
                }
            }
            Json::List(items) => {
                for (index, value) in items.into_iter().enumerate() {
                    self.flatten(&key(&index.to_string()), value);
                }
            }
            scalar => self.set(prefix, scalar),
        }
    }

    /// Sets an option; an earlier value is replaced.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Json>) {
        self.entries.retain(|(known, _)| known != key);
        self.entries.push((key.to_owned(), value.into()));
    }

    /// Takes over options that are not set here.
    pub(crate) fn fill_from(&mut self, other: Self) {
        for (key, value) in other.entries {
            if !self.has(&key) {
                self.entries.push((key, value));
            }
        }
    }

    /// Whether the option is set.
    pub(crate) fn has(&self, key: &str) -> bool {
        #[cfg(test)]
        self.asked.note(key);
        self.entries.iter().any(|(known, _)| known == key)
    }

    /// Whether nothing is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first option that is set.
    pub(crate) fn first_key(&self) -> Option<&str> {
        self.entries.first().map(|(key, _)| key.as_str())
    }

    /// Removes an option and returns its value.
    pub(crate) fn take(&mut self, key: &str) -> Option<Json> {
        #[cfg(test)]
        self.asked.note(key);
        let at = self.entries.iter().position(|(known, _)| known == key)?;
        Some(self.entries.remove(at).1)
    }

    /// Removes an option and returns its value as text.
    pub(crate) fn take_text(&mut self, key: &str) -> Result<Option<String>, DiskError> {
        match self.take(key) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Str(text)) => Ok(Some(text)),
            Some(Json::Int(number)) => Ok(Some(number.to_string())),
            Some(Json::Bool(true)) => Ok(Some("on".to_owned())),
            Some(Json::Bool(false)) => Ok(Some("off".to_owned())),
            Some(_) => Err(DiskError::invalid(format!(
                "Invalid parameter type for '{key}', expected: string"
            ))),
        }
    }

    /// Removes an option that is `on` or `off`.
    pub(crate) fn take_bool(&mut self, key: &str) -> Result<Option<bool>, DiskError> {
        match self.take_text(key)? {
            None => Ok(None),
            Some(text) => crate::text::parse_bool(&text).map(Some).ok_or_else(|| {
                DiskError::invalid(format!("Parameter '{key}' expects 'on' or 'off'"))
            }),
        }
    }

    /// Removes an option that is a size.
    pub(crate) fn take_size(&mut self, key: &str) -> Result<Option<u64>, DiskError> {
        match self.take_text(key)? {
            None => Ok(None),
            Some(text) => parse_option_size(key, &text).map(Some),
        }
    }

    /// Removes an option that is a plain number.
    pub(crate) fn take_number(&mut self, key: &str) -> Result<Option<u64>, DiskError> {
        match self.take_text(key)? {
            None => Ok(None),
            Some(text) => number(&text, key).map(Some),
        }
    }

    /// Removes the options of a nested node and returns them without its name.
    pub(crate) fn take_node(&mut self, name: &str) -> Self {
        let mut nested = Self {
            #[cfg(test)]
            asked: self.asked.below(name),
            ..Self::default()
        };
        self.entries.retain_mut(|(key, value)| {
            match key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) {
                Some(rest) => {
                    nested.entries.push((rest.to_owned(), std::mem::replace(value, Json::Null)));
                    false
                }
                None => true,
            }
        });
        nested
    }

    /// Whether a backing file is left out, or another one named.
    pub(crate) fn hides_backing(&self) -> bool {
        self.entries.iter().any(|(key, _)| key == "backing" || key.starts_with("backing."))
    }

    /// Whether sharing the image with others is not what they say. As for the reference, other spellings
    /// of `on` count as a refusal.
    pub(crate) fn refuses_share(&self) -> bool {
        let share = self.entries.iter().find(|(key, _)| key == "force-share");
        share.is_some_and(|(_, value)| *value != Json::str("on") && *value != Json::Bool(true))
    }

    /// The options as entries, in order.
    pub(crate) fn entries(&self) -> &[(String, Json)] {
        &self.entries
    }
}

/// A size given to an option.
///
/// # Errors
/// The three lines with which the reference refuses one.
pub(crate) fn parse_option_size(key: &str, text: &str) -> Result<u64, DiskError> {
    parse_size(text).map_err(|error| match error {
        SizeError::Invalid => size_expected(key),
        SizeError::Range => {
            DiskError::invalid(format!("Value '{text}' is out of range for parameter '{key}'"))
        }
    })
}

fn size_expected(key: &str) -> DiskError {
    DiskError::invalid(format!("Parameter '{key}' expects a non-negative number below 2^64"))
        .with_hint(
            "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand \
             exabytes, respectively.",
        )
}

/// A number as C reads it: with a minus sign it counts down from 2 to the power of 64.
fn number(text: &str, key: &str) -> Result<u64, DiskError> {
    let blank = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];
    let text = text.trim_start_matches(blank);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) if !digits.starts_with(['+', ' ']) => (true, digits),
        _ => (false, text),
    };
    match crate::text::parse_c_integer(digits) {
        Some(number) if negative => Ok(number.wrapping_neg()),
        Some(number) => Ok(number),
        None if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            let what = format!("Value '{text}' is too large for parameter '{key}'");
            Err(DiskError::invalid(what))
        }
        None => Err(DiskError::invalid(format!("Parameter '{key}' expects a number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_and_dotted_spellings_are_equal() {
        let nested = Options::parse_json(
            r#" {"driver":"qcow2","file":{"driver":"file","filename":"a"},"backing":null}"#,
        );
        let dotted = Options::parse_json(
            r#"{"driver":"qcow2","file.driver":"file","file.filename":"a","backing":null}"#,
        );
        assert_eq!(nested, dotted);
        let mut options = nested.expect("the text is an object");
        let mut file = options.take_node("file");
        assert_eq!(file.take_text("filename"), Ok(Some("a".to_owned())));
        assert_eq!(options.take("backing"), Some(Json::Null));
        assert_eq!(options.first_key(), Some("driver"));
    }

    #[test]
    fn a_first_word_can_stand_for_a_key() {
        let mut options = Options::parse("x,read-only,nocache", Some("file"));
        assert_eq!(options.take_text("file"), Ok(Some("x".to_owned())));
        assert_eq!(options.take_bool("read-only"), Ok(Some(true)));
        assert_eq!(options.take_bool("cache"), Ok(Some(false)));
        assert!(options.is_empty());
    }

    #[test]
    fn values_are_checked_by_type() {
        let mut options = Options::parse("a=maybe,b=x,c=-1,d=1k", None);
        let text = |error: DiskError| error.to_string();
        assert_eq!(
            options.take_bool("a").map_err(text),
            Err("Parameter 'a' expects 'on' or 'off'".to_owned())
        );
        assert_eq!(
            options.take_size("b").map_err(text),
            Err("Parameter 'b' expects a non-negative number below 2^64".to_owned())
        );
        assert!(options.take_size("c").is_err());
        assert_eq!(options.take_size("d"), Ok(Some(1024)));
    }
}
