//! The indented form in which people see a format's own facts.

use std::fmt::Write;

use super::Json;

/// Writes the entries of an object or array, one a line, `depth` levels in; dashes in keys become
/// blanks.
pub(crate) fn dump(value: &Json, depth: usize) -> String {
    let mut out = String::new();
    entries(&mut out, value, depth);
    out
}

fn entries(out: &mut String, value: &Json, depth: usize) {
    match value {
        Json::Map(map) => {
            for (key, value) in map {
                entry(out, &key.replace('-', " "), value, depth);
            }
        }
        Json::List(list) => {
            for (index, value) in list.iter().enumerate() {
                entry(out, &format!("[{index}]"), value, depth);
            }
        }
        _ => {}
    }
}

fn entry(out: &mut String, name: &str, value: &Json, depth: usize) {
    let indent = "    ".repeat(depth);
    let written = match value {
        Json::Map(_) | Json::List(_) => {
            out.push_str(&format!("{indent}{name}:\n"));
            entries(out, value, depth + 1);
            return;
        }
        Json::Null => writeln!(out, "{indent}{name}:"),
        Json::Bool(flag) => writeln!(out, "{indent}{name}: {flag}"),
        Json::Int(number) => writeln!(out, "{indent}{name}: {number}"),
        Json::Float(number) => writeln!(out, "{indent}{name}: {number}"),
        Json::Str(text) => writeln!(out, "{indent}{name}: {text}"),
    };
    let _ = written;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_count_their_items_and_keys_lose_their_dashes() {
        let value = Json::map([
            ("refcount-bits", 16u64.into()),
            (
                "bitmaps",
                Json::List(vec![Json::map([
                    ("flags", Json::List(vec!["auto".into()])),
                    ("name", "b".into()),
                ])]),
            ),
            ("corrupt", false.into()),
        ]);
        assert_eq!(
            dump(&value, 1),
            "    refcount bits: 16\n    bitmaps:\n        [0]:\n            flags:\n                \
             [0]: auto\n            name: b\n    corrupt: false\n"
        );
    }
}
