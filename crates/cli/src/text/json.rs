//! JSON values with their keys in order, and the layout in which the reference prints them.

use std::fmt::Write;

/// A value; objects keep the order of their keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A string.
    Str(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Map(Vec<(String, Json)>),
}

impl Json {
    /// An object of these entries.
    pub(crate) fn map<const N: usize>(entries: [(&str, Json); N]) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// A string.
    pub(crate) fn str(text: impl Into<String>) -> Self {
        Self::Str(text.into())
    }

    /// Adds an entry at the end of an object; does nothing to any other value.
    pub(crate) fn push(&mut self, key: &str, value: impl Into<Json>) {
        if let Self::Map(entries) = self {
            entries.push((key.to_owned(), value.into()));
        }
    }

    /// The value of an entry of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// Lays the value out over lines: four blanks a level, one item a line, an empty array or
    /// object on two lines, ASCII only, no line end after the last line.
    pub(crate) fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(0));
        out
    }

    /// Writes the value on one line, with a blank after every comma and colon.
    pub(crate) fn compact(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, None);
        out
    }

    fn write(&self, out: &mut String, indent: Option<usize>) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => {
                let _ = write!(out, "{value}");
            }
            Self::Float(value) => {
                let _ = write!(out, "{value}");
            }
            Self::Str(text) => write_string(out, text),
            Self::List(items) => {
                let items = items.iter().map(|item| (None, item));
                write_items(out, indent, '[', ']', items);
            }
            Self::Map(entries) => {
                let items = entries.iter().map(|(key, value)| (Some(key.as_str()), value));
                write_items(out, indent, '{', '}', items);
            }
        }
    }
}

/// Writes the items of an array or object between its brackets.
fn write_items<'a>(
    out: &mut String,
    indent: Option<usize>,
    open: char,
    close: char,
    items: impl Iterator<Item = (Option<&'a str>, &'a Json)>,
) {
    let inner = indent.map(|depth| depth + 1);
    out.push(open);
    for (index, (key, value)) in items.enumerate() {
        if index > 0 {
            out.push(',');
            if indent.is_none() {
                out.push(' ');
            }
        }
        new_line(out, inner);
        if let Some(key) = key {
            write_string(out, key);
            out.push_str(": ");
        }
        value.write(out, inner);
    }
    new_line(out, indent);
    out.push(close);
}

/// Begins a line at a depth, if there are lines.
fn new_line(out: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    }
}

/// Writes a string in quotes, everything but printable ASCII escaped.
pub(super) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04X}");
                }
            }
        }
    }
    out.push('"');
}

macro_rules! from_integers {
    ($($t:ty),*) => {$(
        impl From<$t> for Json {
            fn from(value: $t) -> Self {
                Self::Int(i128::from(value))
            }
        }
    )*};
}

from_integers!(u8, u16, u32, u64, i32, i64);

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Self::Str(value.to_owned())
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl From<Vec<Json>> for Json {
    fn from(value: Vec<Json>) -> Self {
        Self::List(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_one_item_a_line_and_two_lines_for_nothing() {
        let value = Json::map([
            ("children", Json::List(vec![])),
            ("data", Json::Map(vec![])),
            ("list", Json::List(vec![Json::from(1u64), Json::from("a\"é\u{1F600}\n")])),
            ("flag", Json::Bool(true)),
        ]);
        assert_eq!(
            value.pretty(),
            "{\n    \"children\": [\n    ],\n    \"data\": {\n    },\n    \"list\": [\n        1,\n        \
             \"a\\\"\\u00E9\\uD83D\\uDE00\\n\"\n    ],\n    \"flag\": true\n}"
        );
    }

    #[test]
    fn the_compact_form_has_blanks_after_commas_and_colons() {
        let value = Json::map([("driver", "raw".into()), ("offset", 65536u64.into())]);
        assert_eq!(value.compact(), r#"{"driver": "raw", "offset": 65536}"#);
        assert_eq!(Json::List(vec![]).compact(), "[]");
    }
}
